"""A reload of the peers under traffic, as reload.py measures it of authz: proxies that decide by a list themselves.

    geo                 nginx's geo module: a list file is renamed into place, and the master gets SIGHUP at once
    RBAC, tries         Envoy's RBAC filter with the matcher API: the file of a listener is renamed into place
    RBAC, principals    the same with a principal for each network

The new list has one network more than the old one or lacks it again, and the client that is asked for is in no other:
so the status of an answer says which list decided. Both proxies may go on with the old list on connections that they
have, while new ones get the new list. So beside the requests over kept connections, whose latencies are those that are
reported, there are a few with a new connection each: the first new answer is the first of any.
"""

from __future__ import annotations

import random
import shutil
import tempfile
import time
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from functools import partial
from http.client import HTTPConnection
from pathlib import Path
from typing import TYPE_CHECKING, Final, NamedTuple

from authz.addresses import BITS, Network
from benchmarks.contenders.envoy import RBAC, TRIES
from benchmarks.data.networks import address, hits, load_table
from benchmarks.load.paced import flat_out, missing_paced, paced
from benchmarks.load.reload_traffic import AFTER, BEFORE, RATE, Latencies, Line, Reload, judged, read_series, traffic
from benchmarks.parts.nginx import GEO
from benchmarks.processes import cpu_seconds
from benchmarks.proxies.envoy import Envoy, missing_envoy, rbac_principals, rbac_tries, write_listener
from benchmarks.proxies.nginx import PATH, Nginx, knowing, missing_nginx, write_geo
from benchmarks.report.document import Check
from benchmarks.scale import FULL

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from benchmarks.data.networks import Table
    from benchmarks.proxies.envoy import Decision
    from benchmarks.report.document import Part
    from benchmarks.scale import Scale

_MAX_IN_ENVOY: Final = 250_000  # networks, but for the full run: 1 M take some 25 s, with start and all
_MAX_PRINCIPALS: Final = 100_000
_MAX_RELOADS: Final = 3  # of a peer with one list
_TIME: Final = 30.0  # seconds for these; there may be fewer, but one at least
_SPARE: Final = 2  # reloads more, where one was not seen
_LONGER: Final = 1.8  # a reload may take so many times as long as the start, for requests are answered meanwhile
_ANYWAY: Final = 0.5  # seconds, and so much more
_CONNECTIONS: Final = 200  # a second, of the requests with one each
_HEADROOM: Final = 1.5  # the rate is asked only of who could do so many times as much
_TRIAL: Final = 0.2  # seconds, to find that out
_PATIENCE: Final = 60.0  # seconds for a reload that was not seen, and for an answer
_ALLOWED, _DENIED = 200, 403


class _Lists(NamedTuple):
    """A list, and the same with a network more. client: an address of that only. listed: one that is on both."""

    networks: list[Network]
    longer: list[Network]
    client: str
    listed: str


class _Peer(NamedTuple):
    """A running proxy. live: the file that it reads; shorter, longer: with the lists. tell: that the file is new."""

    proxy: Nginx | Envoy
    path: str
    live: Path
    shorter: Path
    longer: Path
    tell: Callable[[], None]

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.proxy.port}{self.path}"

    def status(self, client: str) -> int:
        """Ask for a client once, over a connection of its own, and return the status."""
        connection = HTTPConnection("127.0.0.1", self.proxy.port, timeout=_PATIENCE)
        try:
            connection.request("GET", self.path, headers=dict(_headers(client)))
            return connection.getresponse().status
        finally:
            connection.close()


class _Seen(NamedTuple):
    """What the reloads of a peer showed. requests: sent; lost: of these, without an answer."""

    reloads: list[Reload]
    requests: int
    lost: int


