"""How services reach PostgreSQL: pools, queries, leases."""
