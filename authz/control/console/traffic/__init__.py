"""Pages of what clients do.

events     of an address, an entry, an application; as they come
triggers   what is counted, what came of it, and trying one on yesterday
"""
