"""Building the index: which entries cover which addresses."""
