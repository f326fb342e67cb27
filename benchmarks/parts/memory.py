"""Start and memory of a sidecar: without entries, with many entries, and with the largest table.

The sections of a snapshot (its networks) are a sealed copy in anonymous memory, which the kernel counts as shared
(RssShmem) where it was read; its manifest (its entries) and the rest are the process's own (RssAnon). "All asked" is
the memory once every entry has decided a request: outcomes are remembered, up to a bound. "Reloaded" is the memory
after some reloads; meanwhile two snapshots are in memory, which "at most" shows.
"""

from __future__ import annotations

import json
import socket
import tempfile
import time
import urllib.request
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Final, NamedTuple

from authz.addresses import format_address
from benchmarks.data.networks import load_table
from benchmarks.data.policies import (
    APPLICATION,
    Publisher,
    deny_table,
    empty_policy,
    separate_address,
    separate_entries,
)
from benchmarks.processes import Sidecar, memory_of
from benchmarks.report.document import Check, Part
from benchmarks.rounds import interleaved

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Sequence

    from authz.publisher.policy.read import Policy
    from benchmarks.scale import Scale

_MEGABYTE: Final = 1_000_000
_RELOADS: Final = 3  # before the memory is read again
_PATIENCE: Final = 10.0  # seconds for a reload
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


class _Case(NamedTuple):
    """A policy and the file name of its snapshot, without `.snapshot`. entries: each has an address of its own."""

    what: str
    name: str
    policy: Policy
    entries: int = 0

    @property
    def file(self) -> str:
        return f"{self.name}.snapshot"


def run(scale: Scale, note: Callable[[str], None]) -> Part:
    """Start each sidecar several times, in turn; then ask and reload each."""
    part = Part("memory")
    with tempfile.TemporaryDirectory() as temporary:
        folder = Path(temporary)
        note("building the snapshots")
        publisher, cases = Publisher(folder), list(_cases(scale))
        for case in cases:
            publisher.publish(case.file, case.policy)
        note("starting sidecars")
        starts = interleaved({case.name: partial(_start, folder, case) for case in cases}, scale.starts, 0)
        for case in cases:
            runs = starts[case.name]
            size = _file_size(folder, case)
            part.add("snapshot file", "MB", {"authz": [size]}, policy=case.what)
            part.add("start to ready", "s", {"authz": [run.ready for run in runs]}, policy=case.what)
            _add(part, [run.sizes for run in runs], case.what, size)
        for case in cases:
            note(f"asking and reloading: {case.what}")
            _ask_and_reload(part, folder, publisher, case)
    part.notes.append(
        "MB are millions of bytes, read from /proc once it serves, at most since its start; both fronts are on, the "
        "files are in the page cache, keys and state on a local disk"
    )
    return part


def _cases(scale: Scale) -> Iterator[_Case]:
    table = load_table(scale.sizes[-1])
    yield _Case("empty", "empty", empty_policy())
    yield _Case(f"{scale.entries:,} entries", "entries", separate_entries(scale.entries), scale.entries)
    what = f"{len(table.networks):,} networks ({table.source}) in 16 entries"
    yield _Case(what, "table", deny_table(table))


def _start(folder: Path, case: _Case) -> _Start:
    # Each has a state file of its own: an older serial than the highest accepted would be refused.
    with Sidecar(folder, case.name, snapshot=case.file, engine="auto") as sidecar:
        return _Start(sidecar.ready_seconds, _sizes(sidecar))


def _file_size(folder: Path, case: _Case) -> float:
    return (folder / case.file).stat().st_size / _MEGABYTE


def _add(part: Part, sizes: Sequence[dict[str, float]], what: str, file: float) -> None:
    for name in _SIZES:
        part.add("memory", "MB", {name: [process[name] for process in sizes]}, policy=what)
    beyond = [process["resident (VmRSS)"] - file for process in sizes]
    part.add("resident memory beyond the snapshot file", "MB", {"authz": beyond}, policy=what)


def _sizes(sidecar: Sidecar) -> dict[str, float]:
    memory = memory_of(sidecar.pid)
    return {name: memory[field] / _MEGABYTE for name, field in _SIZES.items()}


def _settled(sidecar: Sidecar) -> dict[str, float]:
    """Return the sizes once they do not fall any more: the new snapshot decides before the old one is given back."""
    before = _sizes(sidecar)
    while True:
        time.sleep(0.05)
        sizes = _sizes(sidecar)
        if sizes["resident (VmRSS)"] >= before["resident (VmRSS)"]:
            return sizes
        before = sizes


def _ask_and_reload(part: Part, folder: Path, publisher: Publisher, case: _Case) -> None:
    with Sidecar(folder, case.name, snapshot=case.file, engine="auto") as sidecar:
        if case.entries:
            part.checks.append(_all_asked(sidecar.ports["http"], case.entries))
            _add(part, [_sizes(sidecar)], f"{case.what}, all asked", _file_size(folder, case))
        for _ in range(_RELOADS):
            before = _serial(sidecar.ports["admin"])
            publisher.publish(case.file, case.policy)
            _wait_for_another(sidecar.ports["admin"], before)
        _add(part, [_settled(sidecar)], f"{case.what}, reloaded", _file_size(folder, case))


def _all_asked(port: int, entries: int) -> Check:
    denied = ask_all(port, entries)
    check = Check(f"{entries:,} clients, each on an entry of its own, are denied", entries)
    if denied != entries:
        check.differences.append(f"{denied} of {entries} were")
    return check


def _serial(port: int) -> int:
    """Return the serial of the snapshot that decides."""
    with urllib.request.urlopen(f"http://127.0.0.1:{port}/snapshot", timeout=_PATIENCE) as answer:
        return int(json.load(answer)["layers"]["policy"]["loaded"]["serial"])


def _wait_for_another(port: int, serial: int) -> None:
    """Wait until another serial decides. Raises RuntimeError."""
    end = time.monotonic() + _PATIENCE
    while _serial(port) == serial:
        if time.monotonic() > end:
            raise RuntimeError(f"after serial {serial} none was loaded")
        time.sleep(0.01)


def ask_all(port: int, entries: int) -> int:
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
    received = b""
    while received.count(b"\r\n\r\n") < answers:
        data = connection.recv(1 << 16)
        if not data:
            raise RuntimeError("the sidecar closed the connection")
        received += data
    return received
