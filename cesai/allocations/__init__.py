"""Who was awarded how much compute, and where did every GPU-second go?"""
