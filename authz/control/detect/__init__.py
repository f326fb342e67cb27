"""Automatic listing: from what clients do to entries that stop them.

event      one request, in the one form that every source is turned into
triggers   triggers.yaml: what is counted, of which requests, and what follows
path_pattern  /api/orders/{id}: which paths are meant
matching   which requests a trigger counts, and what it tells apart in them
counting   windows, different ones, and both for each client, in bounded memory
detector   events in, listings out
offences   who was listed before, for periods that grow
holds      after a deletion by hand: who is left alone, and for how long
logs       access logs as events, for `authz triggers test`
"""
