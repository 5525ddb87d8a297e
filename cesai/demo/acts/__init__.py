"""What is acted out, act by act?"""
