"""How values read on a page: times, numbers, whom an entry names; and what would hide or turn text, made visible."""

from __future__ import annotations

import re
import unicodedata
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any, Final

from markupsafe import Markup, escape

from authz.control.api.common.bodies import micro_moment
from authz.control.console.look.differences import REASONS, changed
from authz.control.console.look.refusals import refusal_text
from authz.control.model.records import FOREVER, MICROSECONDS, SUBJECTS
from authz.times import format_duration

if TYPE_CHECKING:
    from collections.abc import Callable

    from authz.control.model.records import Written

MAX_SHOWN: Final = 300  # characters of a text in a table
# Controls (but for tab and line feed), marks that turn the direction of writing, and what takes no room at all.
_HIDDEN: Final = re.compile("[\x00-\x08\x0b-\x1f\x7f-\x9f\u00ad\u061c\u200b-\u200f\u2028-\u202e\u2060-\u206f\ufeff]")
_TIME: Final = re.compile(r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\dZ")
KINDS: Final = {
    "networks": "network", "hosts": "host", "countries": "country", "regions": "region", "continents": "continent",
    "asns": "AS", "sources": "source",
}  # fmt: skip


def visible(value: Any) -> Any:
    """Return a value as a page shows it: what hides or turns text by its code. Markup of ours stays as it is."""
    if isinstance(value, Markup) or not isinstance(value, str):
        return value
    return _HIDDEN.sub(lambda match: f"\\u{ord(match[0]):04x}", value) if _HIDDEN.search(value) else value


def exact(value: object) -> Markup:
    """Return a value for a field of a form: escaped, otherwise as it is, so that it comes back unchanged."""
    return escape("" if value is None else value)


def clamp(value: str, most: int = MAX_SHOWN) -> str:
    """Return the beginning of a long text, and how long it is."""
    return value if len(value) <= most else f"{value[:most]}… ({len(value):,} characters)"


def moment(microseconds: int | None, absent: str = "never") -> Markup | str:
    """Return a time of record as an element that the browser shows in the viewer's zone, UTC on hover."""
    if microseconds is None or microseconds >= FOREVER:
        return absent
    at = datetime.fromtimestamp(microseconds / MICROSECONDS, UTC)
    text = f"{at:%Y-%m-%d %H:%M}"
    return Markup('<time datetime="{}" title="{} UTC">{} UTC</time>').format(
        f"{at:%Y-%m-%dT%H:%M:%SZ}", f"{at:%Y-%m-%d %H:%M:%S}", text
    )


def ago(microseconds: int) -> Markup:
    """Return a time in the same way, for where how long ago says enough: the browser shows only that."""
    return Markup('<span class="ago">{}</span>').format(moment(microseconds))


def stamp(microseconds: int) -> str:
    """Return a time of record for an address, to the microsecond."""
    return micro_moment(microseconds)


def rfc(text: str | None, absent: str = "never") -> Markup | str:
    """Return a time that the API gives as text in the same way as `moment`."""
    return absent if text is None else moment(int(datetime.fromisoformat(text).timestamp() * MICROSECONDS))


def dated(text: str) -> Markup | str:
    """Return a text; where it is a time of ours, as `moment` shows one."""
    return rfc(text) if _TIME.fullmatch(text) else text


def seconds(value: float | None, absent: str = "never") -> Markup | str:
    """Return a time of effect in the same way."""
    return absent if value is None else moment(int(value) * MICROSECONDS, absent)


def field_time(value: int | None) -> str:
    """Return a time (seconds) for a field of a form, in UTC."""
    return "" if value is None else f"{datetime.fromtimestamp(value, UTC):%Y-%m-%dT%H:%M}"


def number(value: float) -> str:
    """Return 1234567 as 1,234,567."""
    return f"{value:,}"


def short_number(value: float) -> str:
    """Return 1234567 as 1.2 M; what has up to four digits stays whole."""
    for least, unit_size, unit in ((1e9, 1e9, "G"), (1e6, 1e6, "M"), (1e4, 1e3, "k")):
        if value >= least:
            return f"{value / unit_size:.1f}".removesuffix(".0") + f" {unit}"
    return f"{value:,.0f}"


def share(percent: float) -> str:
    """Return a share as 0.4 %, 12 %, 99.8 %: what is not nothing, and not all, never reads so."""
    digits = 0 if percent in {0, 100} or 10 <= percent <= 90 else 1
    return f"{min(max(percent, 0.1), 99.9) if 0 < percent < 100 else percent:.{digits}f} %"


def size(value: float) -> str:
    """Return bytes as 1.2 MB."""
    return f"{value:g} B" if value < 1000 else f"{value / 1000:,.1f} kB" if value < 1e6 else f"{value / 1e6:,.1f} MB"


def subjects(written: Written) -> list[tuple[str, str]]:
    """Return whom an entry names, each with its kind."""
    return [(KINDS[kind], str(value)) for kind in SUBJECTS for value in getattr(written, kind)]


def field_lines(values: tuple[object, ...]) -> str:
    """Return values for a text area, one a line."""
    return "\n".join(str(value) for value in values)


def initials(name: str) -> str:
    """Return a letter for a name."""
    return next((c.upper() for c in name if unicodedata.category(c).startswith(("L", "N"))), "?")


def plural(count: int, singular: str, many: str = "") -> str:
    """Return `1 entry`, `2,000 entries`."""
    return f"{count:,} {singular if count == 1 else many or singular + 's'}"


FILTERS: Final[dict[str, Callable[..., Any]]] = {
    "exact": exact, "clamp": clamp, "moment": moment, "seconds": seconds, "number": number, "size": size,
    "short_number": short_number, "subjects": subjects, "field_time": field_time, "field_lines": field_lines,
    "initials": initials, "stamp": stamp, "rfc": rfc, "dated": dated, "duration": format_duration,
    "ago": ago, "share": share, "refusal": refusal_text,
}  # fmt: skip
GLOBALS: Final[dict[str, Any]] = {"plural": plural, "changed": changed, "reasons": REASONS}
