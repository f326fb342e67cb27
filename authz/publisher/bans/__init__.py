"""Bans, compiled into the files of a layer (publisher only).

record    one ban
few       bans as the sections of a file, some thousand of them
table     many bans of single addresses, as columns (numpy)
build     from bans to a signed file
file      bans.yaml, for those who have no control plane; contents: what stands in it
document  reading and writing it; by_hand: what a person has changed
quick_key the key that signs it, read without loading all kinds of keys
tiers     a small file of what is new, and parts that settle
"""

from authz.publisher.bans.build import build_bans_layer
from authz.publisher.bans.record import Ban, new_ban_id

__all__ = ["Ban", "build_bans_layer", "new_ban_id"]
