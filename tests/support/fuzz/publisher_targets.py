"""What the publisher, `replay` and the control plane read that others wrote: policies, feeds, databases, logs."""

from __future__ import annotations

import re
from pathlib import Path
from typing import TYPE_CHECKING, Final

from google.protobuf.message import DecodeError

from authz.control.detect import logs as control_logs
from authz.control.detect.event import as_json, read_event
from authz.control.detect.sources.envoy import event_of
from authz.control.detect.sources.syslog import line_of
from authz.errors import BadLine, InputError
from authz.publisher.bans.document import read_bans_file
from authz.publisher.feeds.geo.asn import read_asns
from authz.publisher.feeds.geo.places import GeoWanted, read_geo
from authz.publisher.feeds.hosts import HostOptions
from authz.publisher.feeds.read_feed import read_feed
from authz.publisher.policy.read import read_policy
from authz.publisher.policy.subjects import SubjectOptions
from authz.replay import formats
from authz.wire.envoy.v3.access_log_pb2 import StreamAccessLogsMessage
from support.proxies.envoy_logs import DECIDED, log_entry, log_message
from support.publishing.feed_samples import SAMPLES
from support.publishing.mmdb import encode, raw_mmdb, write_mmdb
from support.publishing.publisher import POLICY

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable

    Run = Callable[[bytes], object]


_ROOT: Final = Path(__file__).parents[3]
_REFERENCE: Final = _ROOT / "docs/reference/policy.md"


def _printable(error: InputError | BadLine) -> None:
    assert error.message.isprintable(), error.message
    assert len(error.message) < 100_000


def _short(error: InputError) -> None:
    assert len(str(error)) < 1_000_000


def policy(folder: Path) -> Run:
    """A policy, and the same bytes as a file of bans."""
    path = folder / "policy.yaml"
    offline = SubjectOptions(HostOptions(offline=True))

    def run(data: bytes) -> None:
        path.write_bytes(data)
        for read in (lambda: read_policy(path, options=offline), lambda: read_bans_file(path)):
            try:
                read()
            except InputError as error:
                _short(error)

    return run


def policy_seeds(_: Path) -> Iterable[bytes]:
    """A usual policy, one with every kind of subject, a file of bans, those of the examples and of the reference."""
    yield (_ROOT / "examples/policy.yaml").read_bytes()
    for example in re.findall(r"^```yaml\n(.*?)^```", _REFERENCE.read_text(), re.DOTALL | re.MULTILINE):
        yield example.encode()
    yield POLICY.encode()
    yield b"version: 1\nentries:\n  - {list: deny, asns: [64496], countries: [KP], starts: 2026-01-01, expires: 1d}\n"
    yield b"version: 1\napplications: {'*': {deny: {status: 404, body: 'no {client}'}}}\nprotected: [10.0.0.0/8]\n"
    yield b"version: 1\nlayer: bans\nsnapshot: b.snapshot\nkey: k\nbans:\n  - {id: b-1, address: 192.0.2.7}\n"


def feeds(folder: Path) -> Run:
    """A feed of any format."""
    path = folder / "feed"

    def run(data: bytes) -> None:
        path.write_bytes(data)
        try:
            feed = read_feed(path)
        except InputError as error:
            _printable(error)
        else:
            assert feed.taken >= 0

    return run


def feeds_seeds(_: Path) -> Iterable[bytes]:
    """A sample of each format."""
    for sample in SAMPLES.values():
        yield sample[1].encode()


def mmdb(folder: Path) -> Run:
    """A database of countries and of AS numbers."""
    path = folder / "database"

    def run(data: bytes) -> None:
        path.write_bytes(data)
        for read in (lambda: read_geo([path], GeoWanted(frozenset({"GB"}))), lambda: read_asns([path], None)):
            try:
                read()
            except InputError as error:
                _printable(error)

    return run


def mmdb_seeds(_: Path) -> Iterable[bytes]:
    """Small databases, and a table as text."""
    for size in (24, 28, 32):
        yield write_mmdb({"192.0.2.0/24": {"country": {"iso_code": "GB"}}}, record_size=size)
    yield write_mmdb({"2001:db8::/32": {"autonomous_system_number": 64496}}, kind="Test-ASN")
    yield raw_mmdb([(17, 1)], encode({"country": {"iso_code": "GB"}}), ip_version=4)
    yield b"192.0.2.0,192.0.2.255,GB\n2001:db8::,2001:db8::ffff,GB\n"
    yield b"192.0.2.0\t192.0.2.255\t64496\tGB\tEXAMPLE\n"


def logs(_: Path) -> Run:
    """A line of a log, as `replay` and as the control plane reads it."""

    def run(line: bytes) -> None:
        for name in formats.FORMATS[1:]:
            try:
                formats.parser(name)(line)
            except BadLine as error:
                _printable(error)
        for recognise in (formats.recognise, control_logs.recognise):
            try:
                recognise(line)
            except BadLine as error:
                _printable(error)
        for name in control_logs.FORMATS[1:]:
            try:
                read_event(bytes(_as_bytes(control_logs.parser(name)(line, 1.0))), 1.0)
            except BadLine as error:
                _printable(error)

    return run


def _as_bytes(event: object) -> bytes:
    import orjson

    return orjson.dumps(as_json(event))  # type: ignore[arg-type]


def logs_seeds(_: Path) -> Iterable[bytes]:
    """A line of each format."""
    yield b'{"peer": "127.0.0.1", "headers": [["X-Forwarded-For", "192.0.2.1"]], "time": "2026-12-01T00:00:00Z"}'
    yield b'203.0.113.9 - - [01/Dec/2026:00:00:00 +0000] "POST /login HTTP/1.1" 401 10 "-" "curl" "192.0.2.1"'
    yield b'{"remote_addr": "192.0.2.1", "time_iso8601": "2026-12-01T00:00:00+00:00", "http_host": "a", "status": 200}'
    yield b'{"peer": "192.0.2.1", "x_forwarded_for": "192.0.2.2", "start_time": "2026-12-01T00:00:00Z", "msec": 1.5}'
    yield (
        b'[2026-12-01T00:00:00.000Z] "GET / HTTP/1.1" 200 - 0 5 1 - "192.0.2.1" "curl" "id" "shop.example.com" '
        b'"127.0.0.1:80"'
    )


def intake(_: Path) -> Run:
    """Events: JSON of `POST /v1/events`, a syslog message, a message of Envoy's access log service."""

    def run(data: bytes) -> None:
        for line in (data, line_of(data)):
            try:
                event = read_event(line, 1.0)
            except BadLine as error:
                _printable(error)
            else:
                assert read_event(_as_bytes(event), 1.0) == event
        try:
            message = StreamAccessLogsMessage.FromString(data)
        except DecodeError:
            return
        for entry in message.http_logs.log_entry:
            _check_logged(entry)

    return run


def _check_logged(entry: object) -> None:
    event = event_of(entry)  # type: ignore[arg-type]
    if event is not None:
        read_event(_as_bytes(event), 1.0)


def intake_seeds(_: Path) -> Iterable[bytes]:
    """One of each kind."""
    yield b'{"client": "203.0.113.9", "time": 1.5, "status": 404, "path": "/a", "attacks": ["a"], "decision": "deny"}'
    yield b'<190>Dec  1 00:00:00 host nginx: {"client": "203.0.113.9", "time": "2026-12-01T00:00:00Z"}'
    yield log_message(log_entry(DECIDED), log_entry())
