"""What a small policy says, looked up in the text, and in the snapshot that it becomes."""

from __future__ import annotations

from datetime import UTC, datetime
from ipaddress import IPv4Network, IPv6Network, ip_address, ip_network
from typing import Any

import pytest
import yaml
from hypothesis import given, settings
from hypothesis import strategies as st
from support.publishing.publisher import Publisher
from support.suite.effort import tries

from authz.engine.decision.decider import Decider
from authz.engine.decision.explain import explain
from authz.engine.entries.opened_snapshot import OpenedSnapshot
from authz.engine.entries.ruleset import Ruleset
from authz.engine.request.request import Request
from authz.engine.settings import Settings
from authz.snapshot.read import inspect_snapshot

NETWORKS = [f"10.0.0.{n}/{length}" for length in (28, 29, 30, 31, 32) for n in range(0, 16, 1 << (32 - length))]


NETWORKS += [f"2001:db8::{n:x}/{length}" for length in (125, 126, 127, 128) for n in range(0, 8, 1 << (128 - length))]


ADDRESSES = [f"10.0.0.{n}" for n in range(17)] + [f"2001:db8::{n:x}" for n in range(9)]


WINDOWS: list[dict[str, str]] = [
    {}, {}, {"starts": "2026-01-01T00:00:00Z"}, {"expires": "2026-01-01T00:00:00Z"},
    {"starts": "2025-01-01T00:00:00Z", "expires": "2027-01-01T00:00:00Z"},
]  # fmt: skip


MOMENTS = [datetime(2025, 6, 1, tzinfo=UTC), datetime(2026, 1, 1, tzinfo=UTC), datetime(2027, 6, 1, tzinfo=UTC)]
some_networks = st.lists(st.sampled_from(NETWORKS), min_size=1, max_size=4)


@st.composite
def small_entries(draw: st.DrawFn) -> dict[str, Any]:
    entry: dict[str, Any] = {"list": draw(st.sampled_from(["allow", "deny", "gray"])), "networks": draw(some_networks)}
    if draw(st.booleans()):
        entry["except"] = draw(some_networks)
    if draw(st.booleans()):
        entry["applications"] = draw(st.sampled_from([["shop"], ["bank"], ["shop", "bank"]]))
    if entry["list"] == "deny" and draw(st.booleans()):
        entry["action"] = "warn"
    return entry | draw(st.sampled_from(WINDOWS))


small_policies = st.builds(
    lambda shop, entries: {
        "version": 1,
        "applications": {"shop": shop, "bank": {"default": "deny"}},
        "entries": [{"id": f"e{number}", **entry} for number, entry in enumerate(entries)],
    },
    st.fixed_dictionaries({
        "mode": st.sampled_from(["off", "monitoring", "safe_blocking", "block"]),
        "precedence": st.sampled_from(["allow_first", "deny_first", "most_specific"]),
        "default": st.sampled_from(["allow", "deny"]),
        "dry_run": st.booleans(),
    }),
    st.lists(small_entries(), max_size=6),
)  # fmt: skip


def within(network: str, address: str) -> bool:
    parsed: IPv4Network | IPv6Network = ip_network(network)
    return ip_address(address) in parsed


def covering_by_text(policy: dict[str, Any], address: str) -> dict[str, int]:
    """Return the entries that cover an address, with the length of their longest network, by the policy's text."""
    lengths_by_id = {}
    for entry in policy["entries"]:
        lengths = [int(network.partition("/")[2]) for network in entry["networks"] if within(network, address)]
        if lengths and not any(within(network, address) for network in entry.get("except", ())):
            lengths_by_id[entry["id"]] = max(lengths)
    return lengths_by_id


