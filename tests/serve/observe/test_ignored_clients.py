"""A proxy that nobody trusts is the client of all its requests: that is counted and told, not silent."""

from __future__ import annotations

from typing import TYPE_CHECKING

from support.publishing.worlds import deny, load

from authz.addresses import NetworkSet, parse_address, parse_networks
from authz.engine.decision.decider import Decider
from authz.engine.entries.ruleset import Ruleset
from authz.engine.model import Application
from authz.engine.request.client_address import Rules
from authz.engine.request.request import Request
from authz.engine.settings import Settings
from authz.serve.observe.ignored_clients import COUNTER, IgnoredClients
from authz.serve.observe.metrics import Metrics

if TYPE_CHECKING:
    import pytest


class Clock:
    now = 1000.0

    def __call__(self) -> float:
        return self.now


def decider(rules: Rules) -> tuple[Decider, list[str]]:
    made, told = Decider(Settings(rules)), list[str]()
    made.load(Ruleset([load((Application("*"),), [deny("bad", "203.0.113.0/24")])]))
    made.on_ignored = lambda peer: told.append(peer.text)
    return made, told


def test_a_forgotten_proxy_is_told_of_by_every_request_that_names_a_client() -> None:
    made, told = decider(Rules())
    for number in range(3):
        made.check(Request("127.0.0.1", [f"203.0.113.{number}"]), 0.0)
    made.check(Request("127.0.0.1", ["203.0.113.9, 10.0.0.1"]), 0.0)
    made.check(Request("192.0.2.8", ["203.0.113.9"]), 0.0)
    assert told == ["127.0.0.1"] * 4 + ["192.0.2.8"]


def test_a_forgotten_proxy_is_told_of_where_it_is_tried_from_its_own_machine() -> None:
    """As README's quick start does: nginx writes the address of who connects, which is its own, at the right."""
    made, told = decider(Rules())
    made.check(Request("127.0.0.1", ["203.0.113.9, 127.0.0.1"]), 0.0)
    made.check(Request("::1", ["203.0.113.9, ::1"]), 0.0)
    made.check(Request("127.0.0.1", ["127.0.0.1"]), 0.0)
    made.check(Request("::1", ["::1, ::1"]), 0.0)
    assert told == ["127.0.0.1", "::1"]


def test_a_proxy_at_the_edge_that_appends_its_client_is_no_forgotten_proxy() -> None:
    made, told = decider(Rules())
    made.check(Request("198.51.100.7", ["198.51.100.7"]), 0.0)
    made.check(Request("198.51.100.7", ["203.0.113.9, ::ffff:198.51.100.7"]), 0.0)
    made.check(Request("198.51.100.7", []), 0.0)
    made.check(Request("198.51.100.7", ["", " "]), 0.0)
    assert told == []


def test_a_trusted_proxy_and_the_questions_of_an_operator_are_not_told_of() -> None:
    made, told = decider(Rules(trusted_proxies=NetworkSet(parse_networks("127.0.0.0/8"))))
    made.check(Request("127.0.0.1", ["203.0.113.9"]), 0.0)
    made.pinned().check(Request("192.0.2.1", ["203.0.113.9"]), 0.0)
    made.steps(Request("192.0.2.1", ["203.0.113.9"]))
    assert told == []
    made.check(Request("192.0.2.1", ["203.0.113.10"]), 0.0)
    assert told == ["192.0.2.1"]


def test_it_is_told_at_once_and_then_once_a_minute_with_a_count(caplog: pytest.LogCaptureFixture) -> None:
    clock, metrics = Clock(), Metrics()
    ignored = IgnoredClients(metrics, "x-forwarded-for", clock)
    assert f"{COUNTER} 0" in metrics.text().decode()
    peer = parse_address("127.0.0.1")
    for _ in range(3):
        ignored(peer)
    clock.now += 60
    ignored(peer)
    lines = [record.getMessage() for record in caplog.records]
    assert [line.partition(" with ")[0] for line in lines] == [
        "client_address: a request came", "client_address: 3 requests came",
    ]  # fmt: skip
    assert "x-forwarded-for, the last from 127.0.0.1, which is not a trusted proxy" in lines[0]
    assert f"{COUNTER} 4" in metrics.text().decode()
