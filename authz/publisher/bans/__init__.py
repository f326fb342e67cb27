"""Bans, compiled into the files of a layer (publisher only; numpy).

record    one ban
table     many bans of single addresses, as columns
build     from bans to a signed file
file      bans.yaml, for those who have no control plane
tiers     a small file of what is new, and parts that settle
"""

from authz.publisher.bans.build import build_bans_layer
from authz.publisher.bans.record import Ban, new_ban_id

__all__ = ["Ban", "build_bans_layer", "new_ban_id"]
