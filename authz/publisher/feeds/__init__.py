"""Files of somebody else's addresses: recognised, read, cleaned and counted."""
