"""How does a CESAI agent speak to Slurm?"""
