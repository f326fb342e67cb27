"""Latency by samples: one check is measured, the others cost nothing more."""

from __future__ import annotations

import time
from typing import TYPE_CHECKING

import pytest
from prometheus_client.parser import text_string_to_metric_families
from support.sidecar.fronts import Fronts

from authz.engine.request.request import Request
from authz.serve.observe.latency import CHECK_BOUNDS, Histogram, Latency
from authz.serve.observe.metrics import Family, Metrics
from authz.serve.observe.recorder import Decision, Recorder

if TYPE_CHECKING:
    from support.publishing.publisher import Publisher


def decide(fronts: Fronts, recorder: Recorder, began: float | None = None) -> None:
    now = time.time() if began is None else began
    recorder.record(fronts.decider.decide(Request("192.0.2.7"), now), "192.0.2.7", now)


def count(latency: Latency, name: str) -> float:
    samples = [sample for family in latency.families() for sample in family.samples]
    return next(sample.value for sample in samples if sample.name == name)


def test_one_check_is_measured_and_then_none_until_the_next_sample(publisher: Publisher) -> None:
    fronts, recorder, latency = Fronts(publisher), Recorder("grpc", Metrics(), ()), Latency()
    latency.add("grpc", recorder)
    decide(fronts, recorder)
    assert count(latency, "authz_check_duration_seconds_count") == 0
    latency.arm()
    for _ in range(3):
        decide(fronts, recorder)
    assert count(latency, "authz_check_duration_seconds_count") == 1
    assert "record" not in vars(recorder), "the method of the class is called again, at no cost"


def test_a_check_that_was_begun_a_second_ago_counts_as_one_of_a_second(publisher: Publisher) -> None:
    fronts, recorder, latency = Fronts(publisher), Recorder("grpc", Metrics(), ()), Latency()
    latency.add("grpc", recorder)
    latency.arm()
    decide(fronts, recorder, began=time.time() - 1)
    assert 1 <= count(latency, "authz_check_duration_seconds_sum") < 60


def test_a_sample_is_taken_while_somebody_watches_too(publisher: Publisher) -> None:
    fronts, recorder, latency = Fronts(publisher), Recorder("grpc", Metrics(), ()), Latency()
    latency.add("grpc", recorder)
    seen: list[Decision] = []
    recorder.watch(seen.append)
    latency.arm()
    decide(fronts, recorder)
    decide(fronts, recorder)
    assert (len(seen), count(latency, "authz_check_duration_seconds_count")) == (2, 1)
    latency.arm()
    recorder.watch(None)
    decide(fronts, recorder)
    assert (len(seen), count(latency, "authz_check_duration_seconds_count")) == (2, 2)


@pytest.mark.parametrize(
    ("seconds", "bound"), [(0.0, "5e-06"), (5e-06, "5e-06"), (5.1e-06, "1e-05"), (99.0, "+Inf"), (-1.0, "5e-06")]
)
def test_an_observation_is_in_the_bucket_of_its_upper_bound_and_in_all_above(seconds: float, bound: str) -> None:
    histogram = Histogram(CHECK_BOUNDS)
    histogram.observe(seconds)
    text = str(Family("x_seconds", "histogram", "x", histogram.samples("x_seconds", {"front": "grpc"})))
    (family,) = text_string_to_metric_families(text)
    buckets = {s.labels["le"]: s.value for s in family.samples if s.name == "x_seconds_bucket"}
    uppers = list(buckets)
    assert [buckets[upper] for upper in uppers] == [0] * uppers.index(bound) + [1] * (len(uppers) - uppers.index(bound))
    assert [s.value for s in family.samples if s.name == "x_seconds_sum"] == [max(0.0, seconds)]
