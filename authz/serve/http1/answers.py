"""The answer of an HTTP front to a decision, as the caller wants it; all but client and entry is made once.

The answer to a request that comes again is kept whole.

Every byte in a header is ours: tokens of the policy, and the address in its canonical form.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from authz.engine.decision.outcome import MAX_RENDERED
from authz.serve.http1.messages import Answer, status_line

if TYPE_CHECKING:
    from authz.addresses import Address
    from authz.engine.decision.outcome import Decided, Outcome

# The forms of an answer: whether details are told, and whether a denial is shown. Ours in the memo of an outcome, too.
_PLAIN, _SHOWN, _DETAILS, _SHOWN_DETAILS = -1, -2, -3, -4
_make = tuple.__new__  # of a NamedTuple whose fields are at hand


def answer(decided: Decided, shown: bool, details: bool = True) -> Answer:
    """Return the answer to a caller.

    The hot path calls it without names: each costs as much as a look-up.

    Args:
        decided: The decision.
        shown: Whether a denial has the status and body for the client.
        details: Whether a denial has headers of ours. An allowed request always has: they are for the application.

    """
    outcome, client, rendered = decided
    form = (_SHOWN_DETAILS if shown else _DETAILS) if details else (_SHOWN if shown else _PLAIN)
    if rendered is None:
        return _joined(outcome, client, form, shown=shown, details=details)
    kept = rendered.http
    if kept is not None and kept[0] == form:
        made: Answer = kept[1]
        return made
    made = _joined(outcome, client, form, shown=shown, details=details)
    if len(made.head) + len(made.body) <= MAX_RENDERED:
        rendered.http = form, made
    return made


def _joined(outcome: Outcome, client: Address | None, form: int, *, shown: bool, details: bool) -> Answer:
    """Return the answer for an outcome and a client (None: not known)."""
    if shown and outcome.deny.personal and outcome.status != 200:
        built = _build(outcome, shown=True, details=details, client=client)
    else:
        try:
            built = outcome.memo[form]
        except KeyError:
            built = outcome.memo[form] = _build(outcome, shown=shown, details=details)
    if not details and outcome.status != 200:
        return built
    head, body = built
    if outcome.entry is None:
        if client is None:
            return built
        last = f"X-Authz-Client-Address: {client.text}\r\n"
    elif client is None:
        last = f"X-Authz-Entry: {outcome.entry}\r\n"
    else:
        last = f"X-Authz-Entry: {outcome.entry}\r\nX-Authz-Client-Address: {client.text}\r\n"
    return _make(Answer, (head + last.encode("ascii"), body))


def _build(outcome: Outcome, *, shown: bool, details: bool, client: Address | None = None) -> Answer:
    """Return the answer up to entry and client, which come last."""
    deny = outcome.status != 200
    status = outcome.status if shown or outcome.cannot_decide or not deny else 403
    body = outcome.deny.body_for(client.text if client else None).encode() if deny and shown else b""
    lines: dict[str, object] = {"Content-Length": len(body)}
    if body:
        lines["Content-Type"] = outcome.deny.content_type
    if details or not deny:
        lines |= {
            "X-Authz-Decision": outcome.decision,
            "X-Authz-Reason": outcome.reason,
            "X-Authz-List": outcome.list,
            "X-Authz-Application": outcome.application,
            "X-Authz-Status": outcome.status,
            "X-Authz-Serial": outcome.serial,
            "X-Authz-Layer": outcome.layer,
            "X-Authz-Warnings": ", ".join(outcome.warnings) or None,
            "X-Authz-Dry-Run": outcome.reason if outcome.verdict != outcome.decision else None,
        }
    text = "".join(f"{name}: {value}\r\n" for name, value in lines.items() if value is not None)
    return Answer(status_line(status) + text.encode("ascii"), body)
