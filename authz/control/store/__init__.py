"""The truth of the control plane, in SQLite or PostgreSQL.

    tables        what is kept, and the indexes
    database      opening, transactions, migrations (migrations/)
    changes       the one way to write: head row, chain of hashes, entries that follow
    entries       asking for entries: by id, by filter, by address, as of any time
    history       asking for changes
    network_keys  networks as fixed-width keys
    documents     settings of the policy, with their history
    access        tokens, tenants
    publications  signed files, and which sidecar has which
    idempotency   answers of requests that may be repeated
    signals       telling other processes that something was written
    check         the chain and the entries, compared with the changes

One transaction a request. `changes` is only ever appended to; `entries` follows from it and can be rebuilt.
"""
