"""The metrics of the control plane: those of the reference, and nothing else."""

from __future__ import annotations

import re
from pathlib import Path
from typing import TYPE_CHECKING

from prometheus_client.parser import text_string_to_metric_families
from support.control import control

if TYPE_CHECKING:
    from prometheus_client import Metric

REFERENCE = Path(__file__).parents[3] / "docs" / "reference" / "metrics.md"
TRIGGERS = """\
triggers:
  - {name: login, kind: rate, count: {over: 5, within: 10s}, then: {list: deny, period: 1h}, dry_run: true}
"""


def documented() -> dict[str, set[str]]:
    """Return the labels of each metric of the reference."""
    part = REFERENCE.read_text().partition("## The control plane")[2]
    rows = re.findall(r"^\| (`[a-z_`, ]+`) \| ([a-z_`, ]*) ?\|", part, re.MULTILINE)
    return {
        f"authz_control_{name.removesuffix('_total')}": set(re.findall(r"\w+", labels))
        for names, labels in rows
        for name in re.findall(r"\w+", names)
    }


def families(folder: Path) -> dict[str, Metric]:
    """Return the metrics of a control plane that has published its layers."""
    folder.mkdir()
    (folder / "triggers.yaml").write_text(TRIGGERS)
    with control(folder, extra="triggers: triggers.yaml\n") as plane:
        plane.ok("POST", "/v1/bans?wait=published&timeout=30", {"address": "203.0.113.9"})
        text = plane.client.get("/metrics", headers={"Authorization": ""}).text
    return {family.name: family for family in text_string_to_metric_families(text)}


def test_the_metrics_of_the_control_plane_are_those_of_the_reference(tmp_path: Path) -> None:
    known, served = documented(), families(tmp_path / "control")
    assert set(served) == set(known)
    for name, family in served.items():
        assert family.documentation, name
        assert all(set(sample.labels) == known[name] for sample in family.samples), name
    newest, published = (
        {sample.labels["layer"]: sample.value for sample in served[f"authz_control_{name}"].samples}
        for name in ("layer_serial", "published_serial")
    )
    assert published["bans"] == newest["bans"] > 0
