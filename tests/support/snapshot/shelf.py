"""The shelf of broken snapshots: for each a name, the code with which it must be refused, and how it is made.

They are made of a good snapshot with the serial SERIAL + 1, for a reader that has accepted SERIAL and trusts the key
`a` alone.
"""

from __future__ import annotations

import base64
import json
import time
from typing import TYPE_CHECKING, Any, Final

from support.snapshot.forge import Forge, canonical, flip, up

from authz.snapshot.sections import ENTRY_TYPES, INDEX_TYPES, SIZES
from authz.wire.snapshot.v1.snapshot_pb2 import Manifest

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    Make = Callable[[Forge], bytes]

SERIAL: Final = 5
CAP: Final = 8 << 20  # bytes of an envelope
TYPES: Final = ENTRY_TYPES | INDEX_TYPES
LAST: Final = list(TYPES)[-1]
EMPTY: Final = {"v4.blocks", "v4.leaves"}  # a small policy has neither


def payload_with(good: Forge, **values: int) -> bytes:
    """Return the manifest with other values."""
    manifest = Manifest.FromString(good.payload)
    for name, value in values.items():
        setattr(manifest, name, value)
    return manifest.SerializeToString(deterministic=True)


def signature(envelope: dict[str, Any]) -> bytes:
    """Return the first signature of an envelope."""
    return base64.b64decode(envelope["signatures"][0]["sig"])


def set_signature(envelope: dict[str, Any], sig: bytes) -> None:
    """Replace the first signature of an envelope."""
    envelope["signatures"][0]["sig"] = base64.b64encode(sig).decode()


def set_section(manifest: Manifest, number: int, **values: object) -> None:
    """Change what the manifest says of a section."""
    for name, value in values.items():
        setattr(manifest.sections[number], name, value)


# Ways of making a file out of the good one.


def of(change: Callable[[bytes], bytes]) -> Make:
    return lambda good: change(good.data)


def raw(change: Callable[[bytes], bytes], length: int | None = None, *, longer: int = 0) -> Make:
    """Another text of the envelope. length: what the header says; longer: by how much more than the truth."""

    def make(good: Forge) -> bytes:
        envelope = change(canonical(good.envelope))
        return good.with_envelope(envelope, length=len(envelope) + longer if length is None else length)

    return make


def envelope(change: Callable[[dict[str, Any]], object]) -> Make:
    """An envelope changed after it was signed."""
    return lambda good: good.with_changed_envelope(change)


def values(**new: int) -> Make:
    """A manifest with other values, well signed."""
    return lambda good: good.with_payload(payload_with(good, **new))


def manifest(change: Callable[[Manifest], object]) -> Make:
    """A changed manifest, well signed."""
    return lambda good: good.with_manifest(change)


def section(name: str, change: Callable[[bytes], bytes]) -> Make:
    """A changed section, with the right digest, well signed."""
    return lambda good: good.with_sections(lambda sections: sections.update({name: change(sections[name])}))


def cut(name: str, where: Callable[[int, int], int]) -> Make:
    """The file up to a place that is counted from start and end of a section."""
    return lambda good: good.data[: where(*good.places()[name])]


def flipped(name: str, where: Callable[[int, int], int]) -> Make:
    """One bit flipped at such a place."""
    return lambda good: flip(good.data, where(*good.places()[name]), 7)


def without(name: str) -> Make:
    """A file that lacks a section."""
    return lambda good: good.with_sections(lambda sections: sections.pop(name))


def unheard_of(part: Callable[[Manifest], object], name: str) -> Make:
    """A setting with a value that nobody knows."""
    return manifest(lambda m: setattr(part(m), name, "unheard_of"))


def entry(name: str, value: str) -> Make:
    """A first entry with another value, well signed."""
    return lambda good: good.with_entry(lambda e: setattr(e, name, value))


def borrowed(other: Callable[[Forge], bytes]) -> Make:
    """The signature of another envelope."""
    return lambda good: good.with_changed_envelope(lambda e: set_signature(e, signature(json.loads(other(good)))))


