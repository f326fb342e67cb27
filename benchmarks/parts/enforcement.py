"""From `authz ban` and `authz unban` to the first answer that they change, at real proxies under load.

    authz ban 203.0.113.9 ---------- rename of bans.snapshot ---------- first 403 through the proxy
    |<------------------------- from the command -------------------------------->|
                                     |<--------- from the rename ---------------->|

One sidecar decides by a policy layer of the largest table and a layer of bans with some that are live all the time. An
Envoy asks it over gRPC, an nginx over HTTP, and both have requests of clients that nobody bans, at a fixed rate, all
the time. From the rename on, a second client asks for the address that is banned, and then no more banned, every other
millisecond.

A machine that is busy with other things answers late by itself. So each change is followed by its like on a bans file
that no sidecar reads: the same command, the same work and writes, no change. What is late then, and while nothing is
done at all, is not the sidecar's; nor is what a process that only sleeps, on the sidecar's core, wakes too late. With
`--set watch=1` it is told of each late request what the sidecar computed meanwhile, in all its threads: no more is its
share; and of all, what remains of the wait without the time in which a core stood still, and as long again, in which it
makes up for that (with `--set awake=1`, see reload_storm). Those who watch take the cores from those who work.

The bans come to the sidecar as a file; then from a plain web server (nginx with a certificate, asked again and again:
it holds no answer back) and from an object store (moto plays S3, which `authz snapshot push` fills). 500 changes take
5, 10 and 25 minutes: `--set ways='object store' --set enforced=150` is a part of it.
"""

from __future__ import annotations

import http.client
import os
import subprocess
import tempfile
import time
from contextlib import ExitStack, contextmanager, nullcontext
from importlib.util import find_spec
from pathlib import Path
from typing import TYPE_CHECKING, Final, NamedTuple

from support.servers.certificates import Authority

from authz.addresses import parse_network
from authz.publisher.bans import Ban, new_ban_id
from authz.publisher.bans.document import create_bans_file
from authz.publisher.bans.file import change_bans
from authz.serve.config.values import Listen
from authz.snapshot.signing.signers import load_signer
from benchmarks.data.networks import SlowTable, address, load_table, misses
from benchmarks.data.policies import Publisher, deny_table
from benchmarks.load.noise.sleeper import Sleeper, Standstill
from benchmarks.load.noise.spent import Spent
from benchmarks.load.paced import may_be_urgent, missing_paced
from benchmarks.load.probe import Probe
from benchmarks.load.steady import Steady
from benchmarks.parts.common.installed import installed
from benchmarks.parts.common.lateness import Lateness, ms, percentiles
from benchmarks.processes import Sidecar, cores, on_core, run_first
from benchmarks.proxies.envoy import Envoy, missing_envoy
from benchmarks.proxies.envoy import asking as envoy_asking
from benchmarks.proxies.nginx import Nginx, missing_nginx
from benchmarks.proxies.nginx import asking as nginx_asking
from benchmarks.proxies.nginx import files as nginx_files
from benchmarks.report.document import Check, Part

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Mapping, Sequence

    from benchmarks.parts.common.installed import Installed
    from benchmarks.parts.common.lateness import Span
    from benchmarks.scale import Scale


RATE: Final = 1_000  # requests a second of each proxy
LIVE: Final = 1_000  # bans that are live all the time
POLL: Final = 1.0  # seconds between two questions to a web server or store
_CLIENTS: Final = 500  # whom nobody bans
_PAUSE: Final = 0.002  # seconds between two questions for the banned address
_PATIENCE: Final = 120.0  # seconds for a change to be seen, on a machine that is busy with other things, too
_AFTER: Final = 0.1  # seconds after a change, or its like, that count as part of it
_REST, _CONTROL, _CHANGES = "at rest", "while bans change elsewhere", "while bans change"
_FILE, _WEB, _STORE = "file", "web server", "object store"
_EACH: Final = {_FILE: 1}  # of so many changes, one has its like elsewhere
_SELDOM: Final = 5  # the same of the other ways
_ENVOY, _NGINX = "Envoy", "nginx"
_SLEEPER = "a process that sleeps"
_BUCKET, _KEY = "lists", "bans.snapshot"
_S3: Final = f"s3://{_BUCKET}/{_KEY}"


