"""Which rows does the room `issuer` keep?"""
