"""What runs beside a site's scheduler?"""
