"""The benchmarks run and check answers first. What they measure is no matter of tests: nothing here looks at a time."""

from __future__ import annotations

import json
import os
import re
import subprocess
import sys
from functools import partial
from pathlib import Path
from typing import Any
from xml.etree import ElementTree as ET

import pytest

ROOT = Path(__file__).parents[2]
QUICK_ROUNDS = 2


@pytest.fixture(autouse=True)
def _importable(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.syspath_prepend(str(ROOT))


def run(output: Path, *arguments: str, **environment: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, "benchmarks/run.py", *arguments, "--output", str(output)],
        cwd=ROOT, env=os.environ | environment, capture_output=True, text=True, check=False, timeout=600,
    )  # fmt: skip


def part_of(output: Path, name: str) -> dict[str, Any]:
    document = json.loads((output / "results.json").read_text())
    [part] = [part for part in document["parts"] if part["name"] == name]
    return dict(part)


def test_a_quick_run_checks_answers_and_writes_all_rounds_and_a_report(tmp_path: Path) -> None:
    output = tmp_path / "results" / "quick"
    done = run(output, "--quick", "lookup", "check")
    assert done.returncode == 0, done.stdout + done.stderr
    document = json.loads((output / "results.json").read_text())
    assert document["format"] == 1
    assert document["scale"]["name"] == "quick"
    assert {"cpu", "cores", "kernel", "python", "packages", "tools", "commit"} <= document["machine"].keys()
    assert [part["name"] for part in document["parts"]] == ["lookup", "check"]
    for part in document["parts"]:
        assert part["skipped"] is None
        assert sum(check["count"] for check in part["checks"]) > 100
        assert [check["differences"] for check in part["checks"] if check["differences"]] == []
        for measure in part["measures"]:
            low, high = measure["quartiles"]
            assert min(measure["rounds"]) <= low <= measure["median"] <= high <= max(measure["rounds"])
    [by_authz] = [
        measure
        for measure in document["parts"][1]["measures"]
        if (measure["contender"], measure["unit"], measure["labels"]) == ("authz", "ns", {"request": "582 B, IPv4"})
    ]
    assert len(by_authz["rounds"]) == QUICK_ROUNDS
    assert "time of one look-up, ns" in done.stdout
    page = (output / "report.md").read_text()
    assert "a smoke run: its figures say nothing" in page
    shown = re.findall(r"!\[.+\]\((.+\.svg)\)", page)
    assert len(shown) == len(set(shown)) > 2
    assert sorted(shown) == sorted(path.name for path in output.glob("*.svg"))
    for name in shown:
        assert ET.parse(output / name).getroot().tag == "{http://www.w3.org/2000/svg}svg"


def test_without_the_shared_data_networks_are_made_up_and_the_report_says_so(tmp_path: Path) -> None:
    done = run(tmp_path, "--quick", "lookup", AUTHZ_SHARED=str(tmp_path / "nothing"))
    assert done.returncode == 0, done.stdout + done.stderr
    lookup = part_of(tmp_path, "lookup")
    assert any("synthetic" in note for note in lookup["notes"])
    assert any("no point of reference" in note for note in lookup["notes"])
    assert all(not check["differences"] for check in lookup["checks"])


def test_a_missing_load_generator_skips_its_part_with_the_reason(tmp_path: Path) -> None:
    done = run(tmp_path, "--quick", "grpc", "http", PATH=str(tmp_path))
    assert done.returncode == 0, done.stdout + done.stderr
    assert part_of(tmp_path, "grpc")["skipped"] == "it needs h2load (Debian package nghttp2-client)"
    assert "http: skipped, it needs wrk (Debian package wrk)" in done.stdout


def test_an_unknown_part_is_refused(tmp_path: Path) -> None:
    done = run(tmp_path, "lokup")
    assert done.returncode == 2
    assert (
        "found the part 'lokup', expected some of lookup, check, grpc, http, envoy, nginx, reload, reload_storm, "
        "memory, bans, enforcement, control" in done.stderr
    )


@pytest.mark.parametrize(
    ("values", "expected"),
    [
        ([7.0], (7.0, 7.0, 7.0)),
        ([1.0, 2.0], (1.5, 1.25, 1.75)),
        ([5.0, 1.0, 3.0, 2.0, 4.0], (3.0, 2.0, 4.0)),
        ([1.0, 1.0, 1.0, 100.0], (1.0, 1.0, 25.75)),
    ],
)
def test_spread_is_median_and_quartiles(values: list[float], expected: tuple[float, float, float]) -> None:
    from benchmarks.rounds import spread

    assert spread(values) == expected


def test_spread_of_nothing_is_an_error() -> None:
    from benchmarks.rounds import spread

    with pytest.raises(ValueError, match="expected one or more"):
        spread([])


def test_ratios_pair_the_values_of_each_round() -> None:
    from benchmarks.rounds import ratios

    assert ratios([2.0, 9.0], [1.0, 3.0]) == [2.0, 3.0]
    with pytest.raises(ValueError, match="shorter"):
        ratios([1.0, 2.0], [1.0])


def test_rounds_call_everyone_in_turn_and_drop_the_warm_up() -> None:
    from benchmarks.rounds import interleaved

    calls: list[str] = []

    def contender(name: str) -> int:
        calls.append(name)
        return len(calls)

    results = interleaved({name: partial(contender, name) for name in "abc"}, rounds=2, warm_up=1)
    assert "".join(calls) == "abc" + "bca" + "cab"
    assert results == {"a": [6, 8], "b": [4, 9], "c": [5, 7]}


def test_the_report_compares_contenders_only_under_the_same_circumstances() -> None:
    from benchmarks.report.document import Part
    from benchmarks.report.tables import grids

    part = Part("p")
    part.add("time", "ns", {"ours": [1.0, 2.0], "theirs": [3.0, 4.0]}, size="small")
    part.add("time", "ns", {"ours": [5.0, 6.0]}, size="large")
    part.compare("time", "theirs", "ours")
    assert [(m.contender, m.labels, m.rounds) for m in part.measures if m.unit == "x"] == [
        ("theirs / ours", {"size": "small"}, [3.0, 2.0])
    ]
    times, compared = grids(part.as_dict())
    assert times.columns == ["size", "ours", "theirs"]
    assert times.rows == [["small", "1.5 (1.25-1.75)", "3.5 (3.25-3.75)"], ["large", "5.5 (5.25-5.75)", ""]]
    assert compared.rows == [["small", "2.50 (2.25-2.75)"]]


def test_made_up_networks_are_different_ones_without_host_bits_and_always_the_same(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    from authz.addresses import parse_network
    from benchmarks.data import networks

    monkeypatch.setattr(networks, "_SHARED", tmp_path)
    table = networks.load_table(2_000)
    assert table == networks.load_table(2_000)
    assert len(set(table.networks)) == 2_000
    assert all(parse_network(str(network)) == network for network in table.networks)
    assert {network.version for network in table.networks} == {4, 6}


def test_hits_are_covered_and_misses_are_not() -> None:
    from benchmarks.data.networks import SlowTable, comb, hits, misses

    for version in (4, 6):
        table = comb(version, 100)
        slow = SlowTable(table)
        assert all(slow.longest(version, value) for value in hits(table, version, 50))
        assert not any(slow.longest(version, value) for value in misses(table, slow, version, 50))
