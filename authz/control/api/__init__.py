"""The API over HTTP (Litestar). Each module is a resource: it translates, and calls lists/, access/ and store/.

    app            everything together, with the OpenAPI description at /schema
    common/        what the resources share
    access/        tokens and tenants, sessions, approvals
    detect/        events, triggers, notifications
    lists/         entries, bans, many of them at once
    history going_back applications feeds layers
    crowdsec       a bouncer API like CrowdSec's
    health/        /livez, /readyz, /metrics
What a handler may refuse is named by `common.problems.documented`.
"""
