"""What was measured: the figures of a part, and the document that holds all of them, as JSON.

    {"format": 1, "started": "...", "scale": {"name": "usual", ...}, "machine": {...}, "load_average_at_end": 1.2,
     "parts": [{"name": "lookup", "about": "...", "seconds": 61.0, "skipped": null, "failed": null, "notes": [...],
       "checks": [{"what": "...", "count": 2000, "differences": []}],
       "measures": [{"name": "time of one look-up", "contender": "authz", "unit": "ns",
         "labels": {"address": "hit", ...}, "rounds": [402.1, ...], "median": 405.0, "quartiles": [398.2, 420.7]}]}]}

A measure whose unit is `x` is a ratio of two contenders, taken round by round. Two labels say how a measure is drawn:
`percentile` (p50, p90, p99, p99.9, worst) makes a curve of percentiles, `networks` (a number, such as 10,000) a line
against the size of the list; all others make bars.
"""

from __future__ import annotations

import json
from dataclasses import asdict, dataclass, field
from typing import TYPE_CHECKING, Any, Final

from benchmarks.rounds import ratios, spread

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence
    from pathlib import Path

FORMAT: Final = 1


@dataclass(frozen=True)
class Check:
    """Whether answers were right, before anything was measured. count: answers looked at; differences: in words."""

    what: str
    count: int
    differences: list[str] = field(default_factory=list)


@dataclass(frozen=True)
class Measure:
    """One figure for each round. unit: of the figures. labels: under which circumstances."""

    name: str
    contender: str
    unit: str
    labels: dict[str, str]
    rounds: list[float]

    def as_dict(self) -> dict[str, Any]:
        """Return all of it, with median and quartiles."""
        median, low, high = spread(self.rounds)
        return {**asdict(self), "median": median, "quartiles": [low, high]}


@dataclass
class Part:
    """What one part of the benchmarks found.

    skipped: why it could not run; failed: the error that ended it; about: what it measures; seconds: it took.
    """

    name: str
    notes: list[str] = field(default_factory=list)
    checks: list[Check] = field(default_factory=list)
    measures: list[Measure] = field(default_factory=list)
    skipped: str | None = None
    failed: str | None = None
    about: str = ""
    seconds: float = 0.0

    def add(self, name: str, unit: str, rounds: Mapping[str, Sequence[float]], **labels: str) -> None:
        """Add a measure of several contenders."""
        for contender, values in rounds.items():
            self.measures.append(Measure(name, contender, unit, labels, list(values)))

    def compare(self, name: str, contender: str, other: str) -> None:
        """Add the ratio contender / other wherever both have the measure `name`."""
        by_labels = {tuple(m.labels.items()): m for m in self.measures if m.name == name and m.contender == other}
        for measure in [m for m in self.measures if m.name == name and m.contender == contender]:
            base = by_labels.get(tuple(measure.labels.items()))
            if base is not None:
                rounds = ratios(measure.rounds, base.rounds)
                self.measures.append(Measure(name, f"{contender} / {other}", "x", measure.labels, rounds))

    @property
    def wrong(self) -> list[str]:
        """What was answered wrongly."""
        return [f"{check.what}: {difference}" for check in self.checks for difference in check.differences]

    def as_dict(self) -> dict[str, Any]:
        """Return all of it."""
        return {
            "name": self.name,
            "about": self.about,
            "seconds": round(self.seconds, 1),
            "skipped": self.skipped,
            "failed": self.failed,
            "notes": self.notes,
            "checks": [asdict(check) for check in self.checks],
            "measures": [measure.as_dict() for measure in self.measures],
        }


def write_json(path: Path, document: dict[str, Any]) -> None:
    """Write the whole document; its folder is made where it is missing."""
    path.parent.mkdir(parents=True, exist_ok=True)
    lines = json.dumps(document).replace('{"name": ', '\n{"name": ')  # a line each; in a string it would be \"name\"
    path.write_text(lines + "\n", encoding="utf-8")


def read_json(path: Path) -> dict[str, Any]:
    """Read a document. Raises OSError, and ValueError where it is none of ours."""
    document = json.loads(path.read_text(encoding="utf-8"))
    if not isinstance(document, dict) or document.get("format") != FORMAT:
        raise ValueError(f"{path}: expected a document of format {FORMAT}")
    return document
