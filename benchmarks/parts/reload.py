"""A reload under traffic: how soon the new snapshot answers, and what requests wait because of it.

A snapshot with the next serial stands ready beside the one in use and is renamed over it while requests come, as
reload_traffic.py describes. The serial is in each answer (for HTTP in its body), so the checksums of the answers say
which snapshot gave them. The peers follow (reload_peers.py), with the same lists.

With many entries, all of them are asked for before each reload, so that the memory of outcomes is full and has to be
given up.
"""

from __future__ import annotations

import tempfile
import time
import zlib
from dataclasses import replace
from http.client import HTTPConnection
from pathlib import Path
from typing import TYPE_CHECKING, Final, NamedTuple

import grpc

from authz.engine.model import DenyAnswer
from authz.serve.grpc.check import CHECK_METHOD
from benchmarks.data.networks import address, hits, load_table
from benchmarks.data.policies import APPLICATION, Publisher, deny_table, separate_address, separate_entries
from benchmarks.load.paced import missing_paced
from benchmarks.load.reload_traffic import RATE, Latencies, judged, traffic
from benchmarks.parts.common.fronts import missing_decoder, say_where
from benchmarks.parts.common.reload_peers import measure as measure_peers
from benchmarks.parts.memory import ask_all
from benchmarks.processes import Sidecar
from benchmarks.report.document import Check, Part

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from authz.addresses import Address
    from authz.publisher.policy.read import Policy
    from benchmarks.load.reload_traffic import Reload
    from benchmarks.scale import Scale

_SECONDS: Final = 1.2  # of requests in all, so that a reload may take 0.7
_SPARE: Final = 3  # reloads more, where the machine was too busy to see one
_PATIENCE: Final = 10.0  # seconds for a reload that was not seen
BEFORE, DURING = "before a reload", "during a reload"
GRPC, HTTP = "gRPC", "HTTP"


class _Case(NamedTuple):
    """A policy, and the front that is asked. client: whom it denies. entries: to ask for before each reload."""

    what: str
    policy: Policy
    client: Address
    entries: int = 0
    front: str = GRPC

    def of_serial(self, serial: int) -> Policy:
        """Return the policy with an answer that names the serial."""
        deny = DenyAnswer(body=f"serial {serial}\n")
        return self.policy._replace(
            applications=tuple(application._replace(deny=deny) for application in self.policy.applications)
        )


def run(scale: Scale, note: Callable[[str], None]) -> Part:
    """Reload each policy several times."""
    part = Part("reload")
    part.skipped = missing_paced() or missing_decoder()
    if part.skipped:
        return part
    for case in _cases(scale):
        note(f"{case.what}, {case.front}")
        with tempfile.TemporaryDirectory() as name:
            _measure(part, Path(name), case, scale.reloads)
    measure_peers(part, scale, note)
    say_where(part)
    part.notes.append(
        f"{RATE:,} requests a second; the file is in the page cache, keys and state are on a local disk; "
        "the time to the first new answer includes noticing the rename, and the write of the state that must be safe "
        "on the disk before the snapshot may answer"
    )
    return part


def _cases(scale: Scale) -> Iterator[_Case]:
    for size in scale.reload_sizes:
        table = load_table(size)
        what = f"{len(table.networks):,} networks ({table.source}) in 16 entries"
        case = _Case(what, deny_table(table), address(4, hits(table, 4, 1)[0]))
        yield case
        yield case._replace(front=HTTP)
    what = f"{scale.entries:,} entries, all asked before"
    yield _Case(what, separate_entries(scale.entries), address(4, separate_address(0)), scale.entries)


