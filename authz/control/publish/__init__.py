"""From the store to signed layers, offered to sidecars.

    order        what the signer is asked for: a layer's changes since the last time, or all of its entries
    build        from entries to the bytes of the first layer
    held         what the signer holds of a layer between two orders: entries, or bans in tiers
    inputs/      what is fetched on a schedule: feeds, host names, decisions of CrowdSec
    signer       the process that holds the keys: checks limits and chain, builds, signs
    client       asking it
    lease        one publisher among several control planes
    one_layer    publishing one layer: order, keep what was signed
    publisher    the threads that follow the store, one a layer: change -> signed file -> offered
    offers       what is offered now, and which requests wait for more
    sidecars     which sidecar serves what

The control plane's own process never reads a key.
"""
