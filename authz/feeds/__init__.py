"""Reading files of somebody else's addresses (publisher only)."""
