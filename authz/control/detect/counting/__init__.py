"""Counting in bounded memory: what each client did lately.

windows    how many in the last seconds: exact for few, in slices for many
distinct   how many different ones: exact for few, a sketch (HyperLogLog) for many
counters   either of them for each client, in bounded memory
budget     the memory that all counters share
samples    the newest events of clients near a limit
repeated   whether the very same event came before
matching   which requests a trigger counts, and what it tells apart in them
address_table  a number for every address
places     in which countries and autonomous systems clients are
trigger    one trigger at work
detector   all of them: events in, listings out
"""
