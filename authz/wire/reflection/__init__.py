"""The snapshot's messages."""
