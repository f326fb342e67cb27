"""The heading of a manifest: what it says of its file as a whole, written and read without loading protobuf.

For bans, which have to hold soon, and for lists of files. The whole manifest is read by `authz.snapshot.read`.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Final, NamedTuple

from authz.errors import BadValue, Refusal, SnapshotRefused, shorten
from authz.snapshot.layout import FORMAT, HEADER, MAGIC, MAX_ENVELOPE, MAX_FILE
from authz.snapshot.sealed_memory import opened
from authz.snapshot.signing.envelope import parse_envelope
from authz.wire.plain import field, fields, plain, repeated

if TYPE_CHECKING:
    from collections.abc import Iterable
    from pathlib import Path

CONTROL_PLANE: Final = "control plane"  # as `source`: who has written the file writes it again, from its own store


class Requirement(NamedTuple):
    """A part that a snapshot requires.

    Attributes:
        serial: Of the part.
        digest: Of its manifest, in hexadecimal.
    """

    serial: int
    digest: str


class SectionPlace(NamedTuple):
    """Where a section stands.

    Attributes:
        offset: Bytes from the first section.
        kind: Element type.
        digest: SHA-256.
    """

    name: str
    offset: int
    length: int
    kind: str
    digest: bytes


class Heading(NamedTuple):
    """What a manifest says of its file. See `Manifest` in proto/ for the fields.

    Attributes:
        by: Who made the file; empty: not said.
        source: What it was made from; empty: not said.
        protected: Networks that no layer may deny.
        rollback_of: The serial whose content the file repeats; 0: none.
        applications: Names of the applications that have settings, among them `*`.
        signers: Ids of the keys that have signed the file, or claim so: unverified, like all of it.
    """

    layer: str
    serial: int
    created: int
    expires: int | None = None
    part: bool = False
    requires: tuple[Requirement, ...] = ()
    by: str = ""
    source: str = ""
    protected: tuple[str, ...] = ()
    rollback_of: int = 0
    applications: tuple[str, ...] = ()
    signers: frozenset[str] = frozenset()


def manifest_bytes(heading: Heading, applications: Iterable[bytes], sections: Iterable[SectionPlace]) -> bytes:
    """Return a serialized Manifest.

    Args:
        heading: What it says of the file as a whole.
        applications: Each serialized.
        sections: Where each section stands.
    """
    origin = plain(1, heading.by) + plain(2, heading.source) + plain(3, heading.rollback_of)
    return b"".join((
        field(1, FORMAT), plain(2, heading.serial), plain(3, heading.created), field(4, heading.expires),
        repeated(5, applications), repeated(7, map(_section_bytes, sections)), plain(10, heading.layer),
        repeated(11, heading.protected), plain(12, heading.part),
        repeated(13, (plain(1, part.serial) + plain(2, bytes.fromhex(part.digest)) for part in heading.requires)),
        plain(14, origin),
    ))  # fmt: skip


def _section_bytes(section: SectionPlace) -> bytes:
    return b"".join((
        plain(1, section.name), plain(2, section.offset), plain(3, section.length), plain(4, section.kind),
        plain(5, section.digest),
    ))  # fmt: skip


def read_heading(path: Path) -> Heading:
    """Return the heading of a file, unverified and without a look at its sections: for lists of files.

    Args:
        path: The file.

    Raises:
        SnapshotRefused: The file cannot be read, or it has no heading.
    """
    with opened(path, MAX_FILE) as source:
        end = envelope_end(source.read(HEADER.size), MAX_FILE)
        envelope = parse_envelope(memoryview(source.read(end - HEADER.size)))
    try:
        return _heading(envelope.payload)._replace(signers=frozenset(envelope.signatures))
    except (BadValue, ValueError, TypeError, AttributeError) as error:  # a field of another type than ours
        raise SnapshotRefused(Refusal.BAD_MANIFEST, "the manifest is not valid protobuf") from error


def _heading(payload: bytes) -> Heading:
    last: dict[int, int | bytes] = {}  # of a field that stands twice, the last counts
    parts: list[Requirement] = []
    protected: list[str] = []
    applications: list[str] = []
    for number, value in fields(payload):
        last[number] = value
        if number == 5:
            applications.append(_bytes(dict(fields(_bytes(value))).get(1, b"")).decode())
        if number == 11:
            protected.append(_bytes(value).decode())
        if number == 13:
            part = dict(fields(_bytes(value)))
            parts.append(Requirement(_integer(part.get(1, 0)), _bytes(part.get(2, b"")).hex()))
    check_format(_integer(last.get(1, 0)))
    origin = dict(fields(_bytes(last.get(14, b""))))
    return Heading(
        _bytes(last.get(10, b"")).decode(), _integer(last.get(2, 0)), _signed(_integer(last.get(3, 0))),
        _signed(_integer(last[4])) if 4 in last else None, bool(last.get(12, 0)), tuple(parts),
        _bytes(origin.get(1, b"")).decode(), _bytes(origin.get(2, b"")).decode(), tuple(protected),
        _integer(origin.get(3, 0)), tuple(applications),
    )  # fmt: skip


def check_format(number: int) -> None:
    """Refuse a format that this version does not read: SnapshotRefused(`unknown_format`)."""
    if number != FORMAT:
        hint = "upgrade this authz, or build the snapshot with one of the same version"
        raise SnapshotRefused(Refusal.UNKNOWN_FORMAT, found=f"format {number}", expected=FORMAT, hint=hint)


def envelope_end(header: bytes, size: int) -> int:
    """Return where the envelope ends in a file of that size. header: its first bytes. Raises SnapshotRefused."""
    if len(header) < HEADER.size:
        raise SnapshotRefused(Refusal.TRUNCATED, found=f"{len(header)} bytes", expected=f"at least {HEADER.size}")
    magic, length = HEADER.unpack(header)
    if magic != MAGIC:
        raise SnapshotRefused(
            Refusal.BAD_MAGIC,
            found=f"'{shorten(magic.decode('latin-1'))}'",
            expected=f"'{MAGIC.decode()}': this is not a snapshot",
        )
    if length > MAX_ENVELOPE:
        raise SnapshotRefused(
            Refusal.TOO_LARGE, found=f"an envelope of {length} bytes", expected=f"at most {MAX_ENVELOPE}"
        )
    if HEADER.size + length > size:
        raise SnapshotRefused(Refusal.TRUNCATED, found=f"{size} bytes", expected=f"an envelope of {length}")
    return HEADER.size + int(length)


def part_path(path: Path, part: Requirement) -> Path:
    """Return where a part stands, such as `bans.snapshot.1795830000`.

    Args:
        path: The file that requires it.
        part: What it requires.
    """
    return path.with_name(f"{path.name}.{part.serial}")


def _integer(value: int | bytes) -> int:
    if not isinstance(value, int):
        raise TypeError(value)
    return value


def _bytes(value: int | bytes) -> bytes:
    if isinstance(value, int):
        raise TypeError(value)
    return value


def _signed(value: int) -> int:
    return value - (1 << 64) if value >> 63 else value