def measure(part: Part, scale: Scale, note: Callable[[str], None]) -> None:
    """Add to the part the reloads of all peers that there are, with lists of the sizes that they can take."""
    missing = {GEO: missing_nginx(), TRIES: missing_envoy(), RBAC: missing_envoy()}
    missing = {name: missing_paced() or reason for name, reason in missing.items()}
    part.notes += [f"left out: {name}: {reason}" for name, reason in missing.items() if reason]
    for size in scale.reload_sizes:
        starts = {name: start for name, start in _starts(size, scale) if not missing[name]}
        if not starts:
            continue
        note(f"lists of {size:,} networks for the peers")
        table = load_table(size)
        what = f"{len(table.networks):,} networks ({table.source}) in 16 entries"
        lists = _lists(table)
        for name, start in starts.items():
            note(f"{name}, {size:,} networks")
            with tempfile.TemporaryDirectory() as folder:
                peer = start(Path(folder), lists)
                with peer.proxy:
                    _measure(part, name, what, peer, lists, scale.reloads)
    part.notes.append(
        f"{GEO}, {TRIES}, {RBAC}: the list has no entries, and the proxy answers itself, by HTTP; "
        f"{_CONNECTIONS} requests a second more have a connection each, and count for the first and the last answer "
        "only; nginx lets its old worker go on for 0.1 s; Envoy reads a binary message, which is faster than JSON, and "
        "drains at once (--drain-strategy immediate), for else a connection could keep to the old list for ten minutes"
    )


# The peers


def _starts(size: int, scale: Scale) -> Iterator[tuple[str, Callable[[Path, _Lists], _Peer]]]:
    """Yield those that take a list of this size."""
    yield GEO, _geo
    if size <= _MAX_IN_ENVOY or scale == FULL:
        yield TRIES, partial(_rbac, rbac_tries)
    if size <= _MAX_PRINCIPALS:
        yield RBAC, partial(_rbac, rbac_principals)


def _geo(folder: Path, lists: _Lists) -> _Peer:
    config = knowing(lists.networks, folder, "live.geo")
    live, shorter, longer = (folder / f"{name}.geo" for name in ("live", "shorter", "longer"))
    shutil.copyfile(live, shorter)
    write_geo(lists.longer, longer)
    nginx = Nginx(folder, "geo", config)
    return _Peer(nginx, PATH, live, shorter, longer, nginx.reload)


def _rbac(decide: Callable[[list[Network]], Decision], folder: Path, lists: _Lists) -> _Peer:
    watched = folder / "watched"
    watched.mkdir()
    live, shorter, longer = watched / "listener.pb", folder / "shorter.pb", folder / "longer.pb"
    write_listener(decide(lists.networks), shorter)
    write_listener(decide(lists.longer), longer)
    shutil.copyfile(shorter, live)
    return _Peer(Envoy(folder, "envoy", live), "/", live, shorter, longer, lambda: None)


def _lists(table: Table) -> _Lists:
    value = _outside(table)
    longer = [*table.networks, Network(4, value, BITS[4])]
    return _Lists(table.networks, longer, address(4, value).text, address(4, hits(table, 4, 1)[0]).text)


def _outside(table: Table) -> int:
    """Return an IPv4 address that no network covers."""
    rng = random.Random(len(table.networks))
    networks = table.of(4)
    while True:
        value = rng.randrange(128 << 24, 224 << 24)
        if not any(network.value <= value <= network.last for network in networks):
            return value


# Their reloads


def _measure(part: Part, name: str, what: str, peer: _Peer, lists: _Lists, reloads: int) -> None:
    check = Check(f"{what}, {name}: decides by the list that was renamed last", 0)
    check = _checked(check, peer, lists, _ALLOWED)
    if not check.differences and _able(peer, lists.client) < _HEADROOM * RATE:
        part.notes.append(f"left out: {name}, {what}: too slow for {RATE:,} requests a second")
    elif not check.differences:
        check, seen = _reloads(check, peer, lists, reloads)
        if not check.differences:
            _add(part, name, what, seen)
    part.checks.append(check)


def _checked(check: Check, peer: _Peer, lists: _Lists, expected: int) -> Check:
    """Ask for the client whose answer changes, and for one that is on both lists."""
    asked = ((lists.client, expected), (lists.listed, _DENIED))
    found = [(client, peer.status(client), right) for client, right in asked]
    wrong = [f"client {client}: found {status}, expected {right}" for client, status, right in found if status != right]
    return replace(check, count=check.count + len(asked), differences=check.differences + wrong)


