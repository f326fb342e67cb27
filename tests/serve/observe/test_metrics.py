"""The metrics: the documented ones, counting what happened."""

from __future__ import annotations

import asyncio
import re
import sys
import time
from collections import defaultdict
from pathlib import Path
from typing import TYPE_CHECKING, Final

import pytest
from prometheus_client.parser import text_string_to_metric_families
from support.processes import Sidecar
from support.sidecar.running import (
    ALLOWED,
    DENIED,
    get,
    run,
    running,
    until,
)
from support.suite.cost import instructions_of

from authz.engine.decision.outcome import make_outcome
from authz.engine.decision.verdict import Verdict
from authz.engine.model import Application
from authz.serve.observe.hits import MAX_NAMES, OTHERS, STEP, EntryHits
from authz.serve.observe.metrics import Metrics
from authz.serve.steps import finished
from authz.serve.workers.reports import WorkerMetrics

if TYPE_CHECKING:
    from collections.abc import Callable
    from types import FrameType

    from prometheus_client import Metric
    from support.publishing.publisher import Publisher

    from authz.serve.steps import Steps


DOCUMENTED: Final = {
    "authz_info": {"version"},
    "authz_decisions": {"front", "application", "decision", "reason", "list", "enforced"},
    "authz_entry_hits": {"layer", "entry", "effect"},
    "authz_warned": {"application"},
    "authz_unknown_applications": {"application"},
    "authz_forwarding_ignored": set(),
    "authz_stale": {"layer"},
    "authz_config_reloads": {"result"},
    "authz_tls_handshakes": {"listener", "result"},
    "authz_tls_reloads": {"listener", "result"},
    "authz_tls_certificate_expires_seconds": {"listener"},
    "authz_tls_crl_expires_seconds": {"listener"},
    "authz_worker_restarts": {"worker"},
    "authz_snapshot_loads": {"layer", "result"},
    "authz_http_faults": {"status"},
    "authz_http_connections": set(),
    "authz_grpc_connections": set(),
    "authz_http_idle_connections": set(),
    "authz_grpc_idle_connections": set(),
    "authz_http_connections_refused": set(),
    "authz_grpc_connections_refused": set(),
    "authz_http_connections_gave_way": set(),
    "authz_grpc_connections_gave_way": set(),
    "authz_grpc_refused": set(),
    "authz_grpc_deadline_exceeded": set(),
    "authz_ready": set(),
    "authz_decision_log_dropped": set(),
    "authz_decision_log_written": set(),
    "authz_events_dropped": set(),
    "authz_events_sent": set(),
    "authz_events_waiting": set(),
    "authz_snapshot_loaded": {"layer"},
    "authz_snapshot_serial": {"layer"},
    "authz_snapshot_created_seconds": {"layer"},
    "authz_snapshot_stale": {"layer"},
    "authz_snapshot_entries": {"layer"},
    "authz_snapshot_last_good": {"layer"},
    "authz_snapshot_bytes": {"layer"},
    "authz_snapshot_overruled": {"layer"},
    "authz_spans_sent": set(),
    "authz_spans_dropped": set(),
    "authz_check_duration_seconds": {"front"},
    "authz_loop_lag_seconds": set(),
    "process_cpu_seconds": set(),
    "process_resident_memory_bytes": set(),
    "process_virtual_memory_bytes": set(),
    "process_open_fds": set(),
    "process_max_fds": set(),
    "process_start_time_seconds": set(),
}  # of metrics.md; counters without their _total


