"""What can a person ask the hub for? One file per noun."""
