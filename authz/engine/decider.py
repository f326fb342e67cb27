"""From a request to a decision: the one way for the gRPC front, the HTTP front, explain and replay.

    Request -> application -> client -> match set -> verdict -> Outcome

An outcome is what can be known without the client's address: it is made once for an application, match set and attack
signal, holds until a time window opens or closes, and carries the answers that the fronts have built for it.
"""

from __future__ import annotations

import math
from typing import TYPE_CHECKING, Any, Final, Literal, NamedTuple

from authz.addresses import MAX_TEXT, Address, try_parse_address
from authz.engine.client_address import CLIENT_UNRESOLVED, Resolver, Rules, Step, chain
from authz.engine.model import ANY_APPLICATION, Application, DenyAnswer
from authz.engine.verdict import Verdict, decide

if TYPE_CHECKING:
    from collections.abc import Sequence

    from authz.engine.ruleset import Covering, Loaded, SetNumber

UNKNOWN_APPLICATION: Final = "unknown_application"
NO_SNAPSHOT: Final = "no_snapshot"
STALE_SNAPSHOT: Final = "stale_snapshot"
MALFORMED_REQUEST: Final = "malformed_request"
REQUEST_TOO_LARGE: Final = "request_too_large"
INTERNAL_ERROR: Final = "internal_error"

CANNOT_DECIDE: Final = 503  # the status of an answer that is no decision
MAX_HOST: Final = 255  # characters of a host for which a decision is remembered
MAX_RECENT: Final = 2048  # decisions that are remembered by their requests
MAX_OUTCOMES: Final = 32768  # remembered for a snapshot; then the memory starts anew


class Request(NamedTuple):
    """What of a request counts.

    peer: who opened the connection to the proxy, as text; None for a unix socket. forwarded: the lines of the one
    header that says who the client is. application: as the proxy names it; None or "": not named. host: of the
    request. attack: whether a WAF says so.
    """

    peer: str | None
    forwarded: Sequence[str] = ()
    application: str | None = None
    host: str = ""
    attack: bool = False


class Answers:
    """What the fronts have made of outcomes that differ only in the entry and in their time; each knows its own part.

    grpc, http: pieces of answers. counts: how often it was the answer, by front.
    """

    __slots__ = ("counts", "grpc", "http", "log")

    def __init__(self) -> None:
        self.grpc: dict[int, tuple[bytes, ...]] = {}
        self.http: dict[Any, Any] = {}
        self.log: tuple[bytes, bytes, bytes] | None = None
        self.counts: dict[str, list[int]] = {}


class Outcome:
    """A decision but for the client's address.

    decision: the answer, `allow` or `deny`. status: 200, the status for a denied client, or 503 for "cannot decide".
    enforced: false under dry_run. since, until: seconds since 1970 between which it holds. answers: shared by all
    outcomes that differ only in `entry`, `since` and `until`.
    """

    __slots__ = ("answers", "application", "decision", "deny", "enforced", "entry", "list", "reason", "serial", "since",
                 "status", "until", "warnings")  # fmt: skip

    def __init__(
        self,
        application: Application,
        verdict: Verdict,
        serial: int | None,
        *,
        cannot: bool = False,
        answers: Answers | None = None,
    ) -> None:
        self.application = application.name
        self.enforced = not application.dry_run
        self.decision: Literal["allow", "deny"] = verdict.decision if self.enforced else "allow"
        self.reason = verdict.reason
        self.list = verdict.list
        self.entry = verdict.entry.id if verdict.entry else None
        self.warnings = verdict.warnings
        self.serial = serial
        self.deny = DenyAnswer(CANNOT_DECIDE) if cannot else application.deny
        self.status = 200 if self.decision == "allow" else self.deny.status
        self.since, self.until = verdict.since, verdict.until
        self.answers = answers or Answers()

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
            "warnings": list(self.warnings),
        }


class Settings(NamedTuple):
    """What of the configuration counts for a decision. max_age: seconds."""

    rules: Rules = Rules()
    unknown: Literal["default", "deny"] = "default"
    when_missing: Literal["deny", "allow"] = "deny"
    when_stale: Literal["keep", "deny", "allow"] = "keep"
    max_age: float = math.inf


