"""The answer to a request, but for the client's address: what can be known of many requests at once."""

from __future__ import annotations

import math
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, Final, Literal

from authz.engine.model import DenyAnswer

if TYPE_CHECKING:
    from typing import TypeAlias

    from authz.addresses import Address
    from authz.engine.decision.verdict import Verdict
    from authz.engine.model import Application, ListName

    # The decision of one request: the outcome; the client's address, None: not known; and, of a request that has come
    # before (the same peer, forwarding header, application and host), what was made of it. A plain tuple, for one is
    # made for each request: a named one takes three times as long.
    Decided: TypeAlias = tuple["Outcome", Address | None, "Rendered | None"]

UNKNOWN_APPLICATION: Final = "unknown_application"
NO_SNAPSHOT: Final = "no_snapshot"
STALE_SNAPSHOT: Final = "stale_snapshot"
MALFORMED_REQUEST: Final = "malformed_request"
REQUEST_TOO_LARGE: Final = "request_too_large"
INTERNAL_ERROR: Final = "internal_error"

CANNOT_DECIDE: Final = 503  # the status of an answer that is no decision
MAX_RENDERED: Final = 1024  # bytes of what is kept in a place of Rendered


@dataclass(frozen=True, slots=True, eq=False)
class Outcome:
    """A decision, without the client's address. Immutable, because it may also answer the next request.

    Attributes:
        decision: The answer: `allow` or `deny`.
        verdict: The decision before `dry_run` is applied, which always answers allow.
        reason: Why, as a token such as `denylisted`.
        list: The list of the entry that decided; `none` if no entry did.
        entry: The id of the entry that decided.
        layer: The layer of the entry that decided, or the missing layer; None if the settings of the policy decided.
        serial: The serial of that layer, otherwise of the policy; None before the first snapshot.
        application: The name of the application; `*` if the policy does not have it.
        unknown: Whether the policy does not have the application.
        status: 200, the status for a denied client, or 503 for "cannot decide".
        enforced: False under dry_run.
        warnings: Ids of entries that would have decided, but only warn; at most `verdict.MAX_WARNINGS`.
        warning_layers: Their layers, in the same order.
        deny: What a denied client is shown.
        since: The outcome is valid from this time on (seconds since 1970).
        until: The outcome is valid before this time (seconds since 1970).
        memo: What renderers made of it, each under keys of its own. Shared by all outcomes that differ only in `entry`,
            `since` and `until`, so nothing in it may depend on these.

    """

    decision: Literal["allow", "deny"]
    verdict: Literal["allow", "deny"]
    reason: str
    list: ListName | Literal["none"]
    entry: str | None
    layer: str | None
    serial: int | None
    application: str
    unknown: bool
    status: int
    enforced: bool
    warnings: tuple[str, ...]
    warning_layers: tuple[str, ...]
    deny: DenyAnswer
    since: float = -math.inf
    until: float = math.inf
    memo: dict[object, Any] = field(default_factory=dict)

    @property
    def cannot_decide(self) -> bool:
        """Whether the answer is that there can be none."""
        return self.status == CANNOT_DECIDE

    @property
    def warned(self) -> bool:
        """Whether the request is let through though something speaks against the client.

        That is an entry with `action: warn`, a deny list that `denylist_in_monitoring: false` only reports, or a denial
        that `dry_run` holds back.
        """
        return self.decision == "allow" and (bool(self.warnings) or self.verdict == "deny")

    def as_dict(self, client: Address | None) -> dict[str, Any]:
        """Return the decision as in the decision log and in replay.

        Args:
            client: The client's address; None: not known.

        Returns:
            The decision as in JSON, with the keys of the decision log.
        """
        return {
            "decision": self.decision,
            "reason": self.reason,
            "list": self.list,
            "entry": self.entry,
            "layer": self.layer,
            "client": client.text if client else None,
            "application": self.application,
            "serial": self.serial,
            "status": self.status,
            "enforced": self.enforced,
            "warnings": [*self.warnings],
        }


class Rendered:
    """What renderers have made of a decision for a request that comes again, each in a place of its own; None: nothing.

    check: the answer to a CheckRequest. http: the answer to an HTTP request, behind the number of its form. line: the
    part of a log line that such requests share, behind the name of the front.
    """

    __slots__ = ("check", "http", "line")

    def __init__(self) -> None:
        self.check: bytes | None = None
        self.http: tuple[int, Any] | None = None
        self.line: tuple[str, str] | None = None


class _Draft(Outcome):
    """An outcome that is being made. The `__init__` of a frozen class takes as long as half a check."""

    __slots__ = ()
    __setattr__ = object.__setattr__


def make_outcome(
    application: Application,
    verdict: Verdict,
    serial: int | None,
    *,
    unknown: bool = False,
    cannot: bool = False,
    since: float = -math.inf,
    until: float = math.inf,
    memo: dict[object, Any] | None = None,
) -> Outcome:
    """Return the outcome of a verdict.

    cannot: a denial means "cannot decide". since, until: it holds no earlier, and no longer. The rest is as in Outcome.
    """
    enforced = not application.dry_run
    decision = verdict.decision if enforced else "allow"
    deny = DenyAnswer(CANNOT_DECIDE) if cannot else application.deny
    outcome: Any = object.__new__(_Draft)
    outcome.decision = decision
    outcome.verdict = verdict.decision
    outcome.reason = verdict.reason
    outcome.list = verdict.list
    outcome.entry = verdict.entry.id if verdict.entry else None
    outcome.layer = verdict.layer
    outcome.serial = serial
    outcome.application = application.name
    outcome.unknown = unknown
    outcome.status = 200 if decision == "allow" else deny.status
    outcome.enforced = enforced
    outcome.warnings = verdict.warnings if verdict.warned else ()
    outcome.warning_layers = verdict.warning_layers if verdict.warned else ()
    outcome.deny = deny
    outcome.since = max(verdict.since, since)
    outcome.until = min(verdict.until, until)
    outcome.memo = {} if memo is None else memo
    outcome.__class__ = Outcome
    made: Outcome = outcome
    return made
