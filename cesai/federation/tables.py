"""Which rows does the room `federation` keep?"""
