"""The answer to a request, but for the client's address: what can be known of many requests at once."""

from __future__ import annotations

import math
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, Final, Literal

from authz.engine.model import DenyAnswer

if TYPE_CHECKING:
    from authz.addresses import Address
    from authz.engine.model import Application, ListName
    from authz.engine.verdict import Verdict

UNKNOWN_APPLICATION: Final = "unknown_application"
NO_SNAPSHOT: Final = "no_snapshot"
STALE_SNAPSHOT: Final = "stale_snapshot"
MALFORMED_REQUEST: Final = "malformed_request"
REQUEST_TOO_LARGE: Final = "request_too_large"
INTERNAL_ERROR: Final = "internal_error"

CANNOT_DECIDE: Final = 503  # the status of an answer that is no decision


@dataclass(frozen=True, slots=True, eq=False)
class Outcome:
    """A decision but for the client's address. Immutable: it is the answer to the next request, too.

    Attributes:
        decision: the answer.
        reason: why, a token.
        list: the list of the entry that decided; `none` without one.
        entry: the id of the entry that decided.
        application: its name; `*` for one that the policy does not name.
        serial: of the snapshot; None before the first.
        status: 200, the status for a denied client, or 503 for "cannot decide".
        enforced: false under dry_run: the answer is allow whatever the reason.
        warnings: ids of entries that would have decided, had they not been told to only warn.
        deny: what a denied client is shown.
        since, until: seconds since 1970 between which it holds.
        memo: what renderers made of it, each under keys of its own. Shared by all outcomes that differ only in `entry`,
            `since` and `until`, so nothing in it may depend on these.

    """

    decision: Literal["allow", "deny"]
    reason: str
    list: ListName | Literal["none"]
    entry: str | None
    application: str
    serial: int | None
    status: int
    enforced: bool
    warnings: tuple[str, ...]
    deny: DenyAnswer
    since: float = -math.inf
    until: float = math.inf
    memo: dict[object, Any] = field(default_factory=dict)

    @property
    def cannot_decide(self) -> bool:
        """Whether the answer is that there can be none."""
        return self.status == CANNOT_DECIDE

    def as_dict(self, client: Address | None) -> dict[str, Any]:
        """Return the decision as in the decision log and in replay."""
        return {
            "decision": self.decision,
            "reason": self.reason,
            "list": self.list,
            "entry": self.entry,
            "client": client.text if client else None,
            "application": self.application,
            "serial": self.serial,
            "status": self.status,
            "enforced": self.enforced,
            "warnings": [*self.warnings],
        }


def make_outcome(
    application: Application,
    verdict: Verdict,
    serial: int | None,
    *,
    cannot: bool = False,
    memo: dict[object, Any] | None = None,
) -> Outcome:
    """Return the outcome of a verdict. cannot: a denial means "cannot decide". memo: of outcomes that are alike."""
    enforced = not application.dry_run
    decision = verdict.decision if enforced else "allow"
    deny = DenyAnswer(CANNOT_DECIDE) if cannot else application.deny
    return Outcome(
        decision=decision,
        reason=verdict.reason,
        list=verdict.list,
        entry=verdict.entry.id if verdict.entry else None,
        application=application.name,
        serial=serial,
        status=200 if decision == "allow" else deny.status,
        enforced=enforced,
        warnings=verdict.warnings,
        deny=deny,
        since=verdict.since,
        until=verdict.until,
        memo={} if memo is None else memo,
    )
