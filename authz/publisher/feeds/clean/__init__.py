"""Cleaning a feed: bogons, duplicates, and the guard against broken downloads."""
