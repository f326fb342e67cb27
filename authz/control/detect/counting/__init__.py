"""Counting in bounded memory: what each client did lately.

windows    how many in the last seconds: exact for few, in slices for many
distinct   how many different ones: exact for few, a sketch (HyperLogLog) for many
counters   a window for each client, in bounded memory
"""
