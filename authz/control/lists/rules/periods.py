"""The window of an entry: from a period ("2h", "forever") or times, to seconds since 1970."""

from __future__ import annotations

from typing import Final

from authz.control.model.problems import FieldMistake, Invalid
from authz.errors import BadValue, shorten
from authz.times import format_moment, parse_duration, parse_moment

DEFAULT_PERIOD: Final = "1h"
SHORTEST: Final = 300  # seconds: a shorter one ends before everybody has it
LONGEST: Final = 100 * 365 * 86400  # seconds; what is longer means forever
FOREVER: Final = "forever"
_EXPECTED = "expected a period such as 5m, 2h or 7d, or forever"


def end_of(
    period: str | None, expires: str | None, now: float, *, default: str | None = None, start: int | None = None
) -> int | None:
    """Return when an entry ends, in seconds since 1970; None: never.

    period, expires: one of them, as written; neither: `default`, and without one never. start: when it begins to
    count, for the period counts from there; None: now. Raises Invalid.
    """
    if period is not None and expires is not None:
        raise Invalid([FieldMistake("/period", "found beside expires, expected one of the two")])
    if expires is not None:
        return None if expires == FOREVER else _moment(expires, now, start)
    text = default if period is None else period
    if text is None or text == FOREVER:
        return None
    end = int((now if start is None else start) + period_seconds(text))
    if start is not None and end - now < SHORTEST:
        over = f"found a start from which the entry lasts until {format_moment(end)}"
        detail = f"{over}, expected at least {SHORTEST} seconds from now"
        raise Invalid([FieldMistake("/starts", detail)])
    return end


def period_seconds(text: str) -> float:
    """Return a period in seconds. Raises Invalid."""
    try:
        seconds = parse_duration(text)
    except BadValue:
        raise Invalid([FieldMistake("/period", f"found '{shorten(text)}', {_EXPECTED}")]) from None
    if not SHORTEST <= seconds <= LONGEST:
        raise Invalid([FieldMistake("/period", f"found '{shorten(text)}', expected 5m to 36500d, or forever")])
    return seconds


def moment(text: str, pointer: str) -> int:
    """Return a time in seconds since 1970. Raises Invalid."""
    try:
        return parse_moment(text)
    except BadValue:
        detail = f"found '{shorten(text)}', expected a time such as 2026-12-01T00:00:00Z"
        raise Invalid([FieldMistake(pointer, detail)]) from None


def _moment(text: str, now: float, start: int | None) -> int:
    seconds = moment(text, "/expires")
    if seconds - (now if start is None else max(start, now)) < SHORTEST:
        detail = f"found '{shorten(text)}', expected a time at least {SHORTEST} seconds from the start"
        raise Invalid([FieldMistake("/expires", detail)])
    return seconds
