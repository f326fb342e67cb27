"""From the store to signed layers, offered to sidecars.

    order        what the signer is asked for: a layer's changes since the last time, or all of its entries
    build        from entries to the bytes of a layer
    signer       the process that holds the keys: checks limits and chain, builds, signs
    client       asking it
    lease        one publisher among several control planes
    publisher    the thread that follows the store: change -> signed file -> offered
    offers       what is offered now, and who waits for more
    sidecars     which sidecar serves what

The control plane's own process never reads a key.
"""
