"""Which research groups and model projects are there, and where are they accepted?"""
