"""How much CPU time each target was fuzzed for: a file that runs add to, and the table that is made of it.

{"http2": {"53c1f50": {"cpu_seconds": 3600.2, "inputs": 991204}}}
"""

from __future__ import annotations

import json
from pathlib import Path
from typing import Final, NamedTuple

SPENT: Final = Path(__file__).parents[2] / "system" / "chaos" / "fuzzed.json"  # in git; only on request

Noted = dict[str, dict[str, dict[str, float]]]  # by target, then by commit


class Spent(NamedTuple):
    """What fuzzing took. cpu_seconds: of the fuzzer's process, user and system. inputs: how many it has tried."""

    cpu_seconds: float
    inputs: int


def read(path: Path) -> Noted:
    """Return what was noted so far."""
    if not path.exists():
        return {}
    noted: Noted = json.loads(path.read_text(encoding="utf-8"))
    return noted


def add(path: Path, target: str, commit: str, spent: Spent) -> None:
    """Add to what was noted of a target at a commit."""
    noted = read(path)
    path.parent.mkdir(parents=True, exist_ok=True)
    before = noted.setdefault(target, {}).get(commit, {"cpu_seconds": 0.0, "inputs": 0})
    noted[target][commit] = {
        "cpu_seconds": round(before["cpu_seconds"] + spent.cpu_seconds, 1),
        "inputs": before["inputs"] + spent.inputs,
    }
    path.write_text(json.dumps(noted, indent=1, sort_keys=True) + "\n", encoding="utf-8")


def total(noted: Noted, target: str) -> Spent:
    """Return what was spent on a target at all commits."""
    rows = noted.get(target, {}).values()
    return Spent(sum(row["cpu_seconds"] for row in rows), int(sum(row["inputs"] for row in rows)))


def table(noted: Noted) -> list[str]:
    """Return the lines of the table in docs/internals/reliability.md."""
    lines = ["| target | inputs | minutes of CPU | commits |", "|---|---|---|---|"]
    for target in sorted(noted):
        spent = total(noted, target)
        lines.append(f"| {target} | {spent.inputs:,} | {spent.cpu_seconds / 60:.1f} | {len(noted[target])} |")
    return lines
