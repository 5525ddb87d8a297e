"""How do people log in where there is no Keycloak? A small issuer with Keycloak's paths, for loopback only."""
