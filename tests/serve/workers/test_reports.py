"""What several processes count is shown as one."""

from __future__ import annotations

import json
import sys
from typing import TYPE_CHECKING, Any

from authz.engine.decision.outcome import make_outcome
from authz.engine.decision.verdict import Verdict
from authz.engine.model import Application
from authz.serve.observe.hits import MAX_NAMES, OTHERS
from authz.serve.observe.metrics import GrpcState
from authz.serve.steps import finished
from authz.serve.workers.reports import SummedMetrics, WorkerMetrics

if TYPE_CHECKING:
    from types import FrameType


def counting(hits: dict[str, int]) -> WorkerMetrics:
    """Return the metrics of a worker whose entries decided of so many requests."""
    metrics = WorkerMetrics()
    outcome = make_outcome(Application("shop"), Verdict("deny", "denylisted"), 1)
    metrics.decision_counts("grpc", outcome).update(hits)
    metrics.count_http_fault(400)
    return metrics


def report(hits: dict[str, int]) -> Any:
    """Return the report of such a worker as it comes through the channel."""
    return json.loads(json.dumps(finished(counting(hits).counted())))


def test_hits_of_workers_are_summed_and_those_of_the_dead_stay() -> None:
    metrics = SummedMetrics()
    metrics.count_warning("policy", "b")
    metrics.take(1, report({"a": 1, "b": 2}))
    metrics.take(2, report({"b": 5, "c": 1}))
    expected = {("", "b"): 7, ("", "a"): 1, ("", "c"): 1}
    assert metrics.entry_hits("decided", 10) == expected
    metrics.bury(2)
    metrics.take(2, report({"c": 3}))
    assert metrics.entry_hits("decided", 10) == {("", "b"): 7, ("", "c"): 4, ("", "a"): 1}
    assert metrics.entry_hits("decided", 1) == {("", "b"): 7, (OTHERS, OTHERS): 5}
    assert metrics.entry_hits("warned", 10) == {("policy", "b"): 1}
    lines = metrics.text().decode().splitlines()
    assert 'authz_entry_hits_total{layer="",entry="b",effect="decided"} 7.0' in lines
    assert 'authz_http_faults_total{status="400"} 3.0' in lines
    assert [line.rpartition("} ")[2] for line in lines if line.startswith("authz_decisions_total{")] == ["12.0"]
    assert 'authz_worker_restarts_total{worker="2"} 1.0' in lines
    again = SummedMetrics()  # of the next keeper, which is told of the dead
    again.dead = json.loads(json.dumps(metrics.dead))
    assert again.entry_hits("decided", 10) == {("", "b"): 5, ("", "c"): 1}


def test_calls_that_were_late_and_connections_that_gave_way_are_summed_over_workers_and_the_dead() -> None:
    metrics, worker = SummedMetrics(), WorkerMetrics()
    worker.grpc_state = lambda: GrpcState(gave_way=2, late=3)
    worker.http_gave_way = lambda: 5
    counted = json.loads(json.dumps(finished(worker.counted())))
    for number in (1, 2):
        metrics.take(number, counted)
    metrics.bury(2)
    lines = metrics.text().decode().splitlines()
    assert "authz_grpc_deadline_exceeded_total 6.0" in lines
    assert "authz_grpc_connections_gave_way_total 4.0" in lines
    assert "authz_http_connections_gave_way_total 10.0" in lines


def test_the_hits_of_the_dead_are_bounded() -> None:
    metrics = SummedMetrics()
    for death in range(3):
        metrics.take(1, report({f"e{death}-{number}": 1 + death for number in range(MAX_NAMES)}))
        metrics.bury(1)
    [names] = [[name for some in metrics.dead["hits"]["decided"].values() for name in some]]
    assert len(names) == MAX_NAMES + 1
    assert all(name.startswith("e2-") for name in names if name != OTHERS)
    assert sum(metrics.entry_hits("decided", MAX_NAMES).values()) == (1 + 2 + 3) * MAX_NAMES


def test_a_report_of_many_hits_is_no_work_of_its_worker() -> None:
    """As samples with labels they took 3 ms of the event loop each second, in which requests waited."""
    metrics, calls = counting({f"e{number}": 1 for number in range(2 * MAX_NAMES)}), 0

    def count(_: FrameType, event: str, __: object) -> None:
        nonlocal calls
        calls += event == "call"

    sys.setprofile(count)
    try:
        finished(metrics.counted())
    finally:
        sys.setprofile(None)
    assert calls < MAX_NAMES / 2
