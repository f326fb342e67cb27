"""Fetching feeds from the web, for a publisher with or without a control plane.

presets     well-known feeds by name: address, format, filters, licence, interval
download    one conditional GET into a file, with caps and time-outs
fetch       the use case: fetch, read, compare with the last good copy, replace it
"""
