"""What people and triggers did: appended to, never changed.

changes  the one way to write: head row, chain of hashes, what follows
chain    the hash of a change over all before it
follow   the versions of entries and documents that follow from changes
history  asking for changes
checkpoints  signed ones of the chain
"""
