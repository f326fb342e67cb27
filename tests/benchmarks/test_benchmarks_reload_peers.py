"""The reloads of the peers: each decides by the new list in the end, and what is seen of it is read right."""

from __future__ import annotations

import json
import warnings
from importlib import import_module
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest

if TYPE_CHECKING:
    from benchmarks.data.networks import Table
    from benchmarks.load.reload_traffic import Line
    from benchmarks.report.document import Part

ROOT = Path(__file__).parents[2]
SECOND = 1_000_000_000
OLD, NEW, LOST = 200, 403, -1
_IN_ANY = (
    "config.listener.v3",
    "config.rbac.v3",
    "extensions.filters.http.rbac.v3",
    "extensions.filters.http.router.v3",
    "extensions.filters.network.http_connection_manager.v3",
    "extensions.matching.common_inputs.network.v3",
    "extensions.matching.input_matchers.ip.v3",
)  # the packages of messages inside an Any, which the decoder must know


@pytest.fixture(autouse=True)
def _importable(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.syspath_prepend(str(ROOT))


def made_up(*texts: str) -> Table:
    from authz.addresses import parse_network
    from benchmarks.data.networks import Table

    return Table("made up", [parse_network(text) for text in texts], [0] * len(texts))


# What is seen of a reload


def line(due_ms: float, latency_ms: float, status: int) -> Line:
    from benchmarks.load.reload_traffic import Line

    return Line(SECOND + int(due_ms * 1e6), int(latency_ms * 1e6), status, 0, 0)


def is_new(line: Line) -> bool:
    return line.status == NEW


def test_a_reload_is_seen_by_the_first_new_and_the_last_old_answer() -> None:
    from benchmarks.load.reload_traffic import Latencies, Reload, judged

    lines = [
        line(0, 50, OLD),  # among the first moments
        line(390, 1, OLD),
        line(395, 2, OLD),
        line(402, 9, OLD),
        line(404, 4, NEW),
        line(406, 1, NEW),
        line(520, 99, NEW),  # long after
    ]
    seen = judged(lines, SECOND + 400_000_000, is_new)
    assert seen == Reload(7.0, 11.0, Latencies(2.0, 2.0, 2.0), Latencies(4.0, 9.0, 9.0))


def test_other_requests_count_for_the_first_and_the_last_answer_only() -> None:
    from benchmarks.load.reload_traffic import judged

    lines = [line(0, 1, OLD), line(399, 1, OLD), line(404, 1, OLD), line(410, 1, NEW)]
    seen = judged(lines, SECOND + 400_000_000, is_new, [line(401, 2, NEW), line(402, 30, OLD)])
    assert seen is not None
    assert (seen.first, seen.last) == (3.0, 32.0)
    assert seen.during.worst == 1.0


def test_a_request_without_an_answer_is_in_no_latency() -> None:
    from benchmarks.load.reload_traffic import judged

    lines = [line(0, 1, OLD), line(399, 1, OLD), line(401, 10_000, LOST), line(402, 3, NEW)]
    seen = judged(lines, SECOND + 400_000_000, is_new)
    assert seen is not None
    assert (seen.last, seen.during.worst) == (0.0, 3.0)


def test_old_answers_of_before_the_rename_only_are_none_after_it() -> None:
    from benchmarks.load.reload_traffic import judged

    seen = judged([line(0, 1, OLD), line(396, 1, OLD), line(402, 3, NEW)], SECOND + 400_000_000, is_new)
    assert seen is not None
    assert (seen.first, seen.last) == (5.0, 0.0)


@pytest.mark.parametrize("renamed_ms", [400, 50])
def test_a_reload_without_new_answers_or_without_requests_before_it_was_not_seen(renamed_ms: int) -> None:
    from benchmarks.load.reload_traffic import judged

    lines = [line(0, 1, OLD), line(399, 1, NEW if renamed_ms < 100 else OLD)]
    assert judged(lines, SECOND + renamed_ms * 1_000_000, is_new) is None


# Lists


def test_the_client_whose_answer_changes_is_in_the_longer_list_only() -> None:
    from benchmarks.parts.common.reload_peers import _lists

    half, rest = "128.0.0.0/2", ("192.0.0.0/4", "208.0.0.0/5", "216.0.0.0/6", "220.0.0.0/7", "222.0.0.0/8")
    table = made_up(half, *rest)  # all of 128/1 that is unicast, but for 223/8
    lists = _lists(table)
    assert lists.client.startswith("223.")
    assert [str(network) for network in lists.longer if network not in lists.networks] == [f"{lists.client}/32"]


@pytest.mark.parametrize("how", ["rbac_tries", "rbac_principals"])
def test_a_binary_listener_is_to_an_independent_decoder_what_its_json_says(
    how: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    pytest.importorskip("support.proxies.envoy_api")  # which imports Envoy's messages without their warnings
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", DeprecationWarning)
        for name in _IN_ANY:
            import_module(f"envoy_data_plane.envoy.{name}")
        from envoy_data_plane.envoy.service.discovery.v3 import DiscoveryResponse
    from betterproto2 import Casing

    from benchmarks.proxies import envoy as envoys

    monkeypatch.setattr(envoys, "_TRIE", 2)
    decision = getattr(envoys, how)(made_up("192.0.2.0/24", "2001:db8::/32", "0.0.0.0/0").networks)
    envoys.write_listener(decision, tmp_path / "listener.pb")
    [resource] = DiscoveryResponse.parse((tmp_path / "listener.pb").read_bytes()).resources
    listener = resource.unpack()
    assert listener is not None
    expected = json.dumps(envoys._listener(decision)).replace(', "action": "ALLOW"', "")  # 0, the default
    assert listener.to_dict(casing=Casing.SNAKE) == json.loads(expected)


def test_what_has_no_binary_form_is_an_error() -> None:
    from benchmarks.proxies.envoy_binary import binary

    with pytest.raises(KeyError, match="drain_type"):
        binary("Listener", {"name": "edge", "drain_type": "MODIFY_ONLY"})


# The reloads


def measured(**changes: Any) -> Part:
    """Measure at the smallest scale; skips the test where there is no load generator."""
    from benchmarks.load.paced import missing_paced
    from benchmarks.parts.common.reload_peers import measure
    from benchmarks.report.document import Part
    from benchmarks.scale import QUICK

    if missing_paced():
        pytest.skip(str(missing_paced()))
    part = Part("reload")
    measure(part, QUICK._replace(**changes), lambda _: None)
    return part


def test_every_peer_that_is_there_is_reloaded_under_traffic_and_decides_by_the_new_list(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    from benchmarks.parts.common import reload_peers
    from benchmarks.proxies.envoy import missing_envoy
    from benchmarks.proxies.nginx import missing_nginx

    monkeypatch.setattr(reload_peers, "_TRIAL", 1.0)  # on a busy machine less may pass without a request
    part = measured(reload_sizes=(500,), reloads=2)
    there = ([] if missing_nginx() else ["geo"]) + ([] if missing_envoy() else ["RBAC, tries", "RBAC, principals"])
    assert part.wrong == []
    assert len(part.checks) == len(there)
    assert all(check.count >= 6 for check in part.checks)  # more, where a reload was not seen at first
    left_out = [note for note in part.notes if note.startswith("left out")]
    names = {measure.contender for measure in part.measures if measure.name == "rename to first new answer"}
    assert len(names) + len(left_out) == 3, part.notes
    assert names <= set(there)
    for measure in part.measures:
        assert min(measure.rounds) >= 0
        assert measure.labels["front"] == "HTTP"
        assert measure.labels["policy"].startswith("500 networks (")


def test_a_peer_that_does_not_decide_by_its_list_is_found_and_not_measured(monkeypatch: pytest.MonkeyPatch) -> None:
    from benchmarks.parts.common import reload_peers
    from benchmarks.proxies.envoy import missing_envoy, unfiltered

    if missing_envoy():
        pytest.skip(str(missing_envoy()))
    monkeypatch.setattr(reload_peers, "missing_nginx", lambda: "not asked here")
    monkeypatch.setattr(reload_peers, "rbac_tries", lambda _: unfiltered())
    monkeypatch.setattr(reload_peers, "_MAX_PRINCIPALS", 0)
    part = measured(reload_sizes=(100,))
    assert part.measures == []
    [wrong] = part.wrong
    assert "RBAC, tries: decides by the list that was renamed last: client" in wrong
    assert wrong.endswith("found 200, expected 403")


def test_what_is_missing_is_left_out_with_the_reason(monkeypatch: pytest.MonkeyPatch) -> None:
    from benchmarks.parts.common import reload_peers
    from benchmarks.report.document import Part
    from benchmarks.scale import QUICK

    monkeypatch.setattr(reload_peers, "missing_paced", lambda: "it needs Go")
    part = Part("reload")
    reload_peers.measure(part, QUICK, lambda _: None)
    assert part.measures == []
    assert "left out: geo: it needs Go" in part.notes
