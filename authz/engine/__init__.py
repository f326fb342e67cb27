"""The decision, without I/O: from a request to an outcome. For the sidecar, replay, analysis and library alike.

model            applications and entries
request          what of a request counts, read from its headers
client_address   who is the client: the walk over trusted proxies
attack_signal    what a WAF says of a request
lookup           which entries cover an address
manifest         applications and entries in a snapshot's manifest
ruleset          a snapshot, ready to decide by
verdict          the decision: a pure function of application, matches, attack signal and time
decision         the answer to a request
decider          requests to decisions, with a memory
explain          a decision, step by step
"""
