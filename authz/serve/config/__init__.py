"""authz.yaml, the configuration of the sidecar.

config  its sections and keys, each described where it is declared
values  types of values: how each is written, and what is expected
reload  what can change while the sidecar runs
"""
