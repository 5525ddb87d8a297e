"""How do the rooms become one server?"""
