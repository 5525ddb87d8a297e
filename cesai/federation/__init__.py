"""How does a job become exactly one effective run at a site?"""
