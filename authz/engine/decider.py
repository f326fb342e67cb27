"""Requests to decisions, with a memory: the one way for the gRPC front, the HTTP front, explain, replay and libraries.

    Request -> application -> client -> match set -> verdict -> Outcome

An outcome is made once for an application, match set and attack signal, and holds until a time window opens or closes.
"""

from __future__ import annotations

import copy
import math
from typing import TYPE_CHECKING, Any, Final

from authz.addresses import MAX_TEXT, Address, try_parse_address
from authz.engine.client_address import CLIENT_UNRESOLVED, Resolver, Step, chain
from authz.engine.decision import (
    INTERNAL_ERROR,
    MALFORMED_REQUEST,
    NO_SNAPSHOT,
    REQUEST_TOO_LARGE,
    STALE_SNAPSHOT,
    UNKNOWN_APPLICATION,
    make_outcome,
)
from authz.engine.hosts import host_name
from authz.engine.model import ANY_APPLICATION, Application
from authz.engine.verdict import Verdict, decide

if TYPE_CHECKING:
    from collections.abc import Callable

    from authz.engine.decision import Outcome
    from authz.engine.opened_snapshot import Covering
    from authz.engine.request import Request
    from authz.engine.ruleset import Ruleset, SetNumber
    from authz.engine.settings import Settings

MAX_HOST: Final = 255  # characters of a host for which a decision is remembered
MAX_RECENT: Final = 2048  # decisions that are remembered by their requests
MAX_OUTCOMES: Final = 32768  # remembered for a ruleset; then the memory starts anew
_NO_SETS: Final[frozenset[SetNumber]] = frozenset()


class Decider:
    """Decides requests by the ruleset that is loaded. `load` swaps it while others decide."""

    def __init__(self, settings: Settings) -> None:
        self.settings = settings
        self._rules = settings.rules
        self._resolver = Resolver(settings.rules)
        self._client = self._resolver.client
        self._generation: _Generation | None = None
        self.on_unknown: Callable[[str], object] = lambda _: None  # called with a name that the policy does not have
        general = Application(ANY_APPLICATION)
        missing = Verdict(settings.when_missing, NO_SNAPSHOT)
        self._missing = make_outcome(general, missing, None, cannot=settings.when_missing == "deny")
        self._malformed = make_outcome(general, Verdict("deny", MALFORMED_REQUEST), None)
        self._too_large = make_outcome(general, Verdict("deny", REQUEST_TOO_LARGE), None)
        self._failed = make_outcome(general, Verdict("deny", INTERNAL_ERROR), None, cannot=True)

    @property
    def ruleset(self) -> Ruleset | None:
        """What decides; None before the first."""
        return self._generation.ruleset if self._generation else None

    def load(self, ruleset: Ruleset) -> None:
        """Decide by this ruleset from now on. Requests under way end with the one they began with."""
        self._generation = _Generation(ruleset, self.settings)

    def pinned(self) -> Decider:
        """Return a decider that stays with the ruleset of this moment, for several questions about one request."""
        pinned = copy.copy(self)
        pinned.on_unknown = lambda _: None  # a question of an operator
        return pinned

    def decides(self, now: float) -> bool:
        """Return whether a request is decided, and not answered by "cannot decide". now: seconds since 1970."""
        if self._generation is None:
            return not self._missing.cannot_decide
        return now < self._generation.deny_at or self.settings.when_stale == "allow"

    def stale(self, now: float) -> bool:
        """Return whether the snapshot is older than it may be."""
        return self._generation is not None and now >= self._generation.stale_at

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
        current = self._generation  # one reference: a reload in between changes nothing
        if current is None:
            return self._missing, None
        peer, forwarded, name, host, attack = request
        short = len(forwarded) == 1 and len(forwarded[0]) <= MAX_TEXT
        key = (name, host, peer, forwarded[0], attack) if short else None
        known = current.recent.get(key)
        if known is not None and known[0].since <= now < known[0].until and now < current.deny_at:
            return known
        scope = current.scopes.get(name) if name else current.scope_of_host(host)
        if scope is None or now >= current.deny_at:
            if scope is None and name:
                self.on_unknown(name)
            refused = current.refused(scope, "" if name else host, now)
            if refused is not None:
                return refused, None
            if name:
                key = None  # an unknown name may be of any length
            scope = scope or current.general
        client = self._client(peer, forwarded)
        if client is None:
            problem = self._resolver.resolve(peer, forwarded).problem
            return current.special(scope.application, Verdict("deny", problem or CLIENT_UNRESOLVED)), None
        others = current.ruleset.sets_of(self._chain(request)) if scope.by_path else _NO_SETS
        decided = current.outcome(scope, client, others, attack=attack, now=now), client
        if key is not None and not scope.by_path and len(host) <= MAX_HOST:
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
        if self._generation is None or client is None:
            return []
        ruleset = self._generation.ruleset
        covering = ruleset.covering(client)
        application = ruleset.application(request.application, request.host) or ruleset.general
        if application.match == "path":
            for address in self._chain(request):
                if address != client:
                    covering += [other for other in ruleset.covering(address) if other.entry.list == "deny"]
        return covering


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


