"""What of a request counts for a decision, and who is the client.

request         what of a request counts, and the one reader of it
client_address  who is the client: the walk over trusted proxies
attack_signal   what a WAF says of a request
hosts           the host of a request as one name
"""
