"""policy.yaml: its schema, reading it, what its entries name, and where a network came from."""
