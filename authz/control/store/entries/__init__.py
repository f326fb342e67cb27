"""What is on the lists: it follows from the ledger, and can be rebuilt.

find          entries by id, by filter, by address, as of any time
pages         entries in the order of a column
documents     settings of the policy, with their history
network_keys  networks as keys of one width, by which a database finds what covers an address
"""
