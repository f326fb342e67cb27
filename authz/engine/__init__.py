"""The decision, without I/O: from a request to an outcome. For the sidecar, replay, analysis and library alike.

request/   what of a request counts, and who is the client
entries/   which entries cover the client
decision/  what is decided, and why
model      applications and entries
settings   what of a configuration counts
"""
