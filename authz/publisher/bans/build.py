"""From bans to a signed file of a layer.

A ban of one address is a row of the columns (see `authz.snapshot.singles`); one of a network, one that starts later and
one with an id of another form is an ordinary entry.

A ban of one person holds soon after it was typed: up to some thousand bans load neither protobuf nor numpy.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from authz.engine.entries.plain_messages import application_bytes, entry_bytes
from authz.engine.model import ANY_APPLICATION, Application
from authz.publisher.bans import few
from authz.snapshot.heading import Heading, manifest_bytes
from authz.snapshot.sections import INDEX_TYPES, TOMBSTONES, packed
from authz.snapshot.signing.envelope import sign_envelope
from authz.snapshot.write import file_bytes, places_of

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence

    from authz.addresses import Network
    from authz.publisher.bans.record import Ban
    from authz.publisher.bans.table import BanTable
    from authz.snapshot.heading import Requirement
    from authz.snapshot.signing.envelope import Signer

    Sections = dict[str, tuple[str, bytes]]


def build_bans_layer(
    bans: Iterable[Ban],
    *,
    layer: str,
    serial: int,
    created: int,
    signers: Sequence[Signer],
    expires: int | None = None,
    by: str = "",
    source: str = "",
    rollback_of: int = 0,
    requires: Iterable[Requirement] = (),
    tombstones: Iterable[int] = (),
) -> bytes:
    """Return the signed file of a layer with these bans; those that are over at `created` are left out.

    Args:
        bans: In any order; ids once each.
        layer: The name of the layer.
        serial: Above the last one of the layer.
        created: Seconds since 1970.
        signers: Each signs.
        expires: Seconds since 1970 from which on every sidecar refuses the file; None: never.
        by: Who builds it; the user and the machine.
        source: From what, such as the path of a document.
        rollback_of: The serial whose bans come back; 0: none.
        requires: The parts that belong to it; see `authz.publisher.bans.tiers`.
        tombstones: Ids of bans in the parts that ended before their time.

    Raises:
        InputError: The bans overlap too much, or the file is over a cap.
    """
    singles: list[Ban] = []
    others: list[Ban] = []
    for ban in bans:
        if ban.live(created):
            (singles if ban.is_single(created) else others).append(ban)
    heading = Heading(
        layer, serial, created, expires, requires=tuple(requires), by=by, source=source, rollback_of=rollback_of
    )
    return _signed(heading, others, _columns(singles), sorted(tombstones), signers)


def build_part(table: BanTable, *, layer: str, serial: int, created: int, signers: Sequence[Signer]) -> bytes:
    """Return the signed file of a part: bans that a file of the layer requires. See `build_bans_layer`."""
    heading = Heading(layer, serial, created, part=True)
    return _signed(heading, (), table.sections() if table.size else {}, (), signers)


def _signed(
    heading: Heading, bans: Sequence[Ban], columns: Sections, tombstones: Sequence[int], signers: Sequence[Signer]
) -> bytes:
    sections = packed(entry_bytes(ban.entry()) for ban in bans) | _index([ban.network for ban in bans]) | columns
    if tombstones:
        sections[TOMBSTONES] = ("u64", b"".join(number.to_bytes(8, "little") for number in tombstones))
    payload = manifest_bytes(heading, [application_bytes(Application(ANY_APPLICATION))], places_of(sections))
    return file_bytes(heading.layer, sign_envelope(payload, signers), sections)


def _columns(singles: Sequence[Ban]) -> Sections:
    if not singles:
        return {}
    if len(singles) <= few.MAX_SINGLES:
        return few.singles_sections(singles)
    from authz.publisher.bans.table import BanTable  # noqa: PLC0415  # numpy takes longer than a ban may take to hold

    return BanTable.of(singles).sections()


def _index(networks: Sequence[Network]) -> Sections:
    if len(networks) <= few.MAX_NETWORKS:
        return few.index_sections(networks)
    from authz.publisher.index.build import EntryNetworks, build_index  # noqa: PLC0415  # the same
    from authz.publisher.index.prefixes import Prefixes  # noqa: PLC0415  # the same

    none = Prefixes.split(())
    arrays = build_index([EntryNetworks(Prefixes.split([network]), none) for network in networks])
    return {name: (kind, arrays[name].tobytes()) for name, kind in INDEX_TYPES.items()}
