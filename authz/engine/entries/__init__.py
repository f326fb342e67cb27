"""Which entries cover an address: snapshots that were checked, one or several layers of them.

open             opening a snapshot, for a library
opened_snapshot  a checked snapshot, ready for look-ups
manifest         applications and entries in a snapshot's manifest
lookup           which entries cover an address
marks            which /24 may have an address that a layer covers
ruleset          the layers that decide together
permissions      what the key of a later layer may do
"""
