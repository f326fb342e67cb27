"""Listening sockets, for all fronts.

endpoints           the listeners of a configuration: opened, drained and ended together
bind systemd        a socket: bound here, or handed over
accept tls/         connections on it, and their TLS
budget places       how much peers may make a listener hold; who gives way when it is full
descriptors         enough files for all of it
"""
