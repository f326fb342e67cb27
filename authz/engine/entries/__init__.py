"""Which entries cover an address: snapshots that were checked, one or several layers of them.

open             opening a snapshot, for a library
opened_snapshot  a checked snapshot, ready for look-ups
manifest         applications and entries in a snapshot's manifest
lookup           which entries cover an address
ruleset          the layers that decide together
permissions      what the key of a later layer may do
"""