def test_the_metrics_are_the_documented_ones_and_count_what_happened(publisher: Publisher) -> None:
    size = publisher.publish(serial=3, created=1_800_000_000).stat().st_size

    async def live() -> None:
        async with running(publisher.folder) as started:
            for client in (ALLOWED, ALLOWED, DENIED, "unknown"):
                await started.ask(client)
            await asyncio.to_thread(get, started.sidecar.ports["http"], "/nowhere")
            await until(lambda: started.sidecar.metrics.http_connections == 0)
            publisher.publish(serial=2)
            await until(lambda: started.loads.get("rolled_back"))
            text = (await started.page("/metrics")).body.decode()
        families = {family.name: family for family in text_string_to_metric_families(text)}

        assert set(families) == set(DOCUMENTED)
        for name, family in families.items():
            assert family.documentation
            assert all(set(sample.labels) - {"le"} == DOCUMENTED[name] for sample in family.samples), name
        counters = {
            *("authz_decisions", "authz_snapshot_loads", "authz_http_faults", "authz_entry_hits", "authz_warned"),
            *("authz_unknown_applications", "authz_stale", "authz_config_reloads", "authz_tls_handshakes"),
            *("authz_tls_reloads", "authz_worker_restarts", "authz_grpc_refused", "authz_forwarding_ignored"),
            *("authz_http_connections_refused", "authz_grpc_connections_refused", "authz_grpc_deadline_exceeded"),
            *("authz_http_connections_gave_way", "authz_grpc_connections_gave_way"),
        }
        assert {name for name, family in families.items() if family.type == "counter"} == {
            *counters, "authz_decision_log_dropped", "authz_decision_log_written", "authz_events_dropped",
            "authz_events_sent", "authz_spans_sent", "authz_spans_dropped", "process_cpu_seconds",
        }  # fmt: skip

        def value(sample_name: str, **labels: str) -> float:
            samples = [sample for family in families.values() for sample in family.samples]
            return next(s.value for s in samples if s.name == sample_name and s.labels == labels)

        usual = {"front": "http", "application": "shop", "enforced": "true"}
        allowed = {**usual, "decision": "allow", "reason": "allowlisted", "list": "allow"}
        denied = {**usual, "decision": "deny", "reason": "denylisted", "list": "deny"}
        unresolved = {**usual, "decision": "deny", "reason": "client_unresolved", "list": "none"}
        assert [value("authz_decisions_total", **labels) for labels in (allowed, denied, unresolved)] == [2, 1, 1]
        assert value("authz_snapshot_loads_total", layer="policy", result="ok") == 1
        assert value("authz_snapshot_loads_total", layer="policy", result="rolled_back") == 1
        assert value("authz_entry_hits_total", layer="policy", entry="bad", effect="decided") == 1
        assert value("authz_http_faults_total", status="404") == 1
        assert value("authz_ready") == 1
        assert value("authz_snapshot_serial", layer="policy") == 3
        assert value("authz_snapshot_created_seconds", layer="policy") == 1_800_000_000
        assert value("authz_snapshot_entries", layer="policy") == 3
        assert value("authz_snapshot_bytes", layer="policy") == size

    run(live())


@pytest.mark.parametrize("effect", ["decided", "warned"])
def test_hits_of_entries_are_bounded_and_none_is_lost_but_by_name(effect: str) -> None:
    """A policy may have 100,000 entries, and a layer 5 million bans."""
    metrics, entries = Metrics(), 5 * MAX_NAMES
    counts = metrics.decision_counts("grpc", make_outcome(Application("shop"), Verdict("deny", "denylisted"), 1))
    for number in range(entries):
        for _ in range(2 if number < 10 else 1):
            if effect == "decided":
                counts[f"e{number}"] += 1
            else:
                metrics.count_warning("policy", f"e{number}")
    for _ in range(2):
        families = {family.name: family for family in text_string_to_metric_families(metrics.text().decode())}
        hits = {sample.labels["entry"]: sample.value for sample in families["authz_entry_hits"].samples}
        assert len(hits) == MAX_NAMES + 1  # all others are one
        assert [hits[f"e{number}"] for number in range(10)] == [2] * 10
        assert sum(hits.values()) == entries + 10
        list(metrics.fold())


def test_names_of_hits_are_given_up_in_steps() -> None:
    """All clients on a list came within a second; then all decisions waited 30 ms for a look at 100,000 names."""
    hits, looked = EntryHits(), [0]

    class Counts(defaultdict[str | None, int]):
        def pop(self, name: str | None, *_: object) -> int:
            looked[-1] += 1
            return super().pop(name)

    counts = hits.add("policy").counts = Counts(int)
    counts.update({f"e{number}": 1 for number in range(20 * MAX_NAMES)}, busy=7)
    counts[None] = 3
    for _ in hits.fold():
        counts[f"new{len(looked)}"] += 1  # others have their turn
        counts["busy"] += 1
        looked.append(0)
    assert max(looked) <= STEP
    assert sum(looked) == 20 * MAX_NAMES + 1
    sums = hits.by_layer()["policy"]
    assert sums["busy"] == 7 + len(looked) - 1
    assert sum(sums.values()) == 20 * MAX_NAMES + 7 + 2 * (len(looked) - 1), "none is lost but by name"
    assert len([name for name in sums if name and not name.startswith("new")]) == MAX_NAMES
    assert counts[None] + sum(sums.values()) == sum(counts.values()), "the decisions are as many"


