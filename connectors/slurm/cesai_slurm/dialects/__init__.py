"""Which versions of slurmrestd's protocol are spoken here?"""
