"""The API over HTTP (Litestar). Each module is a resource: it translates, and calls lists/, access/ and store/.

    app          everything together, with the OpenAPI description at /schema
    asking       what handlers share: caller, idempotency, cursors, ETags, waiting
    bodies       what goes in and out
    problems     errors as RFC 9457
    bans entries history changes applications tokens tenants layers approvals
    crowdsec     a bouncer API like CrowdSec's
    health       /livez, /readyz, /metrics

Everything that a handler may refuse is in `problems.documented`.
"""
