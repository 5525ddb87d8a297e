"""Which rows does the room `sites` keep?"""
