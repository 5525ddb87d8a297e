"""How is truth kept? One PostgreSQL, one transaction per request or task, keys against doing things twice."""
