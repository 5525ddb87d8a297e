"""How does a researcher speak to the hub from a shell or a program?"""
