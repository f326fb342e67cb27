"""Loading snapshots: watching files, accepting what is good, swapping it in."""
