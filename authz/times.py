"""Times and durations as text: RFC 3339 in UTC, and `250ms`, `10s`, `5m`, `24h`, `7d`."""

from __future__ import annotations

import re
from datetime import UTC, datetime

from authz.errors import BadValue

MOMENT_EXPECTED = "a time such as 2026-12-01T00:00:00Z"
DURATION_EXPECTED = "a duration such as 250ms, 10s, 5m, 24h or 7d"
_UNITS = {"ms": 0.001, "s": 1.0, "m": 60.0, "h": 3600.0, "d": 86400.0}
_DURATION = re.compile(r"(0|[1-9][0-9]{0,8})(ms|s|m|h|d)")
_MOMENT = re.compile(r"\d{4}-\d\d-\d\d[Tt ]\d\d:\d\d:\d\d(\.\d{1,6})?([Zz]|[+-]\d\d:\d\d)", re.ASCII)


def parse_moment(text: str) -> int:
    """Return a time (RFC 3339) in seconds since 1970.

    Args:
        text: Such as `2026-12-01T00:00:00Z`.

    Raises:
        BadValue: It is not such a time.
    """
    if not _MOMENT.fullmatch(text):
        raise BadValue(text, MOMENT_EXPECTED, hint=_meant_moment(text))
    try:
        return int(datetime.fromisoformat(text.upper()).astimezone(UTC).timestamp())
    except OverflowError:  # the year 1 or 9999, with an offset
        raise BadValue(text, MOMENT_EXPECTED) from None
    except ValueError as error:  # a month 13
        raise BadValue(text, MOMENT_EXPECTED, hint=str(error)) from None


def _meant_moment(text: str) -> str:
    """Return what to write for a date without a time, or a time without a zone, as a hint."""
    for behind in ("T00:00:00Z", "Z"):
        if _MOMENT.fullmatch(text + behind):
            return f"did you mean '{text}{behind}'?"
    return ""


def parse_time_or_period(text: str, now: float) -> float:
    """Return a time in seconds since 1970: RFC 3339, or a period after `now`, or before it with a `-`.

    Raises:
        BadValue: It is neither.

    """
    try:
        return now - parse_duration(text[1:]) if text.startswith("-") else now + parse_duration(text)
    except BadValue:
        pass
    try:
        return parse_moment(text)
    except BadValue as error:
        raise BadValue(text, f"{MOMENT_EXPECTED}, or a period from now such as 2h or -30m", hint=error.hint) from None


def format_moment(seconds: float | None, absent: str = "never") -> str:
    """Return a time (seconds since 1970) as text, `absent` for None."""
    if seconds is None:
        return absent
    try:
        return datetime.fromtimestamp(int(seconds), UTC).isoformat().replace("+00:00", "Z")
    except (OverflowError, OSError, ValueError):  # before the year 1 or behind the year 9999
        return f"{int(seconds)} seconds since 1970"


def parse_duration(text: str) -> float:
    """Return a duration in seconds.

    Args:
        text: Such as `250ms` or `7d`.

    Raises:
        BadValue: It is not such a duration.
    """
    match = _DURATION.fullmatch(text)
    if not match:
        units = f"a number needs a unit: {text}s, {text}m, {text}h or {text}d"
        raise BadValue(text, DURATION_EXPECTED, hint=units if _DURATION.fullmatch(f"{text}s") else "")
    return int(match[1]) * _UNITS[match[2]]


def format_duration(seconds: float) -> str:
    """Return seconds as `parse_duration` takes them, in the largest unit that leaves a whole number: 5400 is `90m`."""
    for unit in ("d", "h", "m", "s"):
        if seconds and seconds % _UNITS[unit] == 0:
            return f"{int(seconds // _UNITS[unit])}{unit}"
    return f"{round(seconds * 1000)}ms" if seconds else "0s"
