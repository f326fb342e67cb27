"""Telling people and programs of changes, by an outbox in the store.

The modules:
    config    `notify` of control.yaml: the channels
    outbox    what waits: written in the transaction of what it tells of; gathered into messages; retried
    message   what a message says
    webhook   a message by HTTP, signed
    trial     a message now, to try a channel
    sender    the thread that gathers and sends; one of all control planes of a store
"""
