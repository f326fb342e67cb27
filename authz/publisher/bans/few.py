"""Bans as the sections of a file, without numpy: some thousand are written before numpy would be imported.

`table` and `index.build` say the same of any number of bans; a property test compares the two.
"""

from __future__ import annotations

from array import array
from bisect import bisect_left
from itertools import groupby
from operator import itemgetter
from typing import TYPE_CHECKING, Final

from authz.addresses import BITS
from authz.engine.entries.plain_messages import entry_bytes
from authz.publisher.bans.record import template_key, template_of
from authz.publisher.index.slots import slot_bits
from authz.snapshot.ban_ids import NEVER, ban_number
from authz.snapshot.sections import (
    INDEX_TYPES,
    SINGLES_TYPES,
    TYPE_CODES,
    bits_for,
    packed,
    part_bits,
)

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Sequence

    from authz.addresses import Network
    from authz.publisher.bans.record import Ban, TemplateKey

    Sections = dict[str, tuple[str, bytes]]
    MatchSet = tuple[tuple[int, int], ...]

MAX_SINGLES: Final = 5_000
MAX_NETWORKS: Final = 500  # so the pieces are few, and the index has no ends of IPv6
_LOW: Final = 0xFFFFFFFFFFFFFFFF
_NUMBER: Final = 0xFFFFFFFF


def singles_sections(bans: Iterable[Ban]) -> Sections:
    """Return the columns of bans that are single addresses."""
    templates: dict[TemplateKey, int] = {}
    rows: dict[int, list[tuple[int, ...]]] = {4: [], 6: []}
    for ban in bans:
        template = templates.setdefault(template_key(ban), len(templates))
        expires = NEVER if ban.expires is None else ban.expires
        row = ban.network.value, expires, ban.added, template, ban_number(ban.id) or 0
        rows[ban.network.version].append(row)
    for several in rows.values():
        several.sort(key=itemgetter(0))
    v4, v6 = ([row[0] for row in rows[version]] for version in (4, 6))
    _, expires_, added, template_, number = zip(*rows[4], *rows[6], strict=True)
    columns: dict[str, Iterable[int]] = {
        "singles.v4": v4,
        "singles.v4_directory": _directory([value << 32 for value in v4]),
        "singles.v6_high": [value >> 64 for value in v6],
        "singles.v6_low": [value & _LOW for value in v6],
        "singles.v6_directory": _directory([value >> 64 for value in v6]),
        "singles.expires": expires_,
        "singles.added": added,
        "singles.template": template_,
        "singles.id": number,
    }
    return _packed(columns, SINGLES_TYPES) | packed(map(entry_bytes, map(template_of, templates)), "templates")


def index_sections(networks: Sequence[Network]) -> Sections:
    """Return the index of entries that have one network each, in their order."""
    sets: dict[MatchSet, int] = {(): 0}
    pieces = {version: list(_pieces(version, networks, sets)) for version in (4, 6)}
    (starts4, sets4), (starts6, sets6) = (zip(*pieces[version], strict=True) for version in (4, 6))
    offsets = [0]
    for members in sets:
        offsets.append(offsets[-1] + len(members))
    columns: dict[str, Iterable[int]] = {
        "v4.starts": starts4,
        "v4.sets": sets4,
        "v4.directory": _directory([start << 32 for start in starts4]),
        "v4.blocks": (),
        "v4.leaves": (),
        "v6.starts_high": [start >> 64 for start in starts6],
        "v6.starts_low": [start & _LOW for start in starts6],
        "v6.sets": sets6,
        **_slots(starts6, sets6),
        "sets.offset": offsets,
        "members.entry": [entry for members in sets for entry, _ in members],
        "members.length": [length for members in sets for _, length in members],
    }
    return _packed(columns, INDEX_TYPES)


def _pieces(version: int, networks: Sequence[Network], sets: dict[MatchSet, int]) -> Iterator[tuple[int, int]]:
    """Yield the start of each piece and the number of its match set; new sets get the next number."""
    bits = BITS[version]
    owners: dict[int, dict[int, list[int]]] = {}  # by prefix length and prefix
    cuts = {0}
    for number, (of, value, length) in enumerate(networks):
        if of == version:
            owners.setdefault(length, {}).setdefault(value >> bits - length, []).append(number)
            cuts |= {value, value + (1 << bits - length)}
    before = -1
    for start in sorted(cuts - {1 << bits}):
        by_length = (
            (owners[length].get(start >> bits - length, ()), length) for length in sorted(owners, reverse=True)
        )
        members = tuple((number, length) for numbers, length in by_length for number in numbers)
        now = sets.setdefault(members, len(sets))
        if now != before:
            yield start, now
        before = now


def _directory(tops: Sequence[int]) -> list[int]:
    """Return the positions between which to look. tops: sorted; addresses left-aligned in 64 bits."""
    bits = bits_for(len(tops))
    return [bisect_left(tops, top << 64 - bits) for top in range((1 << bits) + 1)]


def _slots(starts: Sequence[int], sets: Sequence[int]) -> dict[str, list[int]]:
    """Return the parts of the IPv6 space, and their slots."""
    bits = part_bits(len(starts))
    parts = [(number, list(of)) for number, of in groupby(starts, key=lambda start: start >> 128 - bits)]
    depths = slot_bits([len({start >> 80 for start in of}) for _, of in parts], bits)
    slots: list[int] = []
    for (number, _), depth in zip(parts, depths, strict=True):
        shift = 128 - bits - depth
        for slot in range(number << depth, number + 1 << depth):
            first, end = bisect_left(starts, slot << shift), bisect_left(starts, slot + 1 << shift)
            if first == end or starts[first] != slot << shift:
                first -= 1
            last = end - 1
            if first == last:
                slots += ~sets[last] & _NUMBER, last
            else:
                cut = any(start & _LOW for start in starts[first + 1 : end])
                slots += first, ~last & _NUMBER if cut else last
    numbers = [number << 8 | depth for (number, _), depth in zip(parts, depths, strict=True)]
    return {"v6.parts": numbers, "v6.slots": slots}


def _packed(columns: dict[str, Iterable[int]], types: dict[str, str]) -> Sections:
    return {name: (types[name], array(TYPE_CODES[types[name]], column).tobytes()) for name, column in columns.items()}
