"""What sidecars and proxies told.

writing  many rows in one transaction, counts, retention
search   by client, application, entry, decision, status and time
pages    for people, at a cost that does not grow with the table
impact   how many events a set of addresses accounts for
"""
