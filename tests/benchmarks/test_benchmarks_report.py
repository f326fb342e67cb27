"""The report of a benchmark run: which aims it met, its plots, and what became of parts that did not measure."""

from __future__ import annotations

import json
import re
import sys
from pathlib import Path
from types import ModuleType
from typing import Any
from xml.etree import ElementTree as ET

import pytest

ROOT = Path(__file__).parents[2]
SVG = "{http://www.w3.org/2000/svg}"


@pytest.fixture(autouse=True)
def _importable(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.syspath_prepend(str(ROOT))


def document(*parts: Any, scale: str = "usual") -> dict[str, Any]:
    return {
        "format": 1,
        "started": "2026-12-01T00:00:00+00:00",
        "scale": {"name": scale},
        "machine": {
            "commit": "abc", "cpu": "CPU", "cores": 2, "memory_mb": 4096, "kernel": "Linux", "python": "CPython 3",
            "packages": {"numpy": "1", "radix": None}, "tools": {"go": "2"}, "load_average": 0.5,
        },
        "load_average_at_end": 2.0,
        "parts": [part.as_dict() for part in parts],
    }  # fmt: skip


def result(name: str, *parts: Any, scale: str = "usual") -> tuple[str, str]:
    """Return state and figure of the one aim whose measure begins so."""
    from benchmarks.report.aims import results

    [judged] = [
        judgement for judgement in results(document(*parts, scale=scale)) if judgement.aim.measure.startswith(name)
    ]
    return judged.state, judged.found


def grpc_part(worst: float) -> Any:
    from benchmarks.report.document import Part

    part = Part("grpc")
    for request, native in (("350 B, allowed", 90.0), ("350 B, denied", worst)):
        rounds = {"authz native": [native, native, native * 2], "authz grpcio": [10.0, 10.0, 10.0]}
        part.add("checks per CPU second of the server", "1/s", rounds, request=request)
    return part


def test_an_aim_is_judged_by_the_worst_of_its_figures() -> None:
    assert result("checks per CPU second, gRPC", grpc_part(80.0)) == (
        "met", "8.00 (8.00-12.00) x; 350 B, denied; the worst of 2"
    )  # fmt: skip
    state, text = result("checks per CPU second, gRPC", grpc_part(79.9))
    assert state == "missed"
    assert text.startswith("7.99 ")


def test_what_only_one_contender_was_measured_for_is_no_comparison() -> None:
    part = grpc_part(80.0)
    part.add("checks per CPU second of the server", "1/s", {"authz native": [99.0]}, request="54 kB, allowed")
    assert result("checks per CPU second, gRPC", part) == (
        "not measured", "authz native and authz grpcio were not both measured: 54 kB, allowed"
    )  # fmt: skip


def test_rounds_that_do_not_pair_are_no_comparison() -> None:
    part = grpc_part(80.0)
    part.measures[0].rounds.append(1.0)
    assert result("checks per CPU second, gRPC", part) == ("not measured", "found 4 rounds of one and 3 of the other")


def test_an_aim_says_why_it_was_not_measured() -> None:
    from benchmarks.report.document import Part

    name = "checks per CPU second, gRPC"
    assert result(name) == ("not measured", "the part grpc did not run")
    assert result(name, Part("grpc", skipped="it needs h2load")) == (
        "not measured", "the part grpc was skipped: it needs h2load"
    )  # fmt: skip
    assert result(name, Part("grpc", failed="RuntimeError: no")) == ("not measured", "the part grpc failed")
    assert result(name, grpc_part(80.0), scale="quick") == ("not measured", "a smoke run")


def envoy_part(peer_rates: tuple[str, ...]) -> Any:
    from benchmarks.report.document import Part

    part = Part("envoy")
    for rate in ("1,000/s", "4,000/s"):
        contenders = {"authz": [300.0]} | ({"OPA, buckets": [200.0 if rate == "1,000/s" else 900.0]})
        chosen = {name: rounds for name, rounds in contenders.items() if name == "authz" or rate in peer_rates}
        part.add("latency at a fixed rate", "us", chosen, rate=rate, networks="100,000", percentile="p99")
    return part


def test_a_peer_may_be_too_slow_for_a_rate_but_not_for_all() -> None:
    name = "through Envoy, against OPA's engine behind grpc-go (not the plugin) with 100,000 entries: p99"
    assert result(name, envoy_part(("4,000/s",))) == ("met", "0.33 x; 4,000/s, 100,000, p99")
    assert result(name, envoy_part(("1,000/s", "4,000/s")))[0] == "missed"
    assert result(name, envoy_part(()))[0] == "not measured"


def test_flat_compares_the_largest_list_with_a_small_one() -> None:
    from benchmarks.report.document import Part

    part = Part("envoy")
    for networks, rounds in (("1,000", [100.0, 100.0]), ("100,000", [1.0, 1.0]), ("1,000,000", [95.0, 99.0])):
        part.add("requests per second", "1/s", {"authz": rounds}, clients="allowed", networks=networks)
    assert result("through Envoy, 1 M networks", part) == ("met", "0.97 (0.96-0.98) x; allowed, 1,000,000")
    del part.measures[-1]
    state, text = result("through Envoy, 1 M networks", part)
    assert state == "not measured"
    assert text.startswith("no 'requests per second' of authz in the part envoy")


def test_memory_is_judged_without_the_snapshot() -> None:
    from benchmarks.report.document import Part

    part = Part("memory")
    for policy, beyond in (("empty", 50.0), ("large", 59.5)):
        part.add("resident memory beyond the snapshot file", "MB", {"authz": [beyond]}, policy=policy)
    assert result("resident memory", part) == ("met", "59.5 MB; large; the worst of 2")


def measured_part() -> Any:
    """Return a part with measures of all shapes."""
    from benchmarks.report.document import Part

    part = Part("envoy", about="What is measured here.")
    for networks in ("1,000", "100,000"):
        part.add("requests per second", "1/s", {"authz": [8.0, 9.0], "RBAC": [7.0, 6.0]}, networks=networks)
    part.add("requests per second", "1/s", {"no filter": [20.0, 21.0]}, networks="100,000")
    for percentile, value in (("p50", 200.0), ("p99", 900.0), ("worst", 5000.0)):
        part.add("latency", "us", {"authz": [value, value * 2]}, rate="1,000/s", percentile=percentile)
    part.add("memory", "MB", {"authz": [60.0], "RBAC": [-1.0]})
    part.compare("requests per second", "authz", "RBAC")
    return part


def test_measures_are_drawn_in_the_shape_of_their_labels() -> None:
    from benchmarks.report.plots import plots

    drawn = {plot.name: plot for plot in plots(measured_part().as_dict())}
    assert list(drawn) == [
        "envoy-requests-per-second-1-s-by-size",
        "envoy-requests-per-second-1-s",
        "envoy-latency-us-percentiles",
        "envoy-memory-mb",
    ]
    texts = {name: [node.text for node in tree(plot.svg).iter(f"{SVG}text")] for name, plot in drawn.items()}
    assert {"authz", "RBAC", "1 k", "100 k", "networks in the list"} <= set(
        texts["envoy-requests-per-second-1-s-by-size"]
    )
    assert "no filter" not in texts["envoy-requests-per-second-1-s-by-size"]
    bars = texts["envoy-requests-per-second-1-s"]
    assert [text for text in bars if text in {"authz", "RBAC", "no filter"}] == ["authz", "RBAC", "no filter"]
    assert "requests per second, 1/s (more is better)" in bars
    assert {"p50", "p99", "worst", "1,000/s"} <= set(texts["envoy-latency-us-percentiles"])


def test_memory_is_drawn_as_a_stack_that_adds_up() -> None:
    from benchmarks.report.document import Part
    from benchmarks.report.plots import plots

    part = Part("memory")
    sizes = {
        "resident (VmRSS)": [75.0, 77.0],
        "own (RssAnon)": [30.0],
        "code (RssFile)": [30.0],
        "snapshot (RssShmem)": [15.0],
        "at most (VmHWM)": [90.0],
    }
    part.add("memory", "MB", sizes, policy="large")
    [plot] = plots(part.as_dict())
    texts = [node.text for node in tree(plot.svg).iter(f"{SVG}text")]
    assert {"76, at most 90", "own (RssAnon)", "large"} <= set(texts)


def tree(svg: bytes) -> Any:
    return ET.fromstring(svg)


def test_a_smaller_svg_is_the_same_picture() -> None:
    from benchmarks.report.small_svg import smaller

    large = (
        '<svg xmlns="http://www.w3.org/2000/svg"><defs><style type="text/css">*{a: b}</style><g id="m1"/></defs>\n'
        '    <g id="axes_1"><use href="#m1" x="1.23456" style="fill: red"/><g style="fill: red" id="p2"/></g>\n'
        '    <path clip-path="url(#p2)" style="fill: none"/></svg>'
    )
    assert smaller(large) == (
        '<svg xmlns="http://www.w3.org/2000/svg"><defs><style type="text/css">*{a: b}\n'
        '.c0{fill: red}\n.c1{fill: none}\n</style><g id="m1"/></defs>\n'
        '<g><use href="#m1" x="1.23" class="c0"/><g class="c0" id="p2"/></g>\n'
        '<path clip-path="url(#p2)" class="c1"/></svg>'
    )


def test_the_same_figures_give_the_same_plots() -> None:
    from benchmarks.report.plots import plots

    part = measured_part().as_dict()
    assert list(plots(part)) == list(plots(part))


def test_a_contender_looks_the_same_everywhere_and_no_two_alike_in_a_part() -> None:
    from benchmarks.report.styles import style_of

    together = (
        ("authz native", "authz native, logged", "authz native, unix socket", "authz grpcio"),
        ("authz", "authz, denied", "authz, denied, logged", "authz, unix socket", "uvicorn"),
        ("authz", "authz, listed", "authz, text", "pytricia", "pytricia, text", "py-radix", "maxminddb, text"),
        ("no filter", "empty answer (grpc-go)", "authz's answer (grpc-go)", "authz", "authz, unix socket",
         "authz on grpc.aio", "RBAC, principals", "RBAC, tries", "OPA, buckets", "OPA, cidr_contains_matches",
         "CrowdSec bouncer"),
    )  # fmt: skip
    for names in together:
        assert len({style_of(name) for name in names}) == len(names)
    assert style_of("authz") == style_of("authz native")
    assert style_of("somebody else") == style_of("somebody else")


def test_the_report_says_which_parts_were_skipped_failed_or_answered_wrongly(tmp_path: Path) -> None:
    from benchmarks.report.document import Check, Part
    from benchmarks.report.page import write_report

    wrong = Part("http", checks=[Check("authz, denied", 1, ["found 200, expected 403"])])
    parts = Part("nginx", skipped="it needs nginx"), Part("reload", failed="RuntimeError: no answer"), wrong
    write_report(tmp_path, document(measured_part(), *parts))
    page = (tmp_path / "report.md").read_text()
    assert page.startswith("# Benchmarks of 2026-12-01\n")
    assert "Skipped: it needs nginx." in page
    assert "**Failed:**" in page
    assert "RuntimeError: no answer" in page
    assert "**Wrong answers**, so not measured: authz, denied: found 200, expected 403" in page
    assert "What is measured here." in page
    assert "numpy 1" in page
    assert "radix" not in page
    shown = re.findall(r"!\[.+\]\((.+\.svg)\)", page)
    assert sorted(shown) == sorted(path.name for path in tmp_path.glob("*.svg"))


def test_plots_of_an_earlier_report_do_not_stay(tmp_path: Path) -> None:
    from benchmarks.report.page import write_report

    (tmp_path / "old.svg").write_text("<svg/>")
    write_report(tmp_path, document())
    assert list(tmp_path.glob("*.svg")) == []


def test_a_part_that_fails_is_recorded_and_the_others_are_kept(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    from benchmarks import run

    def module(name: str, function: Any) -> None:
        part = ModuleType(f"benchmarks.parts.{name}")
        part.run = function  # type: ignore[attr-defined]
        part.__doc__ = "One sentence.\n\nMore."
        monkeypatch.setitem(sys.modules, f"benchmarks.parts.{name}", part)

    def fails(*_: Any) -> None:
        raise RuntimeError("the server does not serve")

    module("check", fails)
    module("memory", lambda *_: measured_part())
    assert run.main(["check", "memory", "--output", str(tmp_path)]) == 1
    check, memory = json.loads((tmp_path / "results.json").read_text())["parts"]
    assert check["failed"] == "RuntimeError: the server does not serve"
    assert check["measures"] == []
    assert memory["failed"] is None
    assert memory["about"] == "One sentence."
    assert memory["measures"]
    assert "check failed: RuntimeError: the server does not serve" in capsys.readouterr().err


def test_a_report_is_drawn_anew_from_its_figures(tmp_path: Path) -> None:
    from benchmarks import run
    from benchmarks.report.document import write_json

    write_json(tmp_path / "old" / "results.json", document(measured_part()))
    source = str(tmp_path / "old" / "results.json")
    assert run.main(["--report", source]) == 0
    assert run.main(["--report", source, "--output", str(tmp_path / "new")]) == 0
    assert (tmp_path / "old" / "report.md").read_text() == (tmp_path / "new" / "report.md").read_text()
    assert len(list((tmp_path / "new").glob("*.svg"))) == 4


def test_a_file_that_is_no_document_of_ours_is_refused(tmp_path: Path) -> None:
    from benchmarks.report.document import read_json

    for text in ("[]", "{}", '{"format": 2}', "{"):
        (tmp_path / "file").write_text(text)
        with pytest.raises(ValueError, match=r"expected a document of format 1|Expecting"):
            read_json(tmp_path / "file")


def test_a_published_report_is_kept_whole_and_its_aims_are_in_the_readme(tmp_path: Path) -> None:
    from benchmarks.report.page import publish, write_report

    benchmarks = tmp_path / "benchmarks"
    benchmarks.mkdir()
    (benchmarks / "README.md").write_text((ROOT / "benchmarks" / "README.md").read_text() + "the end\n")
    measured = document(measured_part())
    write_report(tmp_path / "results", measured)
    for _ in range(2):
        copy = publish(tmp_path / "results", measured, benchmarks)
    assert copy == benchmarks / "reports" / "2026-12-01"
    files = {path.name: path.read_bytes() for path in copy.iterdir()}
    assert files == {path.name: path.read_bytes() for path in (tmp_path / "results").iterdir()}
    readme = (benchmarks / "README.md").read_text()
    assert readme.count("Run of 2026-12-01 at abc on CPU, 2 cores") == 1
    assert "[the report](reports/2026-12-01/report.md)" in readme
    row = "| resident memory but for the snapshot file | under 60 MB | the part memory did not run | not measured |"
    assert row in readme
    assert readme.startswith("# Benchmarks\n")
    assert readme.endswith("the end\n")


def test_a_smoke_run_and_one_with_a_failed_part_are_not_published(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    from benchmarks import run
    from benchmarks.report.document import Part, write_json

    monkeypatch.setattr(run, "_FOLDER", tmp_path / "benchmarks")
    file = tmp_path / "results.json"
    for status, reason, unfit in (
        (0, "the figures of a smoke run say nothing", document(measured_part(), scale="quick")),
        (1, "not everything was measured", document(measured_part(), Part("grpc", failed="OSError: no"))),
    ):
        write_json(file, unfit)
        assert run.main(["--report", str(file), "--publish"]) == status
        assert f"not published: {reason}" in capsys.readouterr().err
    assert not (tmp_path / "benchmarks").exists()
