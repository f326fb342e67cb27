"""Which measures are drawn in which shape, by their labels: curves of percentiles, lines against a size, bars, stacks.

A line needs a contender with lists of several sizes. A contender with one size only is shown in curves or bars,
together with all others at that size: so each figure is drawn beside those that it compares with. What adds up is
stacked: the kinds of memory of a process.
"""

from __future__ import annotations

import re
from typing import Any, Final, NamedTuple

Measure = dict[str, Any]  # as in JSON
Measures = list[Measure]

STACKED: Final = ("own (RssAnon)", "code (RssFile)", "snapshot (RssShmem)")  # which add up to the total
STACK_TOTAL: Final = "resident (VmRSS)"
STACK_MARK: Final = "at most (VmHWM)"
PERCENTILES: Final = ("p50", "p90", "p99", "p99.9", "worst")
MORE_IS_BETTER: Final = ("1/s",)  # units
_FAR_APART: Final = 300.0  # largest / smallest
_AGAINST_SIZE: Final = ("p50", "p99")  # those that are drawn against the size
_NUMBER: Final = re.compile(r"(?<![\w.])\d[\d,]*(?![\w.])")


class Shapes(NamedTuple):
    """The same measures, some of them in two shapes."""

    curves: Measures
    lines: Measures
    bars: Measures
    dots: Measures
    stacks: Measures


def shapes(measures: Measures) -> Shapes:
    """Return which of some measures are drawn in which shape."""
    if {STACK_TOTAL, STACK_MARK, *STACKED} <= {measure["contender"] for measure in measures}:
        return Shapes([], [], [], [], measures)
    curved = [measure for measure in measures if percentile(measure["labels"])]
    plain = [measure for measure in measures if not percentile(measure["labels"])]
    common = [measure for measure in curved if percentile(measure["labels"]) in _AGAINST_SIZE]
    rows = _of_one_size(plain)
    far = _groups_far_apart(rows)
    near = [measure for measure in rows if measure not in far]
    return Shapes(_of_one_size(curved), _of_several_sizes(plain + common), near, far, [])


def _groups_far_apart(measures: Measures) -> Measures:
    """Return the measures of those circumstances under which the shortest bar would not be seen beside the longest."""
    groups: dict[str, Measures] = {}
    for measure in measures:
        if measure["unit"] not in MORE_IS_BETTER:  # there a bar too short to be seen is right
            groups.setdefault(without_percentile(measure["labels"]), []).append(measure)
    far: Measures = []
    for group in groups.values():
        values = [measure["median"] for measure in group]
        if min(values) > 0 and max(values) / min(values) > _FAR_APART:
            far += group
    return far


def _of_several_sizes(measures: Measures) -> Measures:
    """Return the measures of those contenders that have lists of several sizes under the same circumstances."""
    sizes = _sizes(measures)
    return [measure for measure in measures if len(sizes[_circumstances(measure), measure["contender"]]) > 1]


def _of_one_size(measures: Measures) -> Measures:
    """Return the measures whose size is the only one of some contender, under the same circumstances."""
    sizes = _sizes(measures)
    single = {(where, size) for (where, _), here in sizes.items() if len(here) == 1 for size in here}
    return [measure for measure in measures if (_circumstances(measure), networks(measure["labels"])) in single]


def _sizes(measures: Measures) -> dict[tuple[str, str], set[int | None]]:
    """Return the sizes that were measured, by circumstances and contender."""
    sizes: dict[tuple[str, str], set[int | None]] = {}
    for measure in measures:
        key = _circumstances(measure), measure["contender"]
        sizes.setdefault(key, set()).add(networks(measure["labels"]))
    return sizes


def percentile(labels: dict[str, str]) -> str | None:
    """Return which percentile it is, None where it is none."""
    return next((value for value in labels.values() if value in PERCENTILES), None)


def networks(labels: dict[str, str]) -> int | None:
    """Return how many networks a list has: the label `networks`, or the number in `table`; None where neither is."""
    match = _NUMBER.search(labels.get("networks") or labels.get("table", ""))
    return int(match[0].replace(",", "")) if match else None


def _circumstances(measure: Measure) -> str:
    return without_size(measure["labels"])


def without_size(labels: dict[str, str]) -> str:
    """Return the circumstances but for the size, as `BGP IPv4, hit` or `4,000/s, p99`."""
    texts = [
        _NUMBER.sub("", value).replace("  ", " ").strip() if label == "table" else value
        for label, value in labels.items()
        if label != "networks"
    ]
    return ", ".join(text for text in texts if text)


def without_percentile(labels: dict[str, str]) -> str:
    """Return the circumstances but for the percentile, as `4,000/s, 1,000 networks`."""
    return ", ".join(
        f"{value} networks" if label == "networks" else value
        for label, value in labels.items()
        if value and value not in PERCENTILES
    )
