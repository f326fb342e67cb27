"""From a policy to a signed snapshot. Needs keys, numpy and feeds; the sidecar imports nothing of it.

build     the use case: read, resolve, compile, check, sign, write
policy/   policy.yaml, and what its entries name
feeds/    files of somebody else's addresses, geo and AS databases, host names
index/    the index of a snapshot, built with numpy
"""
