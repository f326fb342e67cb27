"""What is on the lists, by API.

entries  `/v1/entries`: everything that is on a list
bans     `/v1/bans`: the short form
many/    up to a thousand changes at once, and jobs
"""