class Seen(NamedTuple):
    """A change. started, renamed, done: of the command; first: of the first changed answer, by proxy. ns since 1970."""

    what: str
    started: int
    renamed: int
    done: int
    first: dict[str, int]

    @property
    def over(self) -> int:
        """When its consequences are over."""
        return max(self.done, *self.first.values(), 0) + int(_AFTER * 1e9)


def run(scale: Scale, note: Callable[[str], None]) -> Part:
    """Ban and unban."""
    part = Part("enforcement")
    part.skipped = missing_envoy() or missing_nginx() or missing_paced()
    if part.skipped:
        return part
    with tempfile.TemporaryDirectory() as temporary:
        bench = _Bench(Path(temporary), part, scale, note)
        if _FILE in scale.ways:
            bench.measure(_FILE, "path: bans.snapshot")
        if _WEB in scale.ways:
            with _web_server(bench.folder) as port:
                url = f"url: https://127.0.0.1:{port}/bans.snapshot, ca: web.ca.pem"
                bench.measure(_WEB, f"{url}, poll: {POLL:g}s")
        if _STORE in scale.ways and find_spec("moto") is None:
            part.notes.append("without an object store: it needs moto")
        elif _STORE in scale.ways:
            with _object_store(bench.folder / "bans.snapshot"):
                bench.measure(_STORE, f"url: {_S3}, poll: {POLL:g}s", push=_S3)
    part.notes.append(
        f"{LIVE:,} bans are live all the time, beside {bench.size:,} networks; {RATE:,} requests a second through each "
        f"proxy; web server and store are asked every {POLL:g} s, give or take a tenth; the rename is told by the file "
        "system, to some 4 ms; sidecar and proxies share one core, commands (installed as by pip) and load the other"
        + (f"; {scale.first} run before all else there (SCHED_RR)" if scale.first else "")
    )
    return part