class Decider:
    """Decides requests by the snapshot that is loaded. `load` swaps it while others decide."""

    def __init__(self, settings: Settings) -> None:
        self.settings = settings
        self._rules = settings.rules
        self._resolver = Resolver(settings.rules)
        self._client = self._resolver.client
        self._now: _Current | None = None
        general = Application(ANY_APPLICATION)
        missing = Verdict(settings.when_missing, NO_SNAPSHOT)
        self._missing = Outcome(general, missing, None, cannot=settings.when_missing == "deny")
        self._malformed = Outcome(general, Verdict("deny", MALFORMED_REQUEST), None)
        self._too_large = Outcome(general, Verdict("deny", REQUEST_TOO_LARGE), None)
        self._failed = Outcome(general, Verdict("deny", INTERNAL_ERROR), None, cannot=True)

    @property
    def loaded(self) -> Loaded | None:
        """The snapshot that decides; None before the first."""
        return self._now.loaded if self._now else None

    def load(self, loaded: Loaded) -> None:
        """Decide by this snapshot from now on. Requests under way end with the one they began with."""
        self._now = _Current(loaded, self.settings)

    def stale(self, now: float) -> bool:
        """Return whether the snapshot is older than it may be."""
        return self._now is not None and now >= self._now.stale_at

    def malformed(self) -> Outcome:
        """Return the outcome for a request that cannot be read. It is denied: a client may have made it so."""
        return self._malformed

    def too_large(self) -> Outcome:
        """Return the outcome for a request that is larger than a front takes: denied, a client may have made it so."""
        return self._too_large

    def failed(self) -> Outcome:
        """Return the outcome for a request on which we failed ourselves."""
        return self._failed

    def check(self, request: Request, now: float) -> tuple[Outcome, Address | None]:
        """Decide one request. now: seconds since 1970. Returns the outcome, and the client where it is known."""
        current = self._now  # one reference: a reload in between changes nothing
        if current is None:
            return self._missing, None
        peer, forwarded, name, host, attack = request
        short = len(forwarded) == 1 and len(forwarded[0]) <= MAX_TEXT and len(host) <= MAX_HOST
        key = (name, host, peer, forwarded[0], attack) if short else None
        known = current.recent.get(key)
        if known is not None and known[0].since <= now < known[0].until and now < current.deny_at:
            return known
        scope = current.scopes.get(name) if name else current.scope_of_host(host)
        if scope is None or now >= current.deny_at:
            refused = current.refused(scope, now)
            if refused is not None:
                return refused, None
            if name:
                key = None  # an unknown name may be of any length
            scope = scope or current.general
        client = self._client(peer, forwarded)
        if client is None:
            problem = self._resolver.resolve(peer, forwarded).problem
            return current.special(scope.application, Verdict("deny", problem or CLIENT_UNRESOLVED)), None
        others: frozenset[SetNumber] = frozenset()
        if scope.by_path:
            others = current.loaded.sets_of(self._chain(request))
        decided = current.outcome(scope, client, others, attack=attack, now=now), client
        if key is not None and not scope.by_path:
            current.keep(key, decided)
        return decided

    def _chain(self, request: Request) -> list[Address]:
        peer = None if request.peer is None else try_parse_address(request.peer)
        return chain(self._rules, peer, request.forwarded)

    def steps(self, request: Request) -> list[Step]:
        """Return the walk over the forwarding chain, for explain."""
        steps: list[Step] = []
        self._resolver.resolve(request.peer, request.forwarded, steps)
        return steps

    def covering(self, request: Request, client: Address | None) -> list[Covering]:
        """Return the entries that cover the client, for explain and replay.

        Where the application is matched by path, the deny entries that cover another address of the chain too.
        """
        if self._now is None or client is None:
            return []
        loaded = self._now.loaded
        found = loaded.covering(client)
        application = loaded.application(request.application, request.host) or loaded.general
        if application.match == "path":
            for address in self._chain(request):
                if address != client:
                    found += [covering for covering in loaded.covering(address) if covering.entry.list == "deny"]
        return found


