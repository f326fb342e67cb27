"""The answer of an HTTP front to a decision, as the caller wants it; all but client and entry is made once.

The answer to a request that comes again is kept whole.

Every byte in a header is ours: tokens of the policy, and the address in its canonical form.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

from authz.engine.decision.outcome import MAX_RENDERED
from authz.serve.http1.messages import Answer, status_line

if TYPE_CHECKING:
    from authz.addresses import Address
    from authz.engine.decision.outcome import Decided, Outcome

# The forms of an answer. In the memo of an outcome they are our keys, too.
AUTH: Final = -1  # 200 or 403 without a body, and all headers of ours
NGINX: Final = -2  # 204 or 403, and those headers that the printed nginx.conf reads: each costs nginx time
FORWARD: Final = -3  # a denial has the status and the body for the client, and no header of ours
FORWARD_DETAILS: Final = -4  # the same, and our headers
_SHOWN: Final = frozenset({FORWARD, FORWARD_DETAILS})
_OK: Final = 200
_NO_CONTENT: Final = 204  # needs no Content-Length, and nginx reads none
_make = tuple.__new__  # of a NamedTuple whose fields are at hand


def answer(decided: Decided, form: int) -> Answer:
    """Return the answer to a caller.

    Args:
        decided: The decision.
        form: One of the forms above. An allowed request always has headers of ours: they are for the application.

    """
    outcome, client, rendered = decided
    if rendered is None:
        return _joined(outcome, client, form)
    kept = rendered.http
    if kept is not None and kept[0] == form:
        made: Answer = kept[1]
        return made
    made = _joined(outcome, client, form)
    if len(made.head) + len(made.body) <= MAX_RENDERED:
        rendered.http = form, made
    return made


def _joined(outcome: Outcome, client: Address | None, form: int) -> Answer:
    """Return the answer for an outcome and a client (None: not known)."""
    if form in _SHOWN and outcome.deny.personal and outcome.status != _OK:
        built = _build(outcome, form, client)
    else:
        try:
            built = outcome.memo[form]
        except KeyError:
            built = outcome.memo[form] = _build(outcome, form)
    if form == FORWARD and outcome.status != _OK:
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


def _build(outcome: Outcome, form: int, client: Address | None = None) -> Answer:
    """Return the answer up to entry and client, which come last."""
    deny, shown = outcome.status != _OK, form in _SHOWN
    status = outcome.status if shown or outcome.cannot_decide or not deny else 403
    if form == NGINX and status == _OK:
        status = _NO_CONTENT
    body = outcome.deny.body_for(client.text if client else None).encode() if deny and shown else b""
    lines: dict[str, object] = {} if status == _NO_CONTENT else {"Content-Length": len(body)}
    if body:
        lines["Content-Type"] = outcome.deny.content_type
    if form != FORWARD or not deny:
        lines |= _told(outcome)
        if form != NGINX:
            lines |= {
                "X-Authz-Status": outcome.status,
                "X-Authz-Serial": outcome.serial,
                "X-Authz-Layer": outcome.layer,
            }
    text = "".join(f"{name}: {value}\r\n" for name, value in lines.items() if value is not None)
    return Answer(status_line(status) + text.encode("ascii"), body)


def _told(outcome: Outcome) -> dict[str, object]:
    """Return what every caller reads, as headers by name; None: there is nothing to tell.

    What is nearly always there comes first: nginx compares names one by one, from the first header on.
    """
    return {
        "X-Authz-Decision": outcome.decision,
        "X-Authz-Reason": outcome.reason,
        "X-Authz-List": outcome.list,
        "X-Authz-Application": outcome.application,
        "X-Authz-Warnings": ", ".join(outcome.warnings) or None,
        "X-Authz-Dry-Run": outcome.reason if outcome.verdict != outcome.decision else None,
    }
