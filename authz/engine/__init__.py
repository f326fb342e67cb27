"""The decision, without I/O: from a request to an outcome. For the sidecar, replay, analysis and library alike.

model            applications and entries
settings         what of a configuration counts
request          what of a request counts, and the one reader of it
client_address   who is the client: the walk over trusted proxies
attack_signal    what a WAF says of a request
lookup           which entries cover an address
manifest         applications and entries in a snapshot's manifest
opened_snapshot  a checked snapshot, ready for look-ups
ruleset          the layers that decide together
verdict          the decision: a pure function of application, matches, attack signal and time
decision         the answer to a request: an Outcome
decider          requests to decisions, with a memory
explain          a decision, step by step
permissions      what the key of a later layer may do
lapses           layers that are missing or stale
generation       a ruleset with the outcomes met so far
hosts            the host of a request as one name
open             opening a snapshot, for a library
"""
