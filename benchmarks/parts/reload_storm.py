"""A storm of reloads: a policy of many entries is replaced again and again while requests come, and what they wait.

    requests at a fixed rate ------------------------------------------------------------------
    no reload               | one rename after the other    | no reload | one after the other ...

Requests are those of clients that entries deny, a different one each time, so that outcomes are met and given up all
the time; before each storm all entries are asked for. The seconds without a reload, of the same process and run, are
the control; so is a process that only sleeps on the sidecar's core: what it wakes too late is the machine's.

A sidecar of one process loads in a thread; with `workers` a process of its own loads, on the same core here. With
`--set watch=1` it is told of each request that waits longer than it should what the sidecar (the process that was
started) computed meanwhile; and of all, what remains of the wait without the time in which a core stood still, and as
long again, in which it makes up for that. Only with `--set awake=1` does this say something of the sidecar: a core that
had nothing to do comes back late as well.
With `--set first=sidecar` it runs before all else on its core, as the load does on its own, and so does the sleeper.
"""

from __future__ import annotations

import http.client
import tempfile
import time
from contextlib import nullcontext
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Final

from benchmarks.data.networks import address
from benchmarks.data.policies import APPLICATION, Publisher, separate_address, separate_entries
from benchmarks.load.noise.sleeper import Sleeper, Standstill
from benchmarks.load.noise.spent import Spent
from benchmarks.load.paced import may_be_urgent, missing_paced
from benchmarks.load.steady import Steady
from benchmarks.parts.common.lateness import due_in
from benchmarks.parts.memory import ask_all
from benchmarks.processes import Sidecar, cores, on_core, run_first
from benchmarks.report.document import Check, Part

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Mapping, Sequence

    from benchmarks.parts.common.lateness import Span, Wait
    from benchmarks.scale import Scale


RATE: Final = 1_000  # requests a second
QUIET, STORM = "no reload", "reloads one after the other"
STORMS: Final = 3
OWN: Final = "wait without the time in which a core stood still or made up for it"
LATE: Final = 3.0  # milliseconds; no request should wait longer
SIDECARS: Final = {"one process": 1, "two workers, and a process that loads": 2}
_AFTER: Final = 0.3  # seconds after the last rename of a storm, in which the old lists are freed
_CLIENTS: Final = 5_000  # that take turns
_PATIENCE: Final = 30.0  # seconds for a reload


def run(scale: Scale, note: Callable[[str], None]) -> Part:
    """Reload in storms, and tell how long requests waited in them and between them."""
    part = Part("reload_storm")
    part.skipped = missing_paced()
    if part.skipped:
        return part
    with tempfile.TemporaryDirectory() as temporary:
        folder = Path(temporary)
        publisher, policy = Publisher(folder), separate_entries(scale.entries)
        reloads = STORMS * scale.reloads
        note(f"building {reloads + 1} times {scale.entries:,} entries")
        publisher.publish("first.snapshot", policy)
        for number in range(reloads):
            publisher.publish(f"next-{number}.snapshot", policy)
        for kind, workers in SIDECARS.items():
            _measure(part, scale, folder, kind, workers, note)
    part.notes.append(
        f"{RATE:,} requests a second over HTTP; {STORMS} storms of {scale.reloads} reloads, each as soon as the one "
        "before is in use"
    )
    return part