def test_hits_of_an_entry_are_summed_over_fronts_and_applications_before_the_busiest_are_chosen() -> None:
    """A counter that falls looks like a restart: what it had counted before counted anew."""
    metrics, applications = Metrics(), 900
    for number in range(applications):
        for front in ("grpc", "http"):
            outcome = make_outcome(Application(f"shop-{number}"), Verdict("deny", "denylisted"), 1)
            counts = {"wide": 5, f"own-{number}": 9, f"rare-{number}": 1, None: 1}
            metrics.decision_counts(front, outcome).update(counts)
    before = metrics.text()
    decisions = finished(metrics.decisions())
    for _ in range(2):
        list(metrics.fold())
        sums = metrics.entry_hits("decided", MAX_NAMES)
        assert sums["", "wide"] == 10 * applications
        assert [sums["", f"own-{number}"] for number in range(applications)] == [18] * applications
        assert sum(sums.values()) == 30 * applications
        assert finished(metrics.decisions()) == decisions
    assert before.count(b"decided") == metrics.text().count(b"decided") == MAX_NAMES + 1
    outcome = make_outcome(Application("shop-1"), Verdict("deny", "denylisted"), 1)
    metrics.decision_counts("grpc", outcome)["wide"] += 1
    assert metrics.entry_hits("decided", 1)["", "wide"] == 10 * applications + 1


def test_hits_are_bounded_over_all_applications_together() -> None:
    """Each of 50 applications kept 1,000 names, and to look at all of them for a page stopped decisions for 70 ms."""
    metrics, applications, entries = Metrics(), 50, 100
    for number in range(applications):
        outcome = make_outcome(Application(f"shop-{number}"), Verdict("deny", "denylisted"), 1)
        counts = metrics.decision_counts("grpc", outcome)
        for entry in range(entries):
            counts[f"e{number}-{entry}"] = number + 1
        counts[None] = 7
    list(metrics.fold())
    kept = metrics.hits("decided")[""]
    assert {name for name in kept if name} == {
        f"e{number}-{entry}" for number in range(40, 50) for entry in range(entries)
    }
    assert kept[OTHERS] == sum(range(1, 41)) * entries, "none is lost but by name"


def test_a_page_of_many_applications_and_entries_is_little_work() -> None:
    """With 1,000 applications a page, and each second a report of a worker, stopped all decisions for 40 ms."""
    metrics, applications = Metrics(), 500
    for number in range(applications):
        outcome = make_outcome(Application(f"shop-{number}"), Verdict("deny", "denylisted"), 1)
        counts = metrics.decision_counts("grpc", outcome)
        counts.update({f"e{number}": 1, None: 2})
    metrics.text()
    calls = 0

    def count(_: FrameType, event: str, __: object) -> None:
        nonlocal calls
        calls += event == "call"

    sys.setprofile(count)
    try:
        page = metrics.text().decode()
    finally:
        sys.setprofile(None)
    assert calls < 5 * applications
    assert page.count('decision="deny"') == applications
    [line] = [line for line in page.splitlines() if 'application="shop-7"' in line]
    assert line.endswith("} 3.0")


@pytest.mark.parametrize(("steps_of", "of_hits"), [(WorkerMetrics.text_in_steps, 4), (WorkerMetrics.counted, 2)])
def test_no_step_of_a_page_or_a_report_is_longer_with_more_applications(
    steps_of: Callable[[WorkerMetrics], Steps[object]], of_hits: int
) -> None:
    """With 8,000 kinds of decisions, a page stopped all decisions for 10 ms, and a report of a worker for 6."""
    few, many = (max(spent(steps_of, number * STEP)[of_hits:]) for number in (1, 8))
    assert many < 1.1 * few


def spent(steps_of: Callable[[WorkerMetrics], Steps[object]], applications: int) -> list[int]:
    """Return the instructions of each step. In the first ones the hits of an effect are summed, each in one go.

    A fold between two steps of such a sum would count hits twice, or not at all.
    """
    metrics = WorkerMetrics()
    for number in range(applications):
        outcome = make_outcome(Application(f"shop-{number}"), Verdict("deny", "denylisted"), 1)
        metrics.decision_counts("grpc", outcome)[None] = 1
    number = sum(1 for _ in steps_of(metrics))
    steps = steps_of(metrics)
    return [instructions_of(lambda: next(steps, None)) for _ in range(number + 1)]


