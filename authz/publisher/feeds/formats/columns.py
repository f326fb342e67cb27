"""Which columns of a record hold the address: by their names, as publishers have chosen them."""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Sequence

# Without case, and only letters and digits of the name: "IP_Address" is "ipaddress". In order: where a table has a
# network and single addresses of it (jhassine's cidr, hostmin, hostmax), the network is meant.
_RANGES = (
    ("start", "end"), ("startip", "endip"), ("ipstart", "ipend"), ("rangestart", "rangeend"), ("first", "last"),
    ("firstip", "lastip"), ("ipfrom", "ipto"), ("from", "to"), ("startaddress", "endaddress"),
)  # fmt: skip
_SINGLE = (
    "cidr", "network", "prefix", "ipprefix", "ipv4prefix", "ipv6prefix", "subnet", "netblock", "range", "iprange",
    "ip", "ipaddr", "ipaddress", "ipv4", "ipv6", "address", "addr", "dstip", "srcip", "host",
)  # fmt: skip


def address_columns(names: Sequence[str]) -> tuple[int, ...]:
    """Return the places of the address columns: one, or two that are the start and the end of a range, or none."""
    places = {
        "".join(c for c in name.lower() if c.isalnum()): place for place, name in reversed(list(enumerate(names)))
    }
    for start, end in _RANGES:
        if start in places and end in places:
            return places[start], places[end]
    return next(((places[name],) for name in _SINGLE if name in places), ())
