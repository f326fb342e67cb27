"""Why a request is decided as it is, step by step: for `authz explain` and the admin listener's /explain."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING, Any

from authz.engine.decision.verdict import DECIDED, only_warns
from authz.errors import shorten
from authz.times import format_moment

if TYPE_CHECKING:
    from authz.engine.decision.decider import Decider
    from authz.engine.decision.outcome import Outcome
    from authz.engine.entries.opened_snapshot import Covering
    from authz.engine.model import Application, Entry
    from authz.engine.request.request import Request


def explain(decider: Decider, request: Request, now: float, most: int | None = None) -> dict[str, Any]:
    """Return every step of a decision.

    Args:
        decider: Decides; its ruleset may be swapped meanwhile.
        request: The parts of it that the decision uses.
        now: Seconds since 1970.
        most: How many entries to return, the longest prefix first; each takes some 10 us. None: all.

    Returns:
        As in JSON: `time`; `layers`, what decides; `walk`, each element of the forwarding chain and its verdict;
        `application`, its settings; `unknown_application`, the name that was asked for, if the policy does not have it;
        `applications`, the names of the policy; `covering`, each entry that covers the client, and its verdict; `more`,
        how many others do; `decision`.
    """
    decider = decider.pinned()
    outcome, client = decider.check(request, now)
    ruleset = decider.ruleset
    known = () if ruleset is None else ruleset.applications
    application = None if ruleset is None else ruleset.settings_of(outcome.application)
    covering = decider.covering(request, client)
    shown = covering[:most]
    return {
        "time": format_moment(now),
        "layers": _layers(decider, now),
        "walk": [step._asdict() for step in decider.steps(request)],
        "application": None if application is None else _settings(application),
        "unknown_application": _asked(request) if outcome.unknown else None,
        "applications": [a.name for a in known],
        "covering": [_covering(match, application, outcome, now) for match in shown],
        "more": len(covering) - len(shown),
        "decision": outcome.as_dict(client),
    }


def _asked(request: Request) -> str:
    """Return what a request asks for, for people."""
    if request.application:
        return shorten(request.application)
    return f"none, with the host {shorten(request.host)}" if request.host else "none, with no host"


def _layers(decider: Decider, now: float) -> list[dict[str, Any]]:
    """Return the layers that decide, and those that are missing."""
    lapses = {lapse.layer: f"{lapse.reason}: {lapse.then}" for lapse in decider.lapses(now)}
    ruleset = decider.ruleset
    files = {} if ruleset is None else ruleset.layers
    layers: list[dict[str, Any]] = [
        {
            "layer": name,
            "serial": file.serial,
            "created": format_moment(file.created),
            "expires": format_moment(None if math.isinf(file.expires) else file.expires),
            "lapse": lapses.pop(name, None),
        }
        for name, file in files.items()
    ]
    missing = {"serial": None, "created": None, "expires": None}
    return layers + [{"layer": name, **missing, "lapse": lapse} for name, lapse in lapses.items()]


def _covering(covering: Covering, application: Application | None, outcome: Outcome, now: float) -> dict[str, Any]:
    entry, network, layer = covering
    return {
        "entry": entry.id,
        "layer": layer,
        "list": entry.list,
        "network": str(network),
        "window": _window(entry.starts, entry.expires),
        "added": format_moment(entry.added, "not known"),
        "applications": sorted(entry.applications),
        "reason": entry.reason,
        "author": entry.author,
        "subjects": list(entry.subjects),
        "verdict": "" if application is None else _verdict(application, covering, outcome, now),
    }


def _window(starts: float | None, expires: float | None) -> str:
    if starts is None:
        return "always" if expires is None else f"until {format_moment(expires)}"
    end = "on" if expires is None else f"to {format_moment(expires)}"
    return f"from {format_moment(starts)} {end}"


def _settings(application: Application) -> dict[str, Any]:
    names = ("name", "mode", "default", "precedence", "match", "dry_run", "denylist_in_monitoring")
    return {name: getattr(application, name) for name in names}


def _verdict(application: Application, covering: Covering, outcome: Outcome, now: float) -> str:
    entry = covering.entry
    verdict = _part(application, covering, outcome, now)
    if entry.added is None or entry.added <= now:
        return verdict
    return f"{verdict}; the entry was not there yet: it was added {format_moment(entry.added)}"


def _part(application: Application, covering: Covering, outcome: Outcome, now: float) -> str:
    decides = (covering.layer, covering.entry.id) == (outcome.layer, outcome.entry)
    undecided = outcome.reason if outcome.entry is None and outcome.reason not in DECIDED else ""
    return part_of(application, covering.entry, now, decides=decides, undecided=undecided)


def part_of(application: Application, entry: Entry, now: float, *, decides: bool, undecided: str = "") -> str:
    """Return what part an entry that covers a client has in a decision.

    Args:
        application: Whose settings the decision follows.
        entry: An entry that covers the client.
        now: Seconds since 1970.
        decides: Whether the decision names it.
        undecided: The reason of an answer that no list gave, such as `no_client_address`; empty: the lists decided.
    """
    if not entry.concerns(application.name):
        return "dropped: not for this application"
    if not entry.active(now):
        return "dropped: out of its window"
    if only_warns(application, entry):
        return "reported as a warning only"
    if decides:
        return "decides"
    if undecided:
        return f"not looked at: {undecided}"
    if entry.list == "gray" and application.mode != "safe_blocking":
        return f"not looked at in mode {application.mode}"
    return f"loses by precedence {application.precedence}"
