"""What is on the lists: it follows from the ledger, and can be rebuilt.

find       entries by id, by filter, by address, as of any time
pages      entries in the order of a column
counts     how many there were on each list at a time
documents  settings of the policy, with their history
"""
