"""What crosses the wire to a site, and what must a connector be able to do?"""