def _measure(part: Part, folder: Path, case: _Case, reloads: int) -> None:
    publisher = Publisher(folder)
    publisher.publish("live.snapshot", case.of_serial(1))
    seen: list[Reload] = []
    check = Check(f"{case.what}, {case.front}: denied, by the serial that was renamed last", 1)
    with Sidecar(folder, "sidecar", snapshot="live.snapshot") as sidecar:
        sender = _Sender(_grpc(sidecar, case.client) if case.front == GRPC else _http(sidecar, case.client))
        check.differences.extend(sender.differences(1))
        for serial in range(2, reloads + _SPARE + 2):
            publisher.publish("next.snapshot", case.of_serial(serial))
            if case.entries and ask_all(sidecar.ports["http"], case.entries) != case.entries:
                check.differences.append("not every entry denies its client")
            reload = sender.reload(folder / "next.snapshot", folder / "live.snapshot")
            check = replace(check, count=check.count + 1)
            check.differences.extend(sender.differences(serial))
            if reload is not None:
                seen.append(reload)
            if len(seen) == reloads:
                break
        else:
            raise RuntimeError(f"{case.what}: too busy a machine: of {reloads + _SPARE} reloads {len(seen)} were seen")
        part.checks.append(check)
    part.add(
        "rename to first new answer",
        "ms",
        {"authz": [reload.first for reload in seen]},
        policy=case.what,
        front=case.front,
    )
    for latency in Latencies._fields:
        values = {
            BEFORE: [getattr(reload.before, latency) for reload in seen],
            DURING: [getattr(reload.during, latency) for reload in seen],
        }
        part.add("latency", "ms", values, policy=case.what, front=case.front, latency=latency)


class _Front(NamedTuple):
    """What is asked. ask: asks once, by a client that is not ours, and returns the answer's bytes.

    differences: what is wrong with an answer, by the serial it should have.
    """

    url: str
    payload: bytes | None
    headers: tuple[tuple[str, str], ...]
    ask: Callable[[], bytes]
    differences: Callable[[bytes, int], Iterator[str]]


def _grpc(sidecar: Sidecar, client: Address) -> _Front:
    from envoy_data_plane.envoy.service.auth.v3 import CheckResponse  # noqa: PLC0415  # see missing_decoder

    from benchmarks.load.messages import SIZES, USUAL, check_request, read_answer  # noqa: PLC0415  # it imports the same

    request = check_request(client, SIZES[USUAL])

    def ask() -> bytes:
        with grpc.insecure_channel(f"127.0.0.1:{sidecar.ports['grpc']}") as channel:
            call = channel.unary_unary(CHECK_METHOD, request_serializer=None, response_deserializer=None)
            return bytes(call(request, timeout=_PATIENCE))

    def differences(payload: bytes, serial: int) -> Iterator[str]:
        if read_answer(payload) != (7, client.text):
            yield f"found {read_answer(payload)}, expected {(7, client.text)}"
        metadata = CheckResponse.parse(payload).dynamic_metadata
        if metadata is None or metadata.fields["serial"].number_value != serial:
            yield f"found another serial, expected {serial}"

    return _Front(sidecar.url("grpc"), request, (), ask, differences)


def _http(sidecar: Sidecar, client: Address) -> _Front:
    path, headers = f"/v1/forward/{APPLICATION}", {"X-Forwarded-For": client.text}

    def ask() -> bytes:
        connection = HTTPConnection("127.0.0.1", sidecar.ports["http"], timeout=_PATIENCE)
        connection.request("GET", path, headers=headers)
        answer = connection.getresponse()
        body = answer.read() if answer.status == 403 else b""
        connection.close()
        return body

    def differences(body: bytes, serial: int) -> Iterator[str]:
        if body != f"serial {serial}\n".encode():
            yield f"found {body!r}, expected serial {serial}"

    return _Front(sidecar.url("http") + path, None, tuple(headers.items()), ask, differences)


class _Sender:
    """Sends the same request again and again to a front."""

    def __init__(self, front: _Front) -> None:
        self._front = front

    def differences(self, serial: int) -> list[str]:
        """Ask once, and return what is wrong with the answer."""
        return list(self._front.differences(self._front.ask(), serial))

    def reload(self, new: Path, live: Path) -> Reload | None:
        """Send for a while, and rename the new snapshot over the live one meanwhile.

        None: there were no requests before the rename, or none after the new snapshot was in use.
        """
        front = self._front
        old = zlib.crc32(front.ask())
        lines, renamed = traffic(
            front.url, _SECONDS, lambda: new.replace(live), payload=front.payload, headers=front.headers
        )
        end = time.monotonic() + _PATIENCE
        while (crc := zlib.crc32(front.ask())) == old and time.monotonic() < end:
            time.sleep(0.01)
        strange = sum(line.crc not in {old, crc} or line.status < 0 for line in lines)
        if crc == old or strange:
            raise RuntimeError(f"{strange} answers are neither the old nor the new one, or there is no new one")
        return judged(lines, renamed, lambda line: line.crc == crc)
