"""The control plane: from `POST /v1/bans` to the first 403 at three sidecars, and questions to a store that has grown.

A real `authz control serve`, over SQLite and over PostgreSQL, with many bans that are live already. Three sidecars with
the largest table as their policy fetch the layer of bans from it (long poll), and each has a real Envoy in front. An
address is banned by the API, and asked for through all three until each denies it; then the ban is ended, and the
address asked for until each lets it in. That is done at rest, and while other bans pour in at a fixed rate.

Then single bans are added, and the time taken until a file that has them is offered to who waits for it. At last the
store is asked: add an entry, which entries cover an address now and as of an earlier time, what was done with
it.
"""

from __future__ import annotations

import http.client
import itertools
import tempfile
import threading
import time
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack, nullcontext
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

from support.processes import free_port

from authz.addresses import format_address
from authz.control.maintenance.init import make_folder
from authz.control.store.database import open_store
from authz.serve.config.values import Listen
from authz.times import format_moment
from benchmarks.data.networks import SlowTable, address, load_table, misses
from benchmarks.data.policies import Publisher, deny_table
from benchmarks.load.control.api import Api
from benchmarks.load.control.control_plane import ControlPlane
from benchmarks.load.control.stored_bans import Fill, fill, number_of
from benchmarks.load.probe import Probe
from benchmarks.processes import Sidecar
from benchmarks.proxies.envoy import Envoy, asking, missing_envoy
from benchmarks.report.document import Check, Part

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Sequence

    from benchmarks.scale import Scale

SIDECARS: Final = 3
POUR: Final = 100  # bans a second that pour in
BATCH: Final = 25  # of the 10,000 a minute: in one request
_POURED: Final = 0xC6120000  # 198.18.0.0, of those that pour in one by one
_POURED_MANY: Final = 0xC6130000  # 198.19.0.0, of those that pour in many at a time
_PAUSE: Final = 0.005  # seconds between two rounds of questions: who asks without a pause takes the processors from all
_APART: Final = 0.3  # seconds between two single changes: no file was begun lately
_BEFORE: Final = 0.05  # seconds in which who waits for a file has come to wait
_PATIENCE: Final = 120.0


