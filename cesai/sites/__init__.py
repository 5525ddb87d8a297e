"""Which sites are there, what do they have, what did they pledge, when were they heard last?"""
