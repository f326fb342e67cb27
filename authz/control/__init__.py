"""The control plane: lists that live, with history, an API and tenants (extra `control`).

    config plane process  control.yaml, all of it put together, and the running process
    model problems        what all rooms speak of: entries, changes, who acts; what is refused
    store/                the truth: changes and the entries that follow, tokens, publications; SQLite or PostgreSQL
    lists/                use cases, the one place of their rules: ban, add, change, delete, undo, rollback, preview
    access/               who may what: tokens, tenants, roles
    publish/              from the store to signed layers, offered to sidecars
    api/                  HTTP: translates, and calls lists
    console/              pages for people: the same, in a browser
    maintenance/          a new folder, policy files in and out, backup, check, retention

It is not on the path of a request: when it is down, every sidecar decides as before.
"""
