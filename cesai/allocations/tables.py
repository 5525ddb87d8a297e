"""Which rows does the room `allocations` keep?"""