def decision_by_text(
    policy: dict[str, Any], name: str, address: str, at: datetime
) -> tuple[str, str, set[str], set[str]]:
    """Return decision, list, entries of which one decides, and warnings, by the rules of docs/reference/policy.md."""
    application: dict[str, Any] = {"mode": "block", "precedence": "allow_first", "default": "allow", "dry_run": False}
    application |= policy["applications"][name]
    by_id = {entry["id"]: entry for entry in policy["entries"]}
    covering = {
        key: length
        for key, length in covering_by_text(policy, address).items()
        if name in by_id[key].get("applications", [name])
        and ("starts" not in by_id[key] or datetime.fromisoformat(by_id[key]["starts"]) <= at)
        and ("expires" not in by_id[key] or at < datetime.fromisoformat(by_id[key]["expires"]))
    }
    warnings = {key for key in covering if by_id[key].get("action") == "warn"}
    looked_at = {
        key: length for key, length in covering.items()
        if key not in warnings and (by_id[key]["list"] != "gray" or application["mode"] == "safe_blocking")
    }  # fmt: skip
    order = ["deny", "allow", "gray"] if application["precedence"] == "deny_first" else ["allow", "deny", "gray"]
    if application["precedence"] == "most_specific" and looked_at:
        longest = max(looked_at.values())
        looked_at = {key: length for key, length in looked_at.items() if length == longest}
    on = next((list_ for list_ in order if any(by_id[key]["list"] == list_ for key in looked_at)), "none")
    first = {key: length for key, length in looked_at.items() if by_id[key]["list"] == on}
    deciding = {key for key, length in first.items() if length == max(first.values())}
    decision: str = {"allow": "allow", "deny": "deny", "gray": "allow", "none": application["default"]}[on]
    return "allow" if application["dry_run"] else decision, on, deciding, warnings


@pytest.fixture(scope="module")
def publisher(tmp_path_factory: pytest.TempPathFactory) -> Publisher:
    return Publisher(tmp_path_factory.mktemp("round-trip"))


@settings(max_examples=tries(80), deadline=None)
@given(small_policies)
def test_policy_to_snapshot_to_explain_is_what_the_policy_says(publisher: Publisher, policy: dict[str, Any]) -> None:
    path = publisher.publish(yaml.safe_dump(policy))
    decider = Decider(Settings(unknown="default"))
    decider.load(Ruleset([OpenedSnapshot(inspect_snapshot(path))]))
    for number, address in enumerate(ADDRESSES):
        name, at = ("shop", "bank")[number % 2], MOMENTS[number % 3]
        told = explain(decider, Request(address, application=name), at.timestamp())
        networks = {match["entry"]: match["network"] for match in told["covering"]}
        assert {key: int(network.partition("/")[2]) for key, network in networks.items()} == covering_by_text(
            policy, address
        )
        assert all(within(network, address) for network in networks.values())
        decision, on, deciding, warnings = decision_by_text(policy, name, address, at)
        outcome = told["decision"]
        assert (outcome["decision"], outcome["list"], set(outcome["warnings"])) == (decision, on, warnings)
        assert outcome["entry"] in deciding if deciding else outcome["entry"] is None
        decides = [match["entry"] for match in told["covering"] if match["verdict"].startswith("decides")]
        assert decides == [entry for entry in [outcome["entry"]] if entry is not None]


def test_an_entry_says_since_when_it_is_there_from_build_to_build(publisher: Publisher) -> None:
    policy = "version: 1\nentries:\n  - {id: a, list: deny, networks: [192.0.2.1]}\n"
    publisher.publish(policy, created=1000)
    first = inspect_snapshot(publisher.folder / "lists.snapshot")
    assert [entry.added for entry in first.entries()] == [1000]
    grown = policy + "  - {id: b, list: deny, networks: [192.0.2.2]}\n"
    publisher.publish(grown, created=2000, previous=first)
    second = inspect_snapshot(publisher.folder / "lists.snapshot")
    assert {entry.id: entry.added for entry in second.entries()} == {"a": 1000, "b": 2000}


def test_a_snapshot_names_its_layer_and_the_networks_that_nobody_may_deny(publisher: Publisher) -> None:
    publisher.publish('version: 1\nprotected: [192.0.2.0/24, "2001:db8::1"]\n')
    manifest = inspect_snapshot(publisher.folder / "lists.snapshot").manifest
    assert (manifest.layer, list(manifest.protected)) == ("policy", ["192.0.2.0/24", "2001:db8::1/128"])
