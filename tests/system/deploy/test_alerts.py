"""Alerts and dashboards: promtool takes them, they name metrics that exist, and each alert says what to do."""

from __future__ import annotations

import json
import re
import shutil
import subprocess
import urllib.request
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest
import yaml
from prometheus_client.parser import text_string_to_metric_families
from support.control import Running
from support.processes import Sidecar
from support.proxies.kubernetes.kustomize import KUBERNETES, ROOT

if TYPE_CHECKING:
    from collections.abc import Iterator

    from support.publishing.publisher import Publisher

MONITORING = KUBERNETES / "components" / "monitoring"
RULES = yaml.safe_load((MONITORING / "alerts.yaml").read_text())
ALERTS = {rule["alert"]: rule for group in RULES["groups"] for rule in group["rules"]}
DASHBOARDS = {path.name: json.loads(path.read_text()) for path in sorted((MONITORING / "dashboards").glob("*.json"))}
METRIC = re.compile(r"\b((?:authz|process)_[a-z_]+)\b")


def promtool(*arguments: str | Path, cwd: Path | None = None) -> str:
    """Run promtool, which must find nothing wrong, or skip the test."""
    program = shutil.which("promtool")
    if program is None:
        pytest.skip("needs promtool, of the Debian package prometheus")
    command = [program, *map(str, arguments)]
    done = subprocess.run(command, capture_output=True, text=True, check=False, cwd=cwd)
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stdout


def expressions(dashboard: dict[str, Any]) -> list[str]:
    """Return the queries of a dashboard, with all of its variables."""
    return [
        re.sub(r"\$[a-z]+", ".*", target["expr"])
        for panel in dashboard["panels"]
        for target in panel.get("targets", ())
    ]


def test_promtool_takes_the_alerts() -> None:
    assert f"{len(ALERTS)} rules found" in promtool("check", "rules", MONITORING / "alerts.yaml")


def test_alerts_fire_when_they_should_and_not_before(tmp_path: Path) -> None:
    shutil.copy(MONITORING / "alerts.yaml", tmp_path)
    shutil.copy(Path(__file__).parent / "alerts_test.yaml", tmp_path)
    promtool("test", "rules", "alerts_test.yaml", cwd=tmp_path)


def test_the_operator_gets_the_same_alerts() -> None:
    operator = yaml.safe_load((MONITORING / "prometheusrule.yaml").read_text())
    assert operator["spec"] == RULES


@pytest.mark.parametrize("name", DASHBOARDS)
def test_promtool_takes_the_queries_of_a_dashboard(name: str, tmp_path: Path) -> None:
    queries = expressions(DASHBOARDS[name])
    assert len(queries) > 10
    rules = [{"record": f"query:{number}", "expr": expression} for number, expression in enumerate(queries)]
    (tmp_path / "rules.yaml").write_text(yaml.safe_dump({"groups": [{"name": "queries", "rules": rules}]}))
    promtool("check", "rules", tmp_path / "rules.yaml")


def exposed(url: str) -> set[str]:
    """Return the series that a process exposes, and those that its counters and histograms have once they count."""
    text = urllib.request.urlopen(url, timeout=10).read().decode()
    types = dict(re.findall(r"^# TYPE (\S+) (\S+)$", text, re.MULTILINE))
    samples = {sample.name for family in text_string_to_metric_families(text) for sample in family.samples}
    return samples | {name for name, kind in types.items() if kind in {"counter", "gauge"}}


@pytest.fixture
def series(publisher: Publisher, tmp_path: Path) -> Iterator[set[str]]:
    """All series of a real sidecar and a real control plane."""
    publisher.publish()
    control = Running(tmp_path / "control")
    try:
        with Sidecar(publisher.folder) as sidecar:
            metrics = [f"http://127.0.0.1:{sidecar.ports['admin']}/metrics", f"{control.url}/metrics"]
            yield set().union(*map(exposed, metrics))
    finally:
        control.end()


def test_alerts_and_dashboards_name_metrics_that_exist(series: set[str]) -> None:
    for name, rule in ALERTS.items():
        named = set(METRIC.findall(rule["expr"]))
        assert named, name
        assert named <= series, name
    for name, dashboard in DASHBOARDS.items():
        variables = [variable["query"] for variable in dashboard["templating"]["list"] if variable["type"] == "query"]
        for expression in (*expressions(dashboard), *variables):
            named = set(METRIC.findall(expression))
            assert named, expression
            assert named <= series, (name, expression)


def test_a_metric_that_does_not_exist_would_be_seen(series: set[str]) -> None:
    assert "authz_redy" not in series
    assert {"authz_ready", "authz_check_duration_seconds_bucket", "authz_control_leader"} <= series


@pytest.mark.parametrize("name", ALERTS)
def test_an_alert_says_what_to_do(name: str) -> None:
    page, _, anchor = ALERTS[name]["annotations"]["runbook_url"].partition("#")
    assert anchor == name.lower()
    text = (ROOT / page).read_text()
    section = text.partition(f"### {name}\n")[2].partition("\n#")[0].strip()
    assert len(section) > 60, "no section with what to do"


def test_the_page_of_alerts_has_no_other_sections() -> None:
    text = (ROOT / "docs" / "guides" / "alerts.md").read_text()
    assert set(re.findall(r"^### (\S+)$", text, re.MULTILINE)) == set(ALERTS)


@pytest.mark.parametrize("name", DASHBOARDS)
def test_a_dashboard_can_be_imported(name: str) -> None:
    """What Grafana wants: ids that differ, places that do not overlap, a data source that one chooses."""
    dashboard = DASHBOARDS[name]
    panels = dashboard["panels"]
    assert len({panel["id"] for panel in panels}) == len(panels)
    cells = [
        (x, y)
        for panel in panels
        for x in range(panel["gridPos"]["x"], panel["gridPos"]["x"] + panel["gridPos"]["w"])
        for y in range(panel["gridPos"]["y"], panel["gridPos"]["y"] + panel["gridPos"]["h"])
    ]
    assert len(set(cells)) == len(cells)
    assert max(x for x, _ in cells) < 24
    assert {panel["datasource"]["uid"] for panel in panels if "datasource" in panel} == {"${datasource}"}
    assert next(variable["type"] for variable in dashboard["templating"]["list"]) == "datasource"
