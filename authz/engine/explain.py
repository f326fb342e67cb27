"""Why a request is decided as it is, step by step: for `authz explain` and the admin listener's /explain."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from authz.engine.verdict import only_warns
from authz.times import format_moment

if TYPE_CHECKING:
    from authz.engine.decider import Decider
    from authz.engine.decision import Outcome
    from authz.engine.model import Application, Entry
    from authz.engine.request import Request


def explain(decider: Decider, request: Request, now: float) -> dict[str, Any]:
    """Return every step of a decision. now: seconds since 1970.

    Keys: time, walk (each element of the chain and what became of it), application (its settings), covering (each entry
    that covers the client, and what became of it), decision.
    """
    decider = decider.pinned()
    outcome, client = decider.check(request, now)
    known = () if decider.ruleset is None else decider.ruleset.applications
    application = next((a for a in known if a.name == outcome.application), None)
    return {
        "time": format_moment(now),
        "walk": [step._asdict() for step in decider.steps(request)],
        "application": None if application is None else _settings(application),
        "covering": [
            {
                "entry": entry.id,
                "layer": layer,
                "list": entry.list,
                "network": str(network),
                "window": f"{format_moment(entry.starts, 'always')} to {format_moment(entry.expires)}",
                "applications": sorted(entry.applications),
                "reason": entry.reason,
                "author": entry.author,
                "subjects": list(entry.subjects),
                "verdict": "" if application is None else _verdict(application, entry, outcome, now),
            }
            for entry, network, layer in decider.covering(request, client)
        ],
        "decision": outcome.as_dict(client),
    }


def _settings(application: Application) -> dict[str, Any]:
    names = ("name", "mode", "default", "precedence", "match", "dry_run", "denylist_in_monitoring")
    return {name: getattr(application, name) for name in names}


def _verdict(application: Application, entry: Entry, outcome: Outcome, now: float) -> str:
    if not entry.concerns(application.name):
        return "dropped: not for this application"
    if not entry.active(now):
        return "dropped: out of its window"
    if only_warns(application, entry):
        return "reported as a warning only"
    if entry.id == outcome.entry:
        return "decides"
    if entry.list == "gray" and application.mode != "safe_blocking":
        return f"not looked at in mode {application.mode}"
    return f"loses by precedence {application.precedence}"
