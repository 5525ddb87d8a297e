"""How does the whole act on one machine, for real?"""
