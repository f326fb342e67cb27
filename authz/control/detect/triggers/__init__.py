"""Triggers: what they say, where they come from, and what came of them.

file          triggers.yaml: what is counted, of which requests, and what follows
path_pattern  /api/orders/{id}: which paths are meant
book          the triggers at work: those of the file and those of the API
state         triggers as people see and change them
"""
