"""Who may what.

    roles      roles and the rights that they give
    callers    from a bearer token to a caller: tenant, role, address
    rate       requests a second of each token

Tokens and tenants themselves are kept by `store.access`.
"""
