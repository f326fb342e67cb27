"""Listening sockets: `bind` and `systemd` give them, `accept` takes connections, `tls` secures, `endpoints` has all."""