def test_a_label_may_have_any_character() -> None:
    metrics, strange = Metrics(), 'a"b\\c\nd,e="f"} 1'
    metrics.count_load(strange)
    families = list(text_string_to_metric_families(metrics.text().decode()))
    samples = [sample for family in families if family.name == "authz_snapshot_loads" for sample in family.samples]
    assert [(sample.labels, sample.value) for sample in samples] == [({"layer": "policy", "result": strange}, 1)]


def test_every_metric_is_in_the_reference_and_those_of_the_readme_are_there() -> None:
    """`_created_seconds` and its like stand for the prefix of the metric before them."""
    root = Path(__file__).parents[3]
    table = (root / "docs" / "reference" / "metrics.md").read_text()
    of_readme = set(re.findall(r"`(authz_\w+?)(?:_total)?`", (root / "README.md").read_text()))
    assert len(of_readme) == 5
    assert of_readme < set(DOCUMENTED)
    for name in DOCUMENTED:
        assert name in table or any(
            f"`_{name.removeprefix(prefix)}" in table
            for prefix in ("authz_snapshot_", "authz_decision_log_", "authz_events_", "process_")
        ), name


def families_of(text: str) -> dict[str, Metric]:
    return {family.name: family for family in text_string_to_metric_families(text)}


def test_the_series_of_a_layer_exist_before_its_first_snapshot(publisher: Publisher) -> None:
    """An alert on a series that is not there never fires."""

    async def live() -> None:
        async with running(publisher.folder) as started:
            families = families_of((await started.page("/metrics")).body.decode())
        series = [
            *(f"snapshot_{name}" for name in ("loaded", "serial", "created_seconds", "entries", "bytes", "stale"))
        ]
        for name in (*series, "snapshot_last_good", "stale"):
            assert [(s.labels, s.value) for s in families[f"authz_{name}"].samples] == [({"layer": "policy"}, 0)], name
        loads = [(s.labels["result"], s.value) for s in families["authz_snapshot_loads"].samples]
        assert ("ok", 0) in loads

    run(live())


def test_checks_and_the_lag_of_the_loop_are_measured_by_samples(publisher: Publisher) -> None:
    publisher.publish()

    async def live() -> None:
        async with running(publisher.folder) as started:

            async def measured() -> tuple[float, float]:
                await started.ask(ALLOWED)
                families = families_of((await started.page("/metrics")).body.decode())
                checks = [s for s in families["authz_check_duration_seconds"].samples if s.name.endswith("_count")]
                (lag,) = (s for s in families["authz_loop_lag_seconds"].samples if s.name.endswith("_count"))
                assert [s.labels for s in checks] == [{"front": "http"}]
                return checks[0].value, lag.value

            for _ in range(200):
                checks, lags = await measured()
                if checks >= 2 and lags >= 2:
                    return
                await asyncio.sleep(0.05)
            raise AssertionError("nothing was measured")

    run(live())


def test_what_the_kernel_tells_of_the_process_is_shown(publisher: Publisher) -> None:
    async def live() -> None:
        async with running(publisher.folder) as sidecar:
            for _ in range(200):
                families = families_of((await sidecar.page("/metrics")).body.decode())
                value = {name: families[f"process_{name}"].samples[0].value for name in ("open_fds", "max_fds")}
                if value["open_fds"]:
                    break
                await asyncio.sleep(0.05)
            assert 3 <= value["open_fds"] <= value["max_fds"]
            rss, virtual = (
                families[f"process_{name}_memory_bytes"].samples[0].value for name in ("resident", "virtual")
            )
            assert 10 << 20 < rss < virtual
            assert families["process_cpu_seconds"].samples[0].value > 0

    run(live())


def test_when_the_process_was_started_is_shown(publisher: Publisher) -> None:
    before = time.time()
    with Sidecar(publisher.folder) as sidecar:
        families = families_of(get(sidecar.ports["admin"], "/metrics").body.decode())
    assert before - 1 < families["process_start_time_seconds"].samples[0].value < time.time() + 1