def _able(peer: _Peer, client: str) -> float:
    """Return how many requests a second of CPU time it could answer; it is warm then, too."""
    before = cpu_seconds(peer.proxy.pid)
    load = flat_out(peer.url, _TRIAL, headers=_headers(client))
    return load.answered / (cpu_seconds(peer.proxy.pid) - before)


def _headers(client: str) -> tuple[tuple[str, str], ...]:
    return (("X-Forwarded-For", client),)


def _reloads(check: Check, peer: _Peer, lists: _Lists, most: int) -> tuple[Check, _Seen]:
    """Reload several times, with either list in turn."""
    seconds = BEFORE + AFTER + _ANYWAY + _LONGER * peer.proxy.ready_seconds
    count = min(most, _MAX_RELOADS, max(1, int(_TIME / seconds)))
    found: list[Reload] = []
    requests = lost = 0
    for number in range(count + _SPARE):
        new, expected = (peer.shorter, _ALLOWED) if number % 2 else (peer.longer, _DENIED)
        lines, others, renamed = _renamed(peer, new, lists.client, seconds)
        _wait(peer, lists.client, expected)
        check = _checked(check, peer, lists, expected)
        requests += len(lines)
        lost += sum(line.status < 0 for line in lines)
        reload = judged(lines, renamed, partial(_has, expected), others)
        if reload is not None:
            found.append(reload)
        else:
            seconds *= 2
        if len(found) == count or check.differences:
            break
    return check, _Seen(found, requests, lost)


def _renamed(peer: _Peer, new: Path, client: str, seconds: float) -> tuple[list[Line], list[Line], int]:
    """Let traffic come, and rename a copy of the new file over the live one meanwhile.

    Return the requests, those with a connection each, and when it was renamed.
    """
    beside = peer.shorter.with_name("next")
    shutil.copyfile(new, beside)

    def rename() -> None:
        beside.replace(peer.live)
        peer.tell()

    with ThreadPoolExecutor(1) as executor:
        others = executor.submit(_connecting, peer.url, client, seconds)
        lines, renamed = traffic(peer.url, seconds, rename, headers=_headers(client))
        return lines, others.result(), renamed


def _connecting(url: str, client: str, seconds: float) -> list[Line]:
    """Send some requests with a connection each."""
    with tempfile.NamedTemporaryFile() as file:
        headers = (*_headers(client), ("Connection", "close"))
        paced(url, _CONNECTIONS, seconds, headers=headers, connections=1, series=Path(file.name))
        return read_series(Path(file.name))


def _has(status: int, line: Line) -> bool:
    return line.status == status


def _wait(peer: _Peer, client: str, expected: int) -> None:
    """Wait until only the new list decides, but not for ever: what is wrong then will be found by a check."""
    end = time.monotonic() + _PATIENCE
    while (peer.status(client) != expected or peer.proxy.draining()) and time.monotonic() < end:
        time.sleep(0.01)


def _add(part: Part, name: str, what: str, seen: _Seen) -> None:
    if not seen.reloads:
        part.notes.append(f"left out: {name}, {what}: too busy a machine to see a reload")
        return
    where = {"policy": what, "front": "HTTP"}
    part.add("rename to first new answer", "ms", {name: [reload.first for reload in seen.reloads]}, **where)
    part.add("rename to last old answer", "ms", {name: [reload.last for reload in seen.reloads]}, **where)
    for latency in Latencies._fields:
        values = {
            f"{name}, before": [getattr(reload.before, latency) for reload in seen.reloads],
            f"{name}, during": [getattr(reload.during, latency) for reload in seen.reloads],
        }
        part.add("latency", "ms", values, **where, latency=latency)
    if seen.lost:
        part.notes.append(
            f"{name}, {what}: {seen.lost} of {seen.requests:,} requests had no answer; they are in no latency"
        )