def _cut() -> Iterator[tuple[str, Make]]:
    yield "an empty file", of(lambda data: data[:0])
    yield "cut in the magic", of(lambda data: data[:4])
    yield "cut behind the magic", of(lambda data: data[:8])
    yield "cut in the length", of(lambda data: data[:10])
    yield "cut behind the header", of(lambda data: data[:12])
    yield "cut in the envelope", lambda good: good.data[: good.envelope_end // 2]
    yield "cut before the last byte of the envelope", lambda good: good.data[: good.envelope_end - 1]
    yield "cut behind the envelope", lambda good: good.data[: good.envelope_end]
    yield "cut in the padding", lambda good: good.data[: good.first_section - 1]
    for name in TYPES:
        yield f"cut at the start of {name}", cut(name, lambda start, _: start)
        yield f"cut in {name}", cut(name, lambda start, end: (start + end) // 2)
        yield f"cut before the last byte of {name}", cut(name, lambda _, end: end - 1)
        if name != LAST:
            yield f"cut at the end of {name}", cut(name, lambda _, end: end)
    yield "an envelope as long as the cap", raw(lambda text: text, CAP)
    yield "a section as long as the numbers go", manifest(lambda m: set_section(m, -1, length=(1 << 64) - 1))
    yield "a section longer by a byte", manifest(lambda m: set_section(m, -1, length=m.sections[-1].length + 1))


def _trailing() -> Iterator[tuple[str, Make]]:
    yield "one byte behind the end", of(lambda data: data + b"\0")
    yield "zeros up to the next multiple of 64", of(lambda data: data.ljust(up(len(data) + 1), b"\0"))
    yield "another snapshot behind the end", of(lambda data: data * 2)
    yield "no sections", manifest(lambda m: m.ClearField("sections"))


def _magic() -> Iterator[tuple[str, Make]]:
    yield "text", of(lambda data: b"version: 1\napplications:\n  shop: {}\n".ljust(len(data)))
    yield "the magic of another format", of(lambda data: b"AZSNAP02" + data[8:])
    yield "zeros", of(lambda data: bytes(len(data)))


def _too_large() -> Iterator[tuple[str, Make]]:
    yield "an envelope longer than the cap", raw(lambda text: text, CAP + 1)
    yield "an envelope of 4 GB", raw(lambda text: text, (1 << 32) - 1)
    yield "more sections than the cap", manifest(lambda m: [m.sections.add(name=f"more-{n}") for n in range(60)])


def _bad_envelope() -> Iterator[tuple[str, Make]]:
    yield "an envelope of no bytes", raw(lambda text: text[:0])
    yield "an envelope shorter by a byte", raw(lambda text: text, longer=-1)
    yield "an envelope longer by a byte", raw(lambda text: text, longer=1)
    yield "an envelope that is no JSON", raw(lambda text: b"x" * len(text))
    yield "an envelope that is no object", raw(lambda text: b"[" + text + b"]")
    yield "an envelope of deep lists", raw(lambda text: b"[" * 100_000 + text)
    yield "an envelope of one huge number", raw(lambda text: b"1" * 100_000 + text[:0])
    yield "an envelope with white space", raw(lambda text: text.replace(b":", b": "))
    yield "an envelope with a newline at the end", raw(lambda text: text + b"\n")
    yield "an envelope with its keys in another order", raw(reordered)
    yield "an envelope with a key twice", raw(lambda text: b'{"payload":"",' + text[1:])
    yield "an envelope with one more key", envelope(lambda e: e.update(more=1))
    yield "an envelope without payload", envelope(lambda e: e.pop("payload"))
    yield "an envelope without signatures", envelope(lambda e: e.pop("signatures"))
    yield "an envelope whose payload is no base64", envelope(lambda e: e.update(payload="*" + e["payload"]))
    yield "an envelope whose payload is a number", envelope(lambda e: e.update(payload=7))
    yield "an envelope whose signatures are text", envelope(lambda e: e.update(signatures="none"))
    yield "an envelope with a signature twice", envelope(lambda e: e["signatures"].append(e["signatures"][0]))
    yield (
        "an envelope with seventeen signatures",
        envelope(lambda e: e["signatures"].extend({"keyid": f"{n:064x}", "sig": "AAAA"} for n in range(16))),
    )
    yield (
        "an envelope of another type",
        lambda good: good.with_envelope(good.signed_payload(good.payload, kind="application/vnd.in-toto+json")),
    )


def reordered(text: bytes) -> bytes:
    """Return a JSON object with its keys in the other order."""
    return json.dumps(dict(reversed(json.loads(text).items())), separators=(",", ":")).encode()


def _bad_signature() -> Iterator[tuple[str, Make]]:
    yield "an empty signature", envelope(lambda e: set_signature(e, b""))
    yield "a signature with a byte more", envelope(lambda e: set_signature(e, signature(e) + b"\0"))
    yield "a signature with one bit flipped", envelope(lambda e: set_signature(e, flip(signature(e), 0)))
    yield "another key's signature", borrowed(lambda good: good.signed_payload(good.payload, keys=["b"]))
    yield "a signature of another payload", borrowed(lambda good: good.signed_payload(good.payload + b"\0"))
    yield (
        "a signature of another payload type",
        borrowed(lambda good: good.signed_payload(good.payload, kind="application/vnd.in-toto+json")),
    )
    yield (
        "another manifest under the old signature",
        lambda good: good.with_changed_envelope(
            lambda e: e.update(payload=base64.b64encode(payload_with(good, serial=99)).decode())
        ),
    )


def _bad_manifest() -> Iterator[tuple[str, Make]]:
    yield "a manifest that is no protobuf", lambda good: good.with_payload(b"\xff\xff")
    yield "an entry that is no protobuf", section("entries.data", lambda data: b"\xff" + data[1:])
    yield "a manifest cut short", lambda good: good.with_payload(good.payload[:-1])
    yield "no applications", manifest(lambda m: m.ClearField("applications"))
    yield "no application for all others", manifest(lambda m: m.applications.pop(0))
    yield "a deny answer that lets through", manifest(lambda m: setattr(m.applications[1].deny, "status", 200))
    yield "an application that could end a header", manifest(lambda m: setattr(m.applications[1], "name", "a\r\nb: c"))
    yield "an entry that could end a header", entry("id", "a\r\nb: c")
    crlf = "text/plain\r\nset-cookie: a=b"
    yield (
        "a media type that could end a header",
        manifest(lambda m: setattr(m.applications[1].deny, "content_type", crlf)),
    )
    yield "a deny answer without a status", manifest(lambda m: m.applications[1].ClearField("deny"))
    for name in ("mode", "default", "precedence", "match"):
        yield f"an unknown {name}", unheard_of(lambda m: m.applications[1], name)
    for name in ("list", "action"):
        yield f"an unknown {name}", entry(name, "unheard_of")


def twice(good: Forge) -> bytes:
    """A file that is right but for the name of its last section, which is the first one's."""
    longer = Forge(good.with_sections(lambda sections: sections.update(more=sections["v4.starts"])), good.signers)
    return longer.with_manifest(lambda m: set_section(m, -1, name="v4.starts"))


def _bad_section() -> Iterator[tuple[str, Make]]:
    yield "offsets of entries out of order", section("entries.offset", lambda data: flip(data, 4, 7))
    yield "a section twice", twice
    yield "two sections with one name", manifest(lambda m: set_section(m, 1, name=m.sections[0].name))
    yield "sections in another order", manifest(lambda m: m.sections.sort(key=lambda s: -s.offset))
    yield "a section that begins too early", manifest(lambda m: set_section(m, 1, offset=0))
    yield "a section that begins too late", manifest(lambda m: set_section(m, 1, offset=m.sections[1].offset + 64))
    yield "a section off the grid", manifest(lambda m: set_section(m, 1, offset=m.sections[1].offset + 1))
    yield "a section at the end of the numbers", manifest(lambda m: set_section(m, 0, offset=(1 << 64) - 64))
    yield "a byte between two sections", lambda good: flip(good.data, good.places()[LAST][0] - 1)
    yield "a byte behind the envelope", lambda good: flip(good.data, good.first_section - 1)
    yield "a directory that is too short", section("v4.directory", lambda data: data[:-4])
    yield "a directory of no positions", section("v4.directory", lambda data: data[:0])
    yield "a directory that does not begin at 0", section("v4.directory", lambda data: flip(data, 0))
    yield "parts of IPv6 that are not in order", section("v6.parts", lambda data: flip(data, 7))
    yield "slots of IPv6 that are too few", section("v6.slots", lambda data: data[:-4])
    yield "a directory that ends beyond the pieces", section("v4.directory", lambda data: flip(data, -4))
    yield "fewer sets than pieces", section("v4.sets", lambda data: data[:-4])
    yield "fewer low than high halves", section("v6.starts_low", lambda data: data[:-8])
    yield "a first piece that is not at 0.0.0.0", section("v4.starts", lambda data: flip(data, 0))
    yield "no pieces", lambda good: good.with_sections(lambda s: s.update({"v4.starts": b"", "v4.sets": b""}))
    yield "fewer lengths than members", section("members.length", lambda data: data[:-1])
    yield "offsets of entries that do not begin at 0", section("entries.offset", lambda data: flip(data, 0))
    yield "offsets of entries that end beyond them", section("entries.offset", lambda data: flip(data, -4))
    yield "no offsets of entries", section("entries.offset", lambda _: b"")
    yield "leaves without blocks", section("v4.leaves", lambda _: bytes(4))
    yield "blocks without leaves", section("v4.blocks", lambda _: bytes(8 << 19))
    yield "a block", lambda good: good.with_sections(lambda s: s.update({"v4.blocks": bytes(8), "v4.leaves": bytes(4)}))
    yield "sets beyond the members", section("sets.offset", lambda data: flip(data, -4))
    for name, kind in TYPES.items():
        yield f"without {name}", without(name)
        if SIZES[kind] > 1:
            yield f"{name} with a byte too many", section(name, lambda data: data + b"\0")


def _bad_digest() -> Iterator[tuple[str, Make]]:
    for name in [name for name in TYPES if name not in EMPTY]:
        yield f"first byte of {name} changed", flipped(name, lambda start, _: start)
        yield f"last byte of {name} changed", flipped(name, lambda _, end: end - 1)
    yield "a section shorter by a byte", manifest(lambda m: set_section(m, -1, length=m.sections[-1].length - 1))
    yield "a digest of another section", manifest(lambda m: set_section(m, 0, sha256=m.sections[1].sha256))
    yield "a digest of no bytes", manifest(lambda m: set_section(m, 0, sha256=b""))


def _rolled_back() -> Iterator[tuple[str, Make]]:
    yield "a lower serial", values(serial=SERIAL - 1)
    yield "the same serial with other content", values(serial=SERIAL, created=1)
    yield "serial 0", values(serial=0)


def _unknown_format() -> Iterator[tuple[str, Make]]:
    yield "an empty manifest", lambda good: good.with_payload(b"")
    yield "a future format", values(format=5)
    yield "format 3, which had other slots for IPv6", values(format=3)
    yield "format 2, which had another directory for IPv6", values(format=2)
    yield "format 0", values(format=0)
    yield "format 1, which had the entries in the manifest", values(format=1)


def _unknown_key() -> Iterator[tuple[str, Make]]:
    yield "signed by another key", lambda good: good.with_payload(good.payload, keys=["b"])
    yield "an unknown key's id", envelope(lambda e: e["signatures"][0].update(keyid="0" * 64))


def _expired() -> Iterator[tuple[str, Make]]:
    yield "expired an hour ago", values(expires=int(time.time()) - 3600)
    yield "expired in 1970", values(expires=0)


def _unsigned() -> Iterator[tuple[str, Make]]:
    yield "no signature", envelope(lambda e: e["signatures"].clear())


SHELF: Final[dict[str, tuple[str, Make]]] = {
    name: (code, make)
    for code, cases in {
        "truncated": _cut,
        "trailing_bytes": _trailing,
        "bad_magic": _magic,
        "too_large": _too_large,
        "bad_envelope": _bad_envelope,
        "unsigned": _unsigned,
        "unknown_key": _unknown_key,
        "bad_signature": _bad_signature,
        "bad_manifest": _bad_manifest,
        "unknown_format": _unknown_format,
        "bad_section": _bad_section,
        "bad_digest": _bad_digest,
        "expired": _expired,
        "rolled_back": _rolled_back,
    }.items()
    for name, make in cases()
}