class _Bench:
    def __init__(self, folder: Path, part: Part, scale: Scale, note: Callable[[str], None]) -> None:
        self.folder, self._part, self._scale, self._note = folder, part, scale, note
        note("building the table")
        table = load_table(scale.sizes[-1])
        self.size = len(table.networks)
        Publisher(folder).publish("policy.snapshot", deny_table(table))
        Authority(folder, "web")
        self._command = installed(folder / "installed")
        free = [address(4, value).text for value in misses(table, SlowTable(table), 4, _CLIENTS + scale.enforced)]
        self._clients, self._victims = free[:_CLIENTS], free[_CLIENTS:]
        now = int(time.time())
        live = [
            Ban(new_ban_id(), parse_network(f"192.0.{number >> 8}.{number & 255}"), reason="scraping",
                expires=now + 86400, added=now)
            for number in range(LIVE)
        ]  # fmt: skip
        for where in (folder, folder / "elsewhere"):
            where.mkdir(exist_ok=True)
            key = os.path.relpath(folder / "keys" / "bench.key", where)
            create_bans_file(where / "bans.yaml", layer="bans", snapshot="bans.snapshot", key=key)
            change_bans(where / "bans.yaml", lambda _, __: live, load_signer, now=now, by="benchmark")

        for arguments in (["ban", "192.0.2.1"], ["unban", "192.0.2.1"]):  # which compiles the modules
            _finished(_start(self._command, folder / "elsewhere", [*arguments, "--layer", "bans.yaml"]))

    def measure(self, way: str, source: str, *, push: str | None = None) -> None:
        """Ban and unban, with the bans coming to the sidecar in one way."""
        folder, changes = self.folder, self._scale.enforced
        self._note(f"{way}: starting all")
        with ExitStack() as stack:
            sidecar = stack.enter_context(
                Sidecar(
                    folder,
                    way.replace(" ", "-"),
                    snapshot="policy.snapshot",
                    bans=f"{source}, trusted_keys: [keys/bench.pub]",
                )
            )
            grpc, http_ = (Listen(host="127.0.0.1", port=sidecar.ports[front]) for front in ("grpc", "http"))
            envoy = stack.enter_context(Envoy(folder, f"envoy-{push is None}", envoy_asking(grpc)))
            nginx = stack.enter_context(Nginx(folder, "edge", nginx_asking(http_)))
            proxies = {_ENVOY: f"http://127.0.0.1:{envoy.port}/", _NGINX: nginx.url}
            for name, process in {"sidecar": sidecar, "envoy": envoy, "nginx": nginx}.items():
                if name in self._scale.first.split():
                    run_first(process.pid)
            headers = [("X-Forwarded-For", client) for client in self._clients]
            loads = {name: Steady(url, RATE, headers, self._scale.steady) for name, url in proxies.items()}
            probes = [stack.enter_context(Probe(name, url)) for name, url in proxies.items()]
            time.sleep(1.0)
            seen: dict[str, list[Seen]] = {_CONTROL: [], _CHANGES: []}
            spent = Spent(sidecar.pid) if self._scale.watch else None
            still = Standstill() if self._scale.watch and may_be_urgent() else None
            with (
                Sleeper(priority=int(bool(self._scale.first))) as sleeper,
                spent or nullcontext(),
                still or nullcontext(),
                loads[_ENVOY],
                loads[_NGINX],
                on_core(cores().load),
            ):
                time.sleep(self._scale.steady)
                for number in range(changes):
                    self._note(f"{way}: change {number + 1} of {changes}")
                    if number % _EACH.get(way, _SELDOM) == 0:
                        seen[_CONTROL].append(self._change(number, probes, push, elsewhere=True))
                        time.sleep(_AFTER)
                    seen[_CHANGES].append(self._change(number, probes, push, elsewhere=False))
                    time.sleep(_AFTER)
        self._report(way, seen[_CHANGES])
        waits = {name: [(line.due, line.latency) for line in load.requests] for name, load in loads.items()}
        spans = _spans(seen)
        lateness = Lateness(self._part, way, spans)
        lateness.tell(waits | {_SLEEPER: sleeper.wakes})
        if spent is not None:
            lateness.tell_shares(waits, spent)
        if still is not None:
            lateness.tell_own(waits, still)
        for proxy, load in loads.items():
            failed = [f"status {line.status}" for line in load.requests if line.status != http.client.OK]
            self._part.checks.append(
                Check(f"{way}, {proxy}: requests of others are let in", len(load.requests), failed)
            )

    def _change(self, number: int, probes: Sequence[Probe], push: str | None, *, elsewhere: bool) -> Seen:
        """Ban an address, or end the ban before, and wait until both proxies tell; elsewhere, until it is done."""
        victim = self._victims[number // 2]
        what = "unban" if number % 2 and not elsewhere else "ban"
        arguments = [victim] if what == "unban" else [victim, "--for", "2h", "--reason", "password guessing"]
        expected = 200 if what == "unban" else 403
        folder = self.folder / "elsewhere" if elsewhere else self.folder
        first: dict[str, int] = {}
        snapshot = folder / "bans.snapshot"
        before = snapshot.stat().st_ctime_ns
        started = time.time_ns()
        commands = [[what, *arguments, "--layer", "bans.yaml"]]
        commands += [["snapshot", "push", "bans.snapshot", f"{push}{'.elsewhere' * elsewhere}"]] if push else []
        command = _start(self._command, folder, commands.pop(0))
        end = time.monotonic() + _PATIENCE
        done = renamed = 0
        while not done or (len(first) < len(probes) and not elsewhere):
            changed = snapshot.stat().st_ctime_ns
            renamed = renamed or (changed if changed != before else 0)
            # No answer can be another one before; asking would only slow the command, on the same core.
            for probe in probes if renamed else ():
                if probe.name not in first and probe.ask(victim) == expected and not elsewhere:
                    first[probe.name] = time.time_ns()
            if not done and command.poll() is not None:
                _finished(command)
                if commands:
                    command = _start(self._command, folder, commands.pop(0))
                else:
                    done = time.time_ns()
                    renamed = done if push else renamed
            if time.monotonic() > end:
                raise RuntimeError(
                    f"{what} {victim}: not seen within {_PATIENCE:g} s at {set(first) ^ {_ENVOY, _NGINX}}"
                )
            time.sleep(_PAUSE)
        return Seen(what, started, renamed, done, first)

    def _report(self, way: str, seen: Sequence[Seen]) -> None:
        part = self._part
        part.add(
            "time of the command", "ms", {"authz": [ms(change.done - change.started) for change in seen]}, bans=way
        )
        renamed = [ms(change.renamed - change.started) for change in seen]
        part.add("time of the command until its rename", "ms", {"authz": renamed}, bans=way)
        for proxy in (_ENVOY, _NGINX):
            labels = {"bans": way, "proxy": proxy}
            for what in ("ban", "unban"):
                some = [change for change in seen if change.what == what]
                from_command = [ms(change.first[proxy] - change.started) for change in some]
                from_rename = [ms(change.first[proxy] - change.renamed) for change in some]
                for name, values in (("command", from_command), ("rename", from_rename)):
                    part.add(
                        f"from the {name} to the first changed answer", "ms", {"authz": values}, **labels, change=what
                    )
                    for percentile, value in percentiles(values):
                        part.add(f"from the {name}, of all changes", "ms", {"authz": [value]}, **labels, change=what,
                                 percentile=percentile)  # fmt: skip


def _spans(seen: Mapping[str, Sequence[Seen]]) -> dict[str, list[Span]]:
    """Return when bans changed, when the like was done elsewhere, and the time before both."""
    begin = min(change.started for some in seen.values() for change in some)
    return {_REST: [(0, begin)]} | {
        when: [(change.started, change.over) for change in some] for when, some in seen.items()
    }


def _start(command: Installed, folder: Path, arguments: Sequence[str]) -> subprocess.Popen[bytes]:
    line = [str(command.path), *arguments]
    return subprocess.Popen(
        line, cwd=folder, env=os.environ | command.environment, stdout=subprocess.PIPE, stderr=subprocess.STDOUT
    )


def _finished(command: subprocess.Popen[bytes]) -> None:
    output, _ = command.communicate()
    if command.returncode:
        raise RuntimeError(f"{command.args!r}: status {command.returncode}: {output.decode(errors='replace')}")


@contextmanager
def _web_server(folder: Path) -> Iterator[int]:
    """Run a plain web server over the files of `folder`, with a certificate."""
    certificate, key = Authority(folder, "web").issue("server", "127.0.0.1")
    with Nginx(folder, "web", nginx_files(folder, certificate, key)) as nginx:
        yield nginx.port


@contextmanager
def _object_store(snapshot: Path) -> Iterator[None]:
    """Run a store of objects that has the bans, and name it in the environment of all who are started meanwhile."""
    import obstore  # noqa: PLC0415  # only where it is used
    from moto.server import ThreadedMotoServer  # noqa: PLC0415  # for development only

    server = ThreadedMotoServer("127.0.0.1", 0, verbose=False)
    server.start()
    host, port = server.get_host_and_port()
    names = {
        "AWS_ACCESS_KEY_ID": "benchmark", "AWS_SECRET_ACCESS_KEY": "benchmark", "AWS_REGION": "us-east-1",
        "AWS_ENDPOINT": f"http://{host}:{port}", "AWS_ALLOW_HTTP": "true",
    }  # fmt: skip
    before = {name: os.environ.get(name) for name in names}
    os.environ.update(names)
    try:
        made = http.client.HTTPConnection(host, port, timeout=_PATIENCE)
        made.request("PUT", f"/{_BUCKET}")
        made.getresponse().read()
        made.close()
        obstore.store.S3Store(_BUCKET).put(_KEY, snapshot.read_bytes())
        yield
    finally:
        server.stop()
        for name, value in before.items():
            if value is None:
                del os.environ[name]
            else:
                os.environ[name] = value
