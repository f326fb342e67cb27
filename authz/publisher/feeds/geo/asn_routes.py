"""Routing tables (pyasn, RouteViews): which networks an AS originates, by the longest match.

A line is a network and its origin. Networks nest: within 192.0.2.0/24 of AS64496 a 192.0.2.128/25 of AS64497 is that
one's, as it is to a router, so AS64496 keeps 192.0.2.0/25 only. One pass over the networks, sorted by start and length,
with a stack of those that are open, gives each piece of the address space to the innermost network around it.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from authz.addresses import BITS, parse_network
from authz.errors import AddressError, InputError, shorten
from authz.publisher.feeds.formats.lines import content_lines
from authz.publisher.feeds.geo.asn_numbers import parse_origins

if TYPE_CHECKING:
    from collections.abc import Iterator

    Route = tuple[int, int, frozenset[int]]  # first address, prefix bits, origins
    Routes = dict[int, list[Route]]


def read_routes(data: bytes, name: str) -> Routes:
    """Read lines of `network<TAB>origin` (pyasn) or `address<TAB>length<TAB>origin` (CAIDA's pfx2as), by version.

    Raises InputError at the first line that is something else.
    """
    routes: Routes = {4: [], 6: []}
    seen: dict[str, frozenset[int]] = {}
    for line, text in content_lines(data):
        prefix, _, origin = text.rpartition("\t")
        try:
            version, value, length = parse_network(prefix.replace("\t", "/"))
        except AddressError as error:
            raise InputError(f"{name}:{line}: found '{shorten(text)}', expected network<TAB>origin") from error
        origins = seen.get(origin)
        if origins is None:
            origins = seen[origin] = parse_origins(origin, f"{name}:{line}")
        routes[version].append((value, length, origins))
    return routes


def owned_ranges(version: int, routes: list[Route]) -> Iterator[tuple[int, int, frozenset[int]]]:
    """Yield first and last address of each piece, and the origins of the longest route there; in order.

    Networks that are announced by several lines have the origins of all of them.
    """
    bits = BITS[version]
    opened: list[tuple[int, frozenset[int]]] = []  # end and origins of the networks around `here`, widest first
    here = 0
    previous = None
    for start, length, origins in [*sorted(routes, key=lambda route: route[:2]), (1 << bits, bits, frozenset[int]())]:
        while opened and opened[-1][0] <= start:
            end, owners = opened.pop()
            if here < end:
                yield here, end - 1, owners
                here = end
        if opened and here < start:
            yield here, start - 1, opened[-1][1]
        here = start
        if previous == (start, length):
            end, owners = opened.pop()
            opened.append((end, owners | origins))
        else:
            opened.append((start + (1 << (bits - length)), origins))
        previous = start, length
