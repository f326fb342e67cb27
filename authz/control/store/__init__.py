"""The truth of the control plane, in SQLite or PostgreSQL.

    tables        what is kept, and the indexes; `event_tables`: of events
    database      opening, transactions, migrations (migrations/)
    jobs          work for very many rows, done piece by piece
    signals       telling other processes that something was written
    ledger/       changes: the one way to write, their chain of hashes, what follows from them
    entries/      what is on the lists, now or as of any time; documents of the policy; networks as fixed-width keys
    events/       what sidecars and proxies told
    access/       tokens, sessions, answers that may be repeated
    published/    signed files, their parts, and what goes into them
    detection/    triggers, listings, holds
    notifications/ messages on their way, and what was sent

One transaction a request. The ledger is only ever appended to; entries follow from it and can be rebuilt.
"""