def _measure(
    part: Part, scale: Scale, folder: Path, kind: str, workers: int, note: Callable[[str], None]
) -> None:  # fmt: skip
    spans: dict[str, list[Span]] = {QUIET: [], STORM: []}
    _put(folder, "first.snapshot")
    with Sidecar(folder, f"sidecar-{workers}", snapshot="live.snapshot", workers=workers) as sidecar:
        first = "sidecar" in scale.first.split()
        if first:
            run_first(sidecar.pid)
        clients = [address(4, separate_address(n % scale.entries)).text for n in range(_CLIENTS)]
        url = f"{sidecar.url('http')}/v1/auth/{APPLICATION}"
        load = Steady(url, RATE, [("X-Forwarded-For", client) for client in clients], scale.steady)
        spent = Spent(sidecar.pid) if scale.watch else None
        still = Standstill() if scale.watch and may_be_urgent() else None
        with (
            spent or nullcontext(),
            Sleeper(priority=int(first)) as sleeper,
            still or nullcontext(),
            load,
            on_core(cores().load),
        ):
            time.sleep(1.0)
            for storm in range(STORMS):
                note(f"{kind}: storm {storm + 1} of {STORMS}")
                ask_all(sidecar.ports["http"], scale.entries)
                spans[QUIET].append(_span(lambda: time.sleep(scale.steady / 5)))
                some = range(storm * scale.reloads, (storm + 1) * scale.reloads)
                spans[STORM].append(_span(partial(_storm, sidecar, folder, some)))
    failed = [f"status {line.status}" for line in load.requests if line.status != http.client.FORBIDDEN]
    part.checks.append(Check(f"clients of entries are denied, {kind}", len(load.requests), failed))
    waits: dict[str, Sequence[Wait]] = {
        "requests": [(line.due, line.latency) for line in load.requests],
        "a process that sleeps": sleeper.wakes,
    }
    _tell(part, {"entries": f"{scale.entries:,}", "sidecar": kind}, waits, spans, spent, still)


def _tell(
    part: Part,
    common: Mapping[str, str],
    waits: Mapping[str, Sequence[Wait]],
    spans: Mapping[str, Sequence[Span]],
    spent: Spent | None,
    still: Standstill | None,
) -> None:
    """Tell how long they waited. common: labels of all. spent, still: None where nobody watched."""
    for what, some_waits in waits.items():
        for when, several in spans.items():
            labels = {**common, "of": what, "when": when}
            due = due_in(sorted(some_waits), several)
            for percentile, value in _percentiles(due):
                part.add("wait", "ms", {"authz": [value]}, **labels, percentile=percentile)
            late = [(begin, wait) for begin, wait in due if wait > LATE * 1e6]
            if late:
                part.add("late", "ms", {"authz": [wait / 1e6 for _, wait in late]}, **labels)
            if late and spent is not None:
                shares = [spent.share(begin, begin + wait) for begin, wait in late]
                for name, values in (
                    ("of each that was late: computed by the sidecar, at most", [s.computed / 1e6 for s in shares]),
                    ("of each that was late: the sidecar without a core, at most", [s.waited / 1e6 for s in shares]),
                ):
                    part.add(name, "ms", {"authz": values}, **labels)
            if still is not None:
                own = [(begin, wait - still.total(begin, begin + wait)) for begin, wait in due]
                for percentile, value in _percentiles(own):
                    part.add(OWN, "ms", {"authz": [value]}, **labels, percentile=percentile)


def _span(work: Callable[[], object]) -> Span:
    begin = time.time_ns()
    work()
    return begin, time.time_ns()


def _storm(sidecar: Sidecar, folder: Path, numbers: Sequence[int]) -> None:
    for number in numbers:
        before = _loads(sidecar)
        _put(folder, f"next-{number}.snapshot")
        end = time.monotonic() + _PATIENCE
        while _loads(sidecar) == before:
            if time.monotonic() > end:
                raise RuntimeError(f"reload {number} was not seen within {_PATIENCE:g} s")
            time.sleep(0.02)
    time.sleep(_AFTER)


def _put(folder: Path, name: str) -> None:
    """Replace the sidecar's file; as a link, for the next sidecar takes the same one again."""
    (folder / "new").hardlink_to(folder / name)
    (folder / "new").replace(folder / "live.snapshot")


def _loads(sidecar: Sidecar) -> int:
    """Return how often it has loaded a list, by its log: a page of the metrics, asked for all the time, costs more."""
    return sum("loaded serial" in line for line in sidecar.lines)


def _percentiles(waits: Sequence[Wait]) -> Iterator[tuple[str, float]]:
    """Yield the percentiles of some waits, in milliseconds."""
    ms = sorted(wait / 1e6 for _, wait in waits)
    if ms:
        yield "p50", ms[len(ms) // 2]
        yield "p99", ms[int(len(ms) * 0.99)]
        yield "p999", ms[int(len(ms) * 0.999)]
        yield "worst", ms[-1]
