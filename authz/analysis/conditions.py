"""Conditions over counts, for pipelines: `newly_denied > 1000000 or entries_removed >= 5`.

    condition   = all-of *( "or" all-of )
    all-of      = comparison *( "and" comparison )
    comparison  = NAME ( ">" / ">=" / "<" / "<=" / "==" / "!=" ) NUMBER

A NUMBER is a whole one, `1_000_000` where that reads better. `and` binds tighter than `or`; there are no parentheses.
"""

from __future__ import annotations

import difflib
import operator
import re
from typing import TYPE_CHECKING, Final, NamedTuple

from authz.errors import InputError, shorten

if TYPE_CHECKING:
    from collections.abc import Callable, Collection, Mapping

OPERATORS: Final[dict[str, Callable[[int, int], bool]]] = {
    ">": operator.gt, ">=": operator.ge, "<": operator.lt, "<=": operator.le, "==": operator.eq, "!=": operator.ne
}  # fmt: skip
_TOKEN = re.compile(r"\s*([A-Za-z_][A-Za-z0-9_]*|[0-9]+(?:_[0-9]+)*(?![A-Za-z0-9_.])|[<>=!]=|[<>]|\S+)")
_NAME = re.compile(r"[A-Za-z_][A-Za-z0-9_]*")
_NUMBER = re.compile(r"[0-9]+(_[0-9]+)*")
MAX_DIGITS = 40  # 2^128 has 39


class Comparison(NamedTuple):
    """One name held against one number."""

    name: str
    operator: str
    number: int

    def holds(self, counts: Mapping[str, int]) -> bool:
        """Return whether it is so."""
        return OPERATORS[self.operator](counts[self.name], self.number)

    def __str__(self) -> str:
        return f"{self.name} {self.operator} {self.number}"


class Condition(NamedTuple):
    """A condition: any of `alternatives`, of each of which all comparisons must hold."""

    alternatives: tuple[tuple[Comparison, ...], ...]

    def holds(self, counts: Mapping[str, int]) -> bool:
        """Return whether it is so. counts: for every name that the condition was read with."""
        return any(all(term.holds(counts) for term in all_of) for all_of in self.alternatives)

    def __str__(self) -> str:
        return " or ".join(" and ".join(map(str, all_of)) for all_of in self.alternatives)


def parse_condition(text: str, names: Collection[str]) -> Condition:
    """Read a condition.

    Args:
        text: The condition.
        names: The names that it may use.

    Raises:
        InputError: It is not a condition. The error says what was found, where, and what was expected.
    """
    tokens = [(match[1], match.start(1)) for match in _TOKEN.finditer(text.rstrip())]
    alternatives: list[tuple[Comparison, ...]] = []
    all_of: list[Comparison] = []
    for place in range(0, max(len(tokens), 1), 4):
        all_of.append(_comparison(tokens[place : place + 3], text, names))
        joint = tokens[place + 3][0] if place + 3 < len(tokens) else None
        if joint not in {"and", "or", None}:
            raise _wrong(tokens[place + 3], "'and', 'or' or the end", names)
        if joint != "and":
            alternatives.append(tuple(all_of))
            all_of = []
        if joint is not None and place + 4 == len(tokens):
            raise _wrong(("", len(text)), f"a comparison after '{joint}'", names)
    return Condition(tuple(alternatives))


def _comparison(tokens: list[tuple[str, int]], text: str, names: Collection[str]) -> Comparison:
    name, sign, number = [*tokens, *[("", len(text))] * 3][:3]
    if not _NAME.fullmatch(name[0]) or name[0] not in names:
        raise _wrong(name, "a name of a count", names)
    if sign[0] not in OPERATORS:
        raise _wrong(sign, f"one of {' '.join(OPERATORS)}", names)
    if not _NUMBER.fullmatch(number[0]) or len(number[0]) > MAX_DIGITS:
        raise _wrong(number, "a whole number", names)
    return Comparison(name[0], sign[0], int(number[0]))


def _wrong(found: tuple[str, int], expected: str, names: Collection[str]) -> InputError:
    token, position = found
    what = f"'{shorten(token)}' at character {position + 1}" if token else "the end"
    close = difflib.get_close_matches(token, names, 1)
    meant = f"did you mean '{close[0]}'? " if close and token not in names else ""
    return InputError(
        f"condition: found {what}, expected {expected}",
        hint=f"{meant}an example: newly_denied > 1000000 or entries_removed >= 5; the names are {', '.join(names)}",
    )
