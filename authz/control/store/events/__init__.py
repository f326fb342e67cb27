"""What sidecars and proxies told.

writing  many rows in one transaction, counts, retention
search   by client, application, entry, decision, status and time
impact   how many events a set of addresses accounts for
"""
