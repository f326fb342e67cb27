"""Why a request is decided as it is, step by step: for `authz explain` and the admin listener's /explain."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from authz.engine.attack_signal import header_signals
from authz.engine.decider import Request
from authz.engine.verdict import only_warns
from authz.times import format_moment

if TYPE_CHECKING:
    from collections.abc import Iterable

    from authz.addresses import Address
    from authz.engine.decider import Decider, Outcome
    from authz.engine.model import Application, Entry
    from authz.serve.config import Config


def make_request(
    config: Config, peer: str | None, headers: Iterable[tuple[str, str]], application: str | None
) -> Request:
    """Return the request that a front would make of these headers. peer: None for a unix socket."""
    lower = [(name.lower(), value) for name, value in headers]
    forwarded = [value for name, value in lower if name == config.client_address.header]
    host = next((value for name, value in reversed(lower) if name in {"host", ":authority"}), "")
    signal = config.attack_signal.header
    attack = signal is not None and any(header_signals(value) for name, value in lower if name == signal)
    return Request(peer, forwarded, application, host, attack)


def request_from(
    config: Config, given: Address, peer: str | None, headers: list[tuple[str, str]], application: str | None
) -> Request:
    """Return the request of a client as an operator asks about it.

    Without a peer the client connects itself. With one and no headers, the peer says in the configured header who
    the client is, as a proxy would. peer: `unix:` for a unix socket.
    """
    if peer is None:
        return make_request(config, given.text, headers, application)
    if not headers:
        name = config.client_address.header
        text = f'for="[{given.text}]"' if given.version == 6 else f"for={given.text}"
        headers = [(name, text if name == "forwarded" else given.text)]
    return make_request(config, None if peer.startswith("unix:") else peer, headers, application)


def explain(decider: Decider, request: Request, now: float) -> dict[str, Any]:
    """Return every step of a decision. now: seconds since 1970.

    Keys: time, walk (each element of the chain and what became of it), application (its settings), covering (each entry
    that covers the client, and what became of it), decision.
    """
    outcome, client = decider.check(request, now)
    loaded = decider.loaded
    # A snapshot that was loaded since the check may not have the application any more.
    known = () if loaded is None else loaded.applications
    application = next((a for a in known if a.name == outcome.application), None)
    return {
        "time": format_moment(now),
        "walk": [step._asdict() for step in decider.steps(request)],
        "application": None if application is None else _settings(application),
        "covering": [
            {
                "entry": entry.id,
                "list": entry.list,
                "network": str(network),
                "window": f"{format_moment(entry.starts, 'always')} to {format_moment(entry.expires)}",
                "applications": sorted(entry.applications),
                "reason": entry.reason,
                "author": entry.author,
                "subjects": list(entry.subjects),
                "verdict": "" if application is None else _verdict(application, entry, outcome, now),
            }
            for entry, network in decider.covering(request, client)
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
