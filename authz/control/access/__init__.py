"""Who may what.

    roles      roles and the rights that they give
    callers    from a bearer token to a caller: tenant, role, address
    sessions   people in a browser: sign on, a cookie for a token, CSRF, signing out
    oidc       signing on by an identity provider; claims: from what it tells to a name, role and tenant
    config     `sign_on` of control.yaml
    rate       requests a second of each token
    tls        the listener's TLS: clients known by their certificates

Tokens and tenants themselves are kept by `store.access.tokens`.
"""
