"""Start and memory of a sidecar: without entries, with many entries, and with the largest table.

The snapshot is a sealed copy in anonymous memory, which the kernel counts as shared (RssShmem) where it was read; the
rest is the process's own. "After all were asked" is the memory once every entry has decided a request: outcomes are
remembered, up to a bound.
"""

from __future__ import annotations

import socket
import tempfile
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Final, NamedTuple

from authz.addresses import format_address
from benchmarks.data import load_table
from benchmarks.policies import (
    APPLICATION,
    Publisher,
    deny_table,
    empty_policy,
    separate_address,
    separate_entries,
)
from benchmarks.report import Check, Part
from benchmarks.rounds import interleaved
from benchmarks.servers import Sidecar, memory_of

if TYPE_CHECKING:
    from collections.abc import Callable

    from benchmarks.scale import Scale

_MEGABYTE: Final = 1_000_000
_PIPELINED: Final = 100  # requests sent at once
_SIZES: Final = {
    "resident (VmRSS)": "VmRSS",
    "own (RssAnon)": "RssAnon",
    "snapshot (RssShmem)": "RssShmem",
    "code (RssFile)": "RssFile",
    "at most (VmHWM)": "VmHWM",
}


class _Start(NamedTuple):
    """ready: seconds. sizes: of memory in MB by name."""

    ready: float
    sizes: dict[str, float]


def run(scale: Scale, note: Callable[[str], None]) -> Part:
    """Start each sidecar several times, in turn."""
    part = Part("memory")
    with tempfile.TemporaryDirectory() as temporary:
        folder = Path(temporary)
        note("building the snapshots")
        files = _publish(folder, scale)
        note("starting sidecars")
        starts = interleaved({what: partial(_start, folder, file) for what, file in files.items()}, scale.starts, 0)
        for what, found in starts.items():
            size = (folder / files[what]).stat().st_size / _MEGABYTE
            part.add("snapshot file", "MB", {"authz": [size]}, policy=what)
            part.add("start to ready", "s", {"authz": [one.ready for one in found]}, policy=what)
            for name in _SIZES:
                part.add("memory", "MB", {name: [one.sizes[name] for one in found]}, policy=what)
        note("asking for every entry")
        _measure_all_asked(part, folder, scale.entries)
    part.notes.append(
        "MB are millions of bytes, read from /proc once it serves, at most since its start; both fronts are on, the "
        "files are in the page cache, keys and state on a local disk"
    )
    return part


def _publish(folder: Path, scale: Scale) -> dict[str, str]:
    """Write the snapshots and return their file names by what they hold."""
    publisher = Publisher(folder)
    table = load_table(scale.sizes[-1])
    publisher.publish("empty.snapshot", empty_policy())
    publisher.publish("entries.snapshot", separate_entries(scale.entries))
    publisher.publish("table.snapshot", deny_table(table))
    return {
        "empty": "empty.snapshot",
        f"{scale.entries:,} entries": "entries.snapshot",
        f"{len(table.networks):,} networks ({table.source}) in 16 entries": "table.snapshot",
    }


def _start(folder: Path, file: str) -> _Start:
    # Each has a state file of its own: an older serial than the highest accepted would be refused.
    with Sidecar(folder, file.removesuffix(".snapshot"), snapshot=file, engine="auto") as sidecar:
        return _Start(sidecar.ready_seconds, _sizes(sidecar))


def _sizes(sidecar: Sidecar) -> dict[str, float]:
    found = memory_of(sidecar.pid)
    return {name: found[field] / _MEGABYTE for name, field in _SIZES.items()}


def _measure_all_asked(part: Part, folder: Path, entries: int) -> None:
    with Sidecar(folder, "entries", snapshot="entries.snapshot", engine="auto") as sidecar:
        denied = _ask_all(sidecar.ports["http"], entries)
        check = Check(f"{entries:,} clients, each on an entry of its own, are denied", entries)
        if denied != entries:
            check.differences.append(f"{denied} of {entries} were")
        part.checks.append(check)
        for name, size in _sizes(sidecar).items():
            part.add("memory", "MB", {name: [size]}, policy=f"{entries:,} entries, after all were asked (HTTP)")


def _ask_all(port: int, entries: int) -> int:
    """Ask for the client of every entry over one connection, and return how many were denied."""
    denied = 0
    with socket.create_connection(("127.0.0.1", port), timeout=10.0) as connection:
        for first in range(0, entries, _PIPELINED):
            batch = range(first, min(first + _PIPELINED, entries))
            connection.sendall(b"".join(_request(number) for number in batch))
            denied += _read(connection, len(batch)).count(b"HTTP/1.1 403 ")
    return denied


def _request(number: int) -> bytes:
    client = format_address(4, separate_address(number))
    return f"GET /v1/auth/{APPLICATION} HTTP/1.1\r\nHost: shop\r\nX-Forwarded-For: {client}\r\n\r\n".encode()


def _read(connection: socket.socket, answers: int) -> bytes:
    """Read that many answers; none has a body."""
    found = b""
    while found.count(b"\r\n\r\n") < answers:
        data = connection.recv(1 << 16)
        if not data:
            raise RuntimeError("the sidecar closed the connection")
        found += data
    return found
