"""Which rows does the room `projects` keep?"""
