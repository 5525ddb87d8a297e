"""Which rows does the room `access` keep?"""