class _Generation:
    """A ruleset with the outcomes met so far."""

    def __init__(self, ruleset: Ruleset, settings: Settings) -> None:
        self.ruleset = ruleset
        policy = ruleset.policy
        self.stale_at = min(policy.created + settings.max_age, policy.expires)
        self.deny_at = math.inf if settings.when_stale == "keep" else self.stale_at
        self.scopes: dict[str | None, _Scope] = {a.name: _Scope(a) for a in ruleset.applications}
        self.general = self.scopes[ANY_APPLICATION]
        self.recent: dict[object, tuple[Outcome, Address]] = {}  # by what of a request they depend on, but for the time
        self._settings = settings
        self._find4, self._find6 = ruleset.index.find4, ruleset.index.find6
        self._remembered = 0  # outcomes in all scopes
        self._special: dict[tuple[str, str], Outcome] = {}
        self._memos: dict[tuple[object, ...], dict[object, Any]] = {}  # of outcomes that are alike

    def keep(self, key: object, decided: tuple[Outcome, Address]) -> None:
        """Remember a decision for the client's next request: clients seldom come once."""
        if len(self.recent) >= MAX_RECENT:
            self.recent.clear()
        self.recent[key] = decided

    def scope_of_host(self, host: str) -> _Scope | None:
        """Return the scope of a request whose application the proxy does not name; None: unknown."""
        application = self.ruleset.application(None, host)
        return None if application is None else self.scopes[application.name]

    def refused(self, scope: _Scope | None, host: str, now: float) -> Outcome | None:
        """Return the outcome for an unknown application or by a stale snapshot; None where it is decided all the same.

        scope: None for an application that is unknown. host: what was to name it; "" where nothing was. A host that
        could be taken for one of another application is denied: `*` may be less strict.
        """
        if scope is None and host and self.ruleset.policy.has_hosts and host_name(host) is None:
            return self.special(self.ruleset.general, Verdict("deny", MALFORMED_REQUEST))
        if scope is None and self._settings.unknown == "deny":
            return self.special(self.ruleset.general, Verdict("deny", UNKNOWN_APPLICATION))
        if now < self.deny_at:
            return None
        verdict = Verdict("allow" if self._settings.when_stale == "allow" else "deny", STALE_SNAPSHOT)
        return self.special((scope or self.general).application, verdict, cannot=verdict.decision == "deny")

    def special(self, application: Application, verdict: Verdict, *, cannot: bool = False) -> Outcome:
        """Return the outcome for a verdict that no entry gave."""
        key = application.name, verdict.reason
        outcome = self._special.get(key)
        if outcome is None:
            outcome = self._special[key] = make_outcome(application, verdict, self.ruleset.serial, cannot=cannot)
        return outcome

    def outcome(
        self, scope: _Scope, client: Address, others: frozenset[SetNumber], *, attack: bool, now: float
    ) -> Outcome:
        """Return the outcome for a client, cached until a time window changes.

        others: the match sets of the other addresses of the chain, where the application looks at them.
        """
        version, value, _ = client
        number = self._find4(value) if version == 4 else self._find6(value)
        plain = number << 3 | version | attack  # a version is 4 or 6
        key = (plain, others) if others else plain
        outcome = scope.outcomes.get(key)
        if outcome is None or not outcome.since <= now < outcome.until:
            matches = self.ruleset.matches(version, number)
            if others:
                matches = self.ruleset.with_denied(matches, others)
            verdict = decide(scope.application, matches, attack=attack, now=now)
            outcome = self._make(scope.application, verdict)
            self._remember(scope, key, outcome)
        return outcome

    def _make(self, application: Application, verdict: Verdict) -> Outcome:
        kind = application.name, verdict.decision, verdict.reason, verdict.list, verdict.warnings
        memo = self._memos.setdefault(kind, {})
        return make_outcome(application, verdict, self.ruleset.serial, memo=memo)

    def _remember(self, scope: _Scope, key: int | tuple[int, frozenset[SetNumber]], outcome: Outcome) -> None:
        if self._remembered >= MAX_OUTCOMES:
            self._remembered = 0
            self._memos.clear()
            for known in self.scopes.values():
                known.outcomes.clear()
        self._remembered += 1
        scope.outcomes[key] = outcome
