"""Deciding again what was asked before, by the same code as `authz serve`.

formats  a line of JSON, or of an access log of nginx or Envoy, as a request
run      many of them, on several cores, in order
summary  what they come to
"""
