"""Which of two entries decides where both name an address: by the rules that decide a request, asked for that pair.

Both are asked for every application that either names, or, where both are for all, for every one that has settings.
"""

from __future__ import annotations

import math
from typing import TYPE_CHECKING, Final, Literal

from authz.addresses import parse_networks
from authz.control.lists.explain import application_settings
from authz.engine.decision.verdict import decide
from authz.engine.model import ANY_APPLICATION, Match
from authz.engine.model import Entry as EngineEntry
from authz.errors import AddressError

if TYPE_CHECKING:
    from collections.abc import Iterable

    from authz.addresses import Network
    from authz.control.model.records import Entry, Written
    from authz.engine.model import Application

Standing = Literal["this", "that", "varies", "same", "neither"]
MAX_PAIRS: Final = 10_000  # of networks that are compared


def standing(written: Written, other: Entry, documents: dict[str, str], now: float) -> Standing:
    """Return which of two entries decides for what both name, as soon as both are in their windows.

    documents: settings of applications. now: seconds since 1970.

    Returns:
        `this`: `written`. `that`: `other`. `varies`: it is up to the application or the address. `same`: both say
        the same. `neither`: no application asks both, or neither of them decides.
    """
    if (written.list, written.action) == (other.list, other.action):
        return "same" if _together(written, other) is not None else "neither"
    names = _together(written, other)
    if names is None:
        return "neither"
    asked = [application_settings(documents, name) for name in names or {*documents, ANY_APPLICATION}]
    at = max(now, written.starts or -math.inf, other.starts or -math.inf)
    lengths = set(_lengths(written, other)) or {(0, 0)}
    deciding = {_decides(application, written, other, pair, at) for application in asked for pair in lengths}
    return "varies" if len(deciding) > 1 else deciding.pop()


def _decides(
    application: Application, written: Written, other: Entry, lengths: tuple[int, int], at: float
) -> Literal["this", "that", "neither"]:
    first, second = _engine_entry(written), _engine_entry(other)
    matches = [Match(first, lengths[0]), Match(second, lengths[1])]
    deciding = decide(application, matches, attack=False, now=at).entry
    return "neither" if deciding is None else "this" if deciding is first else "that"


def _together(written: Written, other: Written) -> set[str] | None:
    """Return the applications that both concern; empty: all; None: there is none."""
    if not written.applications or not other.applications:
        return {*written.applications, *other.applications}
    return {*written.applications} & {*other.applications} or None


def _lengths(written: Written, other: Written) -> Iterable[tuple[int, int]]:
    """Give the lengths of networks that name the same addresses."""
    first, second = _networks(written), _networks(other)
    if len(first) * len(second) > MAX_PAIRS:
        first, second = first[: MAX_PAIRS // 100], second[:100]
    return ((a.length, b.length) for a in first for b in second if a.overlaps(b))


def _networks(written: Written) -> list[Network]:
    try:
        return [network for text in written.networks for network in parse_networks(text)]
    except AddressError:  # what checks the entry tells it
        return []


def _engine_entry(written: Written) -> EngineEntry:
    return EngineEntry(
        id="entry", list=written.list, action=written.action, applications=frozenset(written.applications),
        starts=written.starts, expires=written.expires,
    )  # fmt: skip
