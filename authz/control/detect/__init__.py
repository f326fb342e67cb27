"""Automatic listing: from what clients do to entries that stop them.

event      one request, in the one form that every source is turned into
logs       access logs as events
sources    where events come from besides `POST /v1/events`
work       events on their way to the counting: in this process, or shared by several
intake     the thread that counts and lists
keeping    events are kept for search, with the country of the client
triggers   what is counted, and what follows
counting   windows, different values, counters for each client; events in, listings out
listing    who is not listed, who was before, and the entry that is written
trial      what triggers would have done
"""
