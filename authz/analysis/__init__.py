"""Looking at whole snapshots, before they decide (with numpy; for publisher, commands and control plane).

space coverage decisions   the address space as arrays: two laid over each other, and what is decided where
diff report conditions     what another snapshot changes; as lines and JSON; whether that is too much
lint lockout               probable mistakes; who would be locked out
search listing             finding entries, and their networks again (entry_pieces: by entry)
doctor                     what a sidecar saw of requests sent through a proxy
map/                       a picture of it all
"""
