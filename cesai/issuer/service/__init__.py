"""What does the issuer do? Keys, people, clients, logins and tokens, each in a file of its own."""
