"""Pages of lists.

listing   all entries: search, sort, filter, and changes to many
adding    a new entry, with what it would do; ranges as networks
entry     one entry: all about it, its period, its deletion
"""
