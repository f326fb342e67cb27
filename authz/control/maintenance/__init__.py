"""What operators do with the store itself, without a running control plane; and what one does by itself.

    init         a new folder: control.yaml, store, keys, authz.yaml, a first token
    transfer     policy.yaml into the store, and out of it again
    formats/     lists of other programs into the store, with a report of every difference in meaning
    backup       the whole store as one file, and back; from either database into either
    check        the chain of hashes, and the entries compared with the changes
    retention    letting go of old history
    jobs, daily  what the control plane that leads does beside requests: very many rows; counts of each day

Each is a function over an open store; `authz control` calls them.
"""
