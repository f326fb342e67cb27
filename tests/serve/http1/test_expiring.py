"""Answers that nginx may keep: for how long, and never longer than they hold."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING

import pytest
from support.publishing.publisher import POLICY
from support.sidecar.fronts import NOW, TRUSTING, Fronts

from authz.serve.http1.expiring import ExpiringFront
from authz.serve.http1.messages import RequestHead

if TYPE_CHECKING:
    from support.publishing.publisher import Publisher

WINDOW = "2027-01-15T08:10:00Z"  # ten minutes after NOW
UNTIL = NOW + 600


def expiring(publisher: Publisher, cache: float, policy: str | None = POLICY) -> tuple[Fronts, ExpiringFront]:
    fronts = Fronts(publisher, TRUSTING, policy)
    front = ExpiringFront(fronts.config, fronts.decider, fronts.http._recorder, fronts.metrics, fronts.clock)
    front.cache = cache
    return fronts, front


def kept_until(front: ExpiringFront, target: bytes = b"/v1/auth", client: bytes = b"192.0.2.7") -> int | None:
    head = front.handle(RequestHead(b"GET", target, {b"x-forwarded-for": [client]}, "127.0.0.1")).head
    times = re.findall(rb"X-Accel-Expires: @(\d+)\r\n", head)
    assert head.count(b"X-Accel-Expires") == len(times)
    return int(times[0]) if times else None


@pytest.mark.parametrize(
    ("cache", "at", "last"), [(1, 0.0, 0), (1, 0.9, 0), (2, 0.5, 1), (60, 0.0, 59), (0.5, 0.4, None), (0.5, 0.6, 0)]
)
def test_an_answer_is_kept_for_less_than_the_configuration_says(
    publisher: Publisher, cache: float, at: float, last: int | None
) -> None:
    fronts, front = expiring(publisher, cache)
    fronts.now = NOW + at
    assert kept_until(front) == (None if last is None else NOW + last)
    assert kept_until(front, client=b"203.0.113.9") == (None if last is None else NOW + last)  # a denial, too


def test_no_answer_is_kept_beyond_the_edge_of_a_window(publisher: Publisher) -> None:
    entry = f"  - {{id: soon, list: deny, networks: [198.51.100.0/24], starts: '{WINDOW}'}}\n"
    fronts, front = expiring(publisher, 60, POLICY + entry)
    for before in (61.0, 59.5, 2.0, 1.5, 1.0, 0.5):
        fronts.now = UNTIL - before
        last = kept_until(front, client=b"198.51.100.1")  # nginx keeps it to the end of that second
        assert last == min(int(fronts.now + 60), UNTIL) - 1
    fronts.now = UNTIL
    assert kept_until(front, client=b"198.51.100.1") == UNTIL + 59


def test_what_cannot_be_decided_is_not_kept(publisher: Publisher) -> None:
    _, front = expiring(publisher, 60, None)
    assert kept_until(front) is None
    assert kept_until(front, b"/livez") is None
    assert kept_until(front, b"/nowhere") is None


def test_a_page_after_a_refused_request_is_not_kept(publisher: Publisher) -> None:
    """It had the end of the refusal: nginx kept the 404 of a mistake in its configuration."""
    fronts, front = expiring(publisher, 60)
    kept_until(front)
    fronts.now = NOW + 1
    front.refuse("127.0.0.1", b"/v1/auth")
    assert kept_until(front, b"/nowhere") is None