class _Scope:
    """An application, and the outcomes that its requests met so far.

    outcomes: by match set, version and attack signal in one number; where the application looks at other addresses of
    the chain, by that number and their match sets.
    """

    __slots__ = ("application", "by_path", "outcomes")

    def __init__(self, application: Application) -> None:
        self.application = application
        self.by_path = application.match == "path"
        self.outcomes: dict[int | tuple[int, frozenset[SetNumber]], Outcome] = {}


class _Current:
    """A loaded snapshot with the outcomes met so far."""

    def __init__(self, loaded: Loaded, settings: Settings) -> None:
        self.loaded = loaded
        self.stale_at = min(loaded.created + settings.max_age, loaded.expires)
        self.deny_at = math.inf if settings.when_stale == "keep" else self.stale_at
        self.scopes: dict[str | None, _Scope] = {one.name: _Scope(one) for one in loaded.applications}
        self.general = self.scopes[ANY_APPLICATION]
        self.recent: dict[object, tuple[Outcome, Address]] = {}  # by what of a request they depend on, but for the time
        self._settings = settings
        self._find4, self._find6 = loaded.index.find4, loaded.index.find6
        self._remembered = 0  # outcomes in all scopes
        self._special: dict[tuple[str, str], Outcome] = {}
        self._answers: dict[tuple[object, ...], Answers] = {}

    def keep(self, key: object, decided: tuple[Outcome, Address]) -> None:
        """Remember a decision for the client's next request: clients seldom come once."""
        if len(self.recent) >= MAX_RECENT:
            self.recent.clear()
        self.recent[key] = decided

    def scope_of_host(self, host: str) -> _Scope | None:
        """Return the scope of a request whose application the proxy does not name; None: unknown."""
        application = self.loaded.application(None, host)
        return None if application is None else self.scopes[application.name]

    def refused(self, scope: _Scope | None, now: float) -> Outcome | None:
        """Return the outcome for an unknown application or by a stale snapshot; None where it is decided all the same.

        scope: None for an application that is unknown.
        """
        if scope is None and self._settings.unknown == "deny":
            return self.special(self.loaded.general, Verdict("deny", UNKNOWN_APPLICATION))
        if now < self.deny_at:
            return None
        verdict = Verdict("allow" if self._settings.when_stale == "allow" else "deny", STALE_SNAPSHOT)
        return self.special((scope or self.general).application, verdict, cannot=verdict.decision == "deny")

    def special(self, application: Application, verdict: Verdict, *, cannot: bool = False) -> Outcome:
        """Return the outcome for a verdict that no entry gave."""
        key = application.name, verdict.reason
        outcome = self._special.get(key)
        if outcome is None:
            outcome = self._special[key] = Outcome(application, verdict, self.loaded.serial, cannot=cannot)
        return outcome

    def outcome(
        self, scope: _Scope, client: Address, others: frozenset[SetNumber], *, attack: bool, now: float
    ) -> Outcome:
        """Return the outcome for a client, made anew only where it is not known or its time is over.

        others: the match sets of the other addresses of the chain, where the application looks at them.
        """
        version, value, _ = client
        number = self._find4(value) if version == 4 else self._find6(value)
        plain = number << 3 | version | attack  # a version is 4 or 6
        key = (plain, others) if others else plain
        outcome = scope.outcomes.get(key)
        if outcome is None or not outcome.since <= now < outcome.until:
            matches = self.loaded.matches(version, number)
            if others:
                matches = self.loaded.with_denied(matches, others)
            verdict = decide(scope.application, matches, attack=attack, now=now)
            outcome = self._made(scope.application, verdict)
            self._remember(scope, key, outcome)
        return outcome

    def _made(self, application: Application, verdict: Verdict) -> Outcome:
        kind = application.name, verdict.decision, verdict.reason, verdict.list, verdict.warnings
        answers = self._answers.get(kind)
        if answers is None:
            answers = self._answers[kind] = Answers()
        return Outcome(application, verdict, self.loaded.serial, answers=answers)

    def _remember(self, scope: _Scope, key: int | tuple[int, frozenset[SetNumber]], outcome: Outcome) -> None:
        if self._remembered >= MAX_OUTCOMES:
            self._remembered = 0
            self._answers.clear()
            for one in self.scopes.values():
                one.outcomes.clear()
        self._remembered += 1
        scope.outcomes[key] = outcome