def run(scale: Scale, note: Callable[[str], None]) -> Part:
    """Measure over each store that there is."""
    part = Part("control")
    part.skipped = missing_envoy()
    if part.skipped:
        return part
    from support.servers import postgresql  # noqa: PLC0415  # needs the extra control

    table = load_table(scale.sizes[-1])
    slow = SlowTable(table)
    drawn = misses(table, slow, 4, 9 * scale.enforced + 100)
    victims = list(dict.fromkeys(address(4, value).text for value in drawn))  # each once: a like ban is refused
    filled = Fill(scale.stored)
    # Those of the first half may end before they are asked for.
    settled = [n for n in range(scale.stored // 2, scale.stored) if slow.longest(4, filled.address(n)) is None]
    missing = postgresql.missing()
    for name in scale.stores:
        if name == "PostgreSQL" and missing:
            part.notes.append(f"without PostgreSQL: {missing}")
            continue
        with tempfile.TemporaryDirectory() as temporary, ExitStack() as stack:
            folder = Path(temporary)
            url = "sqlite:///control.sqlite"
            if name == "PostgreSQL":
                url = postgresql.new_database(stack.enter_context(postgresql.server(durable=True)), "bench")
            _Bench(folder, name, url, part, scale, note).run(victims, settled, deny_table(table), stack)
    part.notes.append(
        f"{scale.stored:,} bans are live before; {len(table.networks):,} networks in the policy; control plane, "
        "sidecars, proxies and who asks share the cores of the machine"
    )
    return part


class _Bench:
    def __init__(
        self, folder: Path, store: str, url: str, part: Part, scale: Scale, note: Callable[[str], None]
    ) -> None:
        self._folder, self._store, self._part, self._scale = folder, store, part, scale
        self._note: Callable[[str], None] = lambda step: note(f"{store}: {step}")
        self._made = make_folder(folder / "control", Listen("127.0.0.1", free_port()), store=url)
        self._api = Api(self._made.url, self._made.token)
        self._url = url
        self._filled_with = Fill(scale.stored)

    def run(self, victims: Sequence[str], settled: Sequence[int], policy: Any, stack: ExitStack) -> None:
        """Fill the store, start everything, measure. settled: numbers of bans whose addresses the policy lets in."""
        self._note(f"filling the store with {self._scale.stored:,} bans")
        begin = time.perf_counter()
        self._fill()
        self._filled = int(time.time()) + 1
        self._add("changes a second of the generator", "1/s", [self._scale.stored / (time.perf_counter() - begin)])
        file = self._folder / "control" / "control.sqlite"
        if file.exists():
            size = sum(path.stat().st_size for path in file.parent.glob("control.sqlite*"))
            self._add("size of the store", "bytes a change", [size / self._scale.stored])
        Publisher(self._folder).publish("policy.snapshot", policy)
        self._note("starting all")
        control = stack.enter_context(ControlPlane(self._folder / "control", self._made.url))
        keys = self._folder / "control" / "keys"
        may = "longest: forever, widest_ipv4: 16, widest_ipv6: 32, entries: 5000000"
        bans = f"url: {self._made.url}/v1/layers/bans, trusted_keys: [{keys}/bans.pub], may: {{{may}}}"
        probes = []
        for number in range(SIDECARS):
            sidecar = stack.enter_context(
                Sidecar(self._folder, f"sidecar-{number}", snapshot="policy.snapshot", bans=bans)
            )
            listen = Listen(host="127.0.0.1", port=sidecar.ports["grpc"])
            envoy = stack.enter_context(Envoy(self._folder, f"envoy-{number}", asking(listen)))
            probes.append(stack.enter_context(Probe(f"sidecar {number + 1}", f"http://127.0.0.1:{envoy.port}/")))
        self._wait_until_all_have(settled[-1], probes)
        left = iter(victims)
        loads: tuple[tuple[str, _Pour | None], ...] = (
            ("at rest", None),
            (f"{POUR} bans a second", _Pour(self._api, POUR)),
            ("10,000 bans a minute, as many end", _Pour(self._api, 10_000 / 60, BATCH)),
        )
        for when, pour in loads:
            self._note(f"bans, {when}")
            with pour or nullcontext():
                self._enforce(when, probes, left, pouring=pour is not None)
        self._settled(probes, settled)
        self._note("offers")
        self._offers(left)
        self._note("questions")
        self._questions(left)
        control.check()

    def _add(self, name: str, unit: str, values: Sequence[float], **labels: str) -> None:
        self._part.add(name, unit, {"authz": values}, store=self._store, **labels)

    def _fill(self) -> None:
        from authz.control.config import load_control_config  # noqa: PLC0415  # needs the extra control

        store = open_store(load_control_config(self._made.config, {}).store)
        fill(store, self._filled_with)
        store.close()

    def _wait_until_all_have(self, number: int, probes: Sequence[Probe]) -> None:
        last = self._filled_with.client(number)
        end = time.monotonic() + _PATIENCE
        begin = time.perf_counter()
        while any(probe.ask(last) != http.client.FORBIDDEN for probe in probes):
            if time.monotonic() > end:
                raise RuntimeError(f"not every sidecar has the bans of the store within {_PATIENCE:g} s")
            time.sleep(0.05)
        self._add("from the start to all bans at all sidecars", "s", [time.perf_counter() - begin])

    def _enforce(self, when: str, probes: Sequence[Probe], victims: Iterator[str], *, pouring: bool) -> None:
        """Ban and unban, again and again; the time counts from before the question to the API is sent."""
        times: dict[tuple[str, str], list[float]] = {}
        api: dict[str, list[float]] = {"ban": [], "unban": []}
        for victim in itertools.islice(victims, self._scale.enforced):
            time.sleep(0.0 if pouring else _APART)
            begin = time.perf_counter()
            made = self._api.ask("POST", "/v1/bans", {"address": victim, "period": "2h", "reason": "guessing"})
            api["ban"].append((time.perf_counter() - begin) * 1000)
            self._until(probes, victim, http.client.FORBIDDEN, begin, times, "ban")
            time.sleep(0.0 if pouring else _APART)
            begin = time.perf_counter()
            self._api.ask("DELETE", f"/v1/bans/{made['id']}")
            api["unban"].append((time.perf_counter() - begin) * 1000)
            self._until(probes, victim, http.client.OK, begin, times, "unban")
        for what, values in api.items():
            self._add("answer of the API", "ms", values, change=what, when=when)
        for what in ("ban", "unban"):
            of_all = [max(several) for several in zip(*(times[what, probe.name] for probe in probes), strict=True)]
            for probe in probes:
                self._add("to the first changed answer", "ms", times[what, probe.name], change=what, when=when,
                          sidecar=probe.name)  # fmt: skip
            self._add("to the first changed answer", "ms", of_all, change=what, when=when, sidecar="the last of all")

    @staticmethod
    def _until(
        probes: Sequence[Probe], client: str, status: int, begin: float, times: dict[tuple[str, str], list[float]],
        what: str,
    ) -> None:  # fmt: skip
        waiting = list(probes)
        end = time.monotonic() + _PATIENCE
        while waiting:
            for probe in list(waiting):
                if probe.ask(client) == status:
                    times.setdefault((what, probe.name), []).append((time.perf_counter() - begin) * 1000)
                    waiting.remove(probe)
            if time.monotonic() > end:
                raise RuntimeError(f"{what} {client}: not seen within {_PATIENCE:g} s")
            time.sleep(_PAUSE)

    def _settled(self, probes: Sequence[Probe], settled: Sequence[int]) -> None:
        """End bans that were live before all: they have settled."""
        times: dict[tuple[str, str], list[float]] = {}
        for number in [number for number in settled if number % 2 == 0][: self._scale.enforced]:
            client = self._filled_with.client(number)
            time.sleep(_APART)
            begin = time.perf_counter()
            self._api.ask("DELETE", f"/v1/bans/{number_of(number)}")
            self._until(probes, client, http.client.OK, begin, times, "unban")
        of_all = [max(several) for several in zip(*times.values(), strict=True)]
        self._add("to the first changed answer", "ms", of_all, change="unban of a settled one", when="at rest",
                  sidecar="the last of all")  # fmt: skip

    def _offers(self, victims: Iterator[str]) -> None:
        """Add bans one by one, and wait as a sidecar does until the file that has it is offered."""
        since_request, since_answer = [], []
        for victim in itertools.islice(victims, self._scale.enforced):
            time.sleep(_APART)
            known, _ = self._api.offered("bans")
            with ThreadPoolExecutor(1) as pool:
                waiting = pool.submit(self._api.offered, "bans", known)
                time.sleep(_BEFORE)
                begin = time.perf_counter()
                self._api.ask("POST", "/v1/bans", {"address": victim, "period": "2h", "reason": "guessing"})
                committed = time.perf_counter()
                _, at = waiting.result()
            since_request.append((at - begin) * 1000)
            since_answer.append((at - committed) * 1000)
        self._add("a single change, until it is signed and offered", "ms", since_request, since="the request")
        self._add("a single change, until it is signed and offered", "ms", since_answer, since="its answer")

    def _questions(self, victims: Iterator[str]) -> None:
        half = self._scale.stored // 2
        known = [self._filled_with.client(half + 2 * number + 1) for number in range(self._scale.questions)]
        then = format_moment(self._filled)
        ban = {"period": "2h", "reason": "guessing"}
        asked: dict[str, Callable[[str], tuple[str, str, Any]]] = {
            "add": lambda _: ("POST", "/v1/bans", ban | {"address": next(victims)}),
            "entries by address": lambda client: ("GET", f"/v1/entries?address={client}", None),
            "entries by address as of": lambda client: ("GET", f"/v1/entries?address={client}&at={then}", None),
            "history by address": lambda client: ("GET", f"/v1/history?address={client}", None),
        }
        for name, question in asked.items():
            times, wrong = [], []
            adds = name.startswith("add")
            for client in known[: self._scale.enforced if adds else None]:
                method, path, body = question(client)
                begin = time.perf_counter()
                answer = self._api.ask(method, path, body)
                times.append((time.perf_counter() - begin) * 1000)
                if not adds and len(answer["items"]) != 1:
                    wrong.append(f"{name}: {client}: found {len(answer['items'])} items, expected 1")
            self._add("question to the API", "ms", times, question=name)
            self._part.checks.append(Check(f"{self._store}: {name}", len(times), wrong))


class _Pour:
    """Bans other addresses at a fixed rate while a `with` block lasts. batch: how many in one request."""

    def __init__(self, api: Api, rate: float, batch: int = 1) -> None:
        self._api, self._rate, self._batch = api, rate / batch, batch
        self._over = threading.Event()
        self._threads = [threading.Thread(target=self._send, args=(number,)) for number in range(4)]

    def __enter__(self) -> None:
        self._begin = time.monotonic()
        for thread in self._threads:
            thread.start()

    def __exit__(self, *_: object) -> None:
        self._over.set()
        for thread in self._threads:
            thread.join()

    def _send(self, first: int) -> None:
        start = _POURED if self._batch == 1 else _POURED_MANY
        for number in itertools.count(first, len(self._threads)):
            if self._over.wait(max(0.0, self._begin + number / self._rate - time.monotonic())):
                return
            clients = [format_address(4, start + number * self._batch + place) for place in range(self._batch)]
            if self._batch == 1:
                self._api.ask("POST", "/v1/bans", {"address": clients[0], "period": "2h", "reason": "guessing"})
            else:
                rows = [{"networks": [client], "list": "deny", "period": "2h", "reason": "list"} for client in clients]
                self._api.ask("POST", "/v1/entries/bulk", rows)
