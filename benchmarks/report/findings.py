"""Finding figures in the document of a run: values, quotients, differences and growth, under all their circumstances.

What is compared is paired round by round, and so must have as many rounds.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from operator import truediv
from typing import TYPE_CHECKING, Any, NamedTuple

from benchmarks.report.tables import by_measure

if TYPE_CHECKING:
    from collections.abc import Callable

    Document = dict[str, Any]
    Labels = dict[str, str]
    Find = Callable[[Document], list["Case"]]


class Case(NamedTuple):
    """One figure that an aim speaks of. where: its circumstances, in words; rounds: its value in each round."""

    where: str
    rounds: list[float]


class NotMeasuredError(Exception):
    """The run does not have what an aim speaks of; the text says why."""


@dataclass(frozen=True)
class Figures:
    """Figures of one contender in a part. where: labels and patterns that their values must match as a whole."""

    part: str
    name: str
    contender: str
    unit: str
    where: tuple[tuple[str, str], ...] = ()

    def of(self, document: Document) -> list[tuple[Labels, list[float]]]:
        """Return labels and rounds of all figures. Raises NotMeasuredError where there are none."""
        measured = [
            (measure["labels"], measure["rounds"])
            for measure in by_measure(_part(document, self.part)).get((self.name, self.unit), [])
            if measure["contender"] == self.contender
            and all(re.fullmatch(pattern, measure["labels"].get(label, "")) for label, pattern in self.where)
        ]
        if not measured:
            raise NotMeasuredError(f"no '{self.name}' of {self.contender} in the part {self.part}")
        return measured


def _part(document: Document, name: str) -> dict[str, Any]:
    for part in document["parts"]:
        if part["name"] == name:
            if part["skipped"]:
                raise NotMeasuredError(f"the part {name} was skipped: {part['skipped']}")
            if part.get("failed"):
                raise NotMeasuredError(f"the part {name} failed")
            return dict(part)
    raise NotMeasuredError(f"the part {name} did not run")


def values(figures: Figures) -> Find:
    """Find the figures themselves."""
    return lambda document: [Case(_words(labels), rounds) for labels, rounds in figures.of(document)]


def quotients(above: Figures, below: Figures, *, may_be_missing: bool = False) -> Find:
    """Find above / below, under all circumstances under which either was measured.

    Where one stands alone, they were not compared: that raises NotMeasuredError. With `may_be_missing` the one below
    may be missing, as it is where somebody is too slow for a rate.
    """
    return _pairs(above, below, truediv, may_be_missing=may_be_missing)


def not_to_be_had(why: str) -> Find:
    """Find nothing: what the aim speaks of cannot be measured here."""

    def cases(_: Document) -> list[Case]:
        raise NotMeasuredError(why)

    return cases


def _pairs(
    above: Figures,
    below: Figures,
    combine: Callable[[float, float], float],
    *,
    may_be_missing: bool = False,
) -> Find:
    def cases(document: Document) -> list[Case]:
        ours, others = above.of(document), {_key(labels): rounds for labels, rounds in below.of(document)}
        keys = {_key(labels) for labels, _ in ours}
        lonely = others.keys() - keys if may_be_missing else others.keys() ^ keys
        if lonely:
            texts = "; ".join(sorted(_words(dict(labels)) for labels in lonely))
            raise NotMeasuredError(f"{above.contender} and {below.contender} were not both measured: {texts}")
        return [
            Case(_words(labels), _paired(combine, rounds, others[_key(labels)]))
            for labels, rounds in ours
            if _key(labels) in others
        ]

    return cases


def _paired(combine: Callable[[float, float], float], rounds: list[float], others: list[float]) -> list[float]:
    if len(rounds) != len(others):
        raise NotMeasuredError(f"found {len(rounds)} rounds of one and {len(others)} of the other")
    return list(map(combine, rounds, others))


def growth(small: Figures, large: Figures, label: str) -> Find:
    """Find large / small, figures of one contender whose circumstances differ in one label only."""

    def cases(document: Document) -> list[Case]:
        smaller = {_key(labels, label): rounds for labels, rounds in small.of(document)}
        larger = large.of(document)
        if smaller.keys() != {_key(labels, label) for labels, _ in larger}:
            raise NotMeasuredError(f"{large.contender} was not measured under the same circumstances in both")
        return [
            Case(_words(labels), _paired(truediv, rounds, smaller[_key(labels, label)])) for labels, rounds in larger
        ]

    return cases


def together(*finds: Find) -> Find:
    """Find what all of them find."""
    return lambda document: [case for find in finds for case in find(document)]


def _key(labels: Labels, without: str = "") -> tuple[tuple[str, str], ...]:
    return tuple(sorted((label, value) for label, value in labels.items() if label != without))


def _words(labels: Labels) -> str:
    return ", ".join(labels.values())
