"""Bogons: networks that no feed of public addresses can mean.

The list is what the IANA special-purpose address registries (RFC 6890 and its updates) call not globally reachable, and
multicast. A feed that names 10.0.0.0/8 to deny would deny every private client, one that names it to allow would
let in whoever is behind the load balancer.

Kept, though special: the documentation networks (192.0.2.0/24, 198.51.100.0/24, 203.0.113.0/24, 2001:db8::/32,
3fff::/20), because examples and tests are made of them and nobody's client has one; 64:ff9b::/96 (NAT64), 2001::/32
(Teredo) and 2002::/16 (6to4), because clients come from them.

A network that *contains* a bogon is one too: 0.0.0.0/0 and 0.0.0.0/1 are, and no network that somebody was given is.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from authz.addresses import parse_network
from authz.publisher.index.prefixes import Prefixes, masks

if TYPE_CHECKING:
    from authz.addresses import Network
    from authz.publisher.index.prefixes import Array

_WHAT = {
    "0.0.0.0/8": "this network",
    "10.0.0.0/8": "private",
    "100.64.0.0/10": "carrier-grade NAT",
    "127.0.0.0/8": "loopback",
    "169.254.0.0/16": "link-local",
    "172.16.0.0/12": "private",
    "192.0.0.0/24": "protocol assignments",
    "192.168.0.0/16": "private",
    "198.18.0.0/15": "benchmarking",
    "224.0.0.0/4": "multicast",
    "240.0.0.0/4": "reserved",
    "::/128": "unspecified",
    "::1/128": "loopback",
    "64:ff9b:1::/48": "local NAT64",
    "100::/64": "discard-only",
    "100:0:0:1::/64": "dummy prefix",
    "2001:2::/48": "benchmarking",
    "2001:10::/28": "deprecated ORCHID",
    "5f00::/16": "segment routing",
    "fc00::/7": "unique local",
    "fe80::/10": "link-local",
    "fec0::/10": "deprecated site-local",
    "ff00::/8": "multicast",
}
BOGONS: dict[Network, str] = {parse_network(text): what for text, what in _WHAT.items()}
_MASKS = [masks(length) for length in range(129)]
_MASK_HIGH = np.array([high for high, _ in _MASKS], np.uint64)
_MASK_LOW = np.array([low for _, low in _MASKS], np.uint64)


def find_bogons(version: int, prefixes: Prefixes) -> Array:
    """Return for each network whether it lies in a bogon or contains one."""
    bogus = np.zeros(len(prefixes), np.bool_)
    bogons = Prefixes.split(BOGONS)[version]
    for high, low, length in zip(bogons.high, bogons.low, bogons.length, strict=True):
        # Two networks overlap where they agree in as many bits as the wider one has.
        shorter = np.minimum(prefixes.length, length)
        bogus |= ((prefixes.high ^ high) & _MASK_HIGH[shorter] == 0) & ((prefixes.low ^ low) & _MASK_LOW[shorter] == 0)
    return bogus


def why_bogon(network: Network) -> str:
    """Return what a bogon is, for a person: "in 10.0.0.0/8 (private)", or "contains ..."."""
    for bogon, what in BOGONS.items():
        if bogon.version == network.version and bogon.value <= network.last and network.value <= bogon.last:
            return f"{'contains' if network.length < bogon.length else 'in'} {bogon} ({what})"
    return ""
