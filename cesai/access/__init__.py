"""Who is somebody, and what may he do?"""
