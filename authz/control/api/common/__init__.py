"""What the resources share.

    asking       who asks, repeated requests, cursors, times
    cookies      the cookie of a session, and requests of other sites
    bodies       what goes in and out
    operations   changes as data; changing: doing one, and waiting until it is everywhere
    matching     ETags and If-Match
    problems     errors as RFC 9457
    middleware   request ids, the line of each request; log: as text or JSON
Nothing here knows a path.
"""
