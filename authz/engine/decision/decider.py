"""Requests to decisions, with a memory: the one way for the gRPC front, the HTTP front, explain, replay and libraries.

    Request -> application -> client -> match set -> verdict -> Outcome

What was found of a request is remembered for the client's next one; see also authz.engine.decision.generation.
"""

from __future__ import annotations

import copy
import math
from typing import TYPE_CHECKING, Final

from authz.addresses import MAX_TEXT, Address, try_parse_address
from authz.engine.decision.generation import NOWHERE, Generation
from authz.engine.decision.lapses import Lapse, stale_at
from authz.engine.decision.outcome import (
    INTERNAL_ERROR,
    MALFORMED_REQUEST,
    NO_SNAPSHOT,
    REQUEST_TOO_LARGE,
    make_outcome,
)
from authz.engine.decision.verdict import Verdict
from authz.engine.entries.opened_snapshot import POLICY_LAYER
from authz.engine.model import ANY_APPLICATION, Application
from authz.engine.request.client_address import CLIENT_UNRESOLVED, Resolver, Step, addresses_behind, chain

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from authz.engine.decision.generation import Scope
    from authz.engine.decision.outcome import Decided, Outcome
    from authz.engine.entries.opened_snapshot import Covering
    from authz.engine.entries.ruleset import Ruleset
    from authz.engine.request.request import Parts, Request
    from authz.engine.settings import Settings

MAX_HOST: Final = 255  # characters of a host for which a decision is remembered


class Decider:
    """Decides requests by the ruleset that is loaded. `load` swaps it while others decide.

    Args:
        settings: How requests are read and decided.

    Attributes:
        settings: The same; `change` takes others.
        on_unknown: Called with each name of an application that the policy does not have; must not block.
        on_ignored: Called with each peer that names another client and is not a trusted proxy; must not block.
    """

    def __init__(self, settings: Settings) -> None:
        self.on_unknown: Callable[[str], object] = lambda _: None
        self.on_ignored: Callable[[Address], object] = lambda _: None
        self._generation: Generation | None = None
        self._take(settings)

    def change(self, settings: Settings) -> None:
        """Decide by other settings from now on, and by the same ruleset.

        Args:
            settings: The new ones; the header that names the client must stay the same.
        """
        ruleset = self.ruleset
        self._take(settings)
        if ruleset is not None:
            self.load(ruleset)

    def _take(self, settings: Settings) -> None:
        self.settings = settings
        self._rules = settings.rules
        self._resolver = Resolver(settings.rules, self._ignored)
        self._client = self._resolver.client
        general = Application(ANY_APPLICATION)
        missing = Verdict(settings.when_missing, NO_SNAPSHOT)
        self._missing = make_outcome(general, missing, None, cannot=settings.when_missing == "deny")
        self._malformed = make_outcome(general, Verdict("deny", MALFORMED_REQUEST), None)
        self._too_large = make_outcome(general, Verdict("deny", REQUEST_TOO_LARGE), None)
        self._failed = make_outcome(general, Verdict("deny", INTERNAL_ERROR), None, cannot=True)

    def _ignored(self, peer: Address) -> None:
        self.on_ignored(peer)

    @property
    def ruleset(self) -> Ruleset | None:
        """What decides; None before the first."""
        return self._generation.ruleset if self._generation else None

    def load(self, ruleset: Ruleset) -> Generation | None:
        """Decide by this ruleset from now on. Requests under way end with the one they began with.

        Args:
            ruleset: The new one.

        Returns:
            What decided until now, for callers that free it little by little; None: nothing did.
        """
        before, self._generation = self._generation, Generation(ruleset, self.settings)
        return before

    def pinned(self) -> Decider:
        """Return a decider that stays with the ruleset of this moment, for several questions about one request.

        Returns:
            A decider with the same settings and ruleset; what is loaded into this one later does not reach it.
        """
        pinned = copy.copy(self)
        pinned.on_unknown = lambda _: None  # a question of an operator
        # Its resolver tells nobody: one that told the copy would hold it, and its ruleset, in a circle until the next
        # collection; after gc.freeze() forever.
        pinned._resolver = Resolver(self._rules)  # noqa: SLF001  # a copy of ourselves
        pinned._client = pinned._resolver.client  # noqa: SLF001  # the same
        return pinned

    def decides(self, now: float) -> bool:
        """Return whether a request is decided, and not answered by "cannot decide".

        Args:
            now: Seconds since 1970.

        Returns:
            False if a missing or stale layer has every request denied.
        """
        return not any(lapse.then == "deny" for lapse in self.lapses(now))

    def lapses(self, now: float) -> list[Lapse]:
        """Return which layers are missing or stale, and what follows.

        Args:
            now: Seconds since 1970.

        Returns:
            The lapses, those that deny first; before the first ruleset, only that of the policy.
        """
        current = self._generation
        if current is None:
            return [Lapse(POLICY_LAYER, NO_SNAPSHOT, -math.inf, self.settings.when_missing)]
        return [lapse for lapse in current.lapses if lapse.since <= now]

    def stale(self, now: float) -> bool:
        """Return whether the policy is older than `max_age`, or has expired.

        Args:
            now: Seconds since 1970.

        Returns:
            False before the first ruleset.
        """
        current = self._generation
        return current is not None and now >= stale_at(current.ruleset.policy, self.settings.max_age)

    def malformed(self) -> Outcome:
        """Return the outcome for a request that cannot be read.

        Returns:
            A denial, `malformed_request`: a client may have made the request so.
        """
        return self._malformed

    def too_large(self) -> Outcome:
        """Return the outcome for a request that is larger than a front takes.

        Returns:
            A denial, `request_too_large`: a client may have made the request so.
        """
        return self._too_large

    def failed(self) -> Outcome:
        """Return the outcome for a request that could not be decided because of a bug.

        Returns:
            "Cannot decide", `internal_error`.
        """
        return self._failed

    def check(self, request: Request, now: float) -> tuple[Outcome, Address | None]:
        """Decide one request. Not for two threads at once.

        Args:
            request: The parts of it that the decision uses.
            now: Seconds since 1970.

        Returns:
            The outcome, and the client's address; None if it is not known.
        """
        return self.decide(request, now)[:2]

    def decide(self, request: Parts, now: float) -> Decided:  # noqa: C901  # the hot path: a call costs as much as a branch
        """Decide one request, as `check` does, for who renders the decision. Not for two threads at once.

        Args:
            request: The parts of it that the decision uses.
            now: Seconds since 1970.

        Returns:
            The decision, with a place for what is made of it where the request has come before.
        """
        current = self._generation  # one reference: a reload in between changes nothing
        if current is None:
            return self._missing, None, None
        peer, forwarded, name, host, attack = request
        short = len(forwarded) == 1 and len(forwarded[0]) <= MAX_TEXT
        key = (name, host, peer, forwarded[0], attack) if short else None
        known = current.recent.get(key)
        if known is not None:
            outcome, client, rendered = known
            if outcome.since <= now < outcome.until:
                return known if rendered is not None else current.keep_rendered(key, known)
        scope = current.scopes.get(name) if name else current.scope_of_host(host)
        if scope is None:
            scope = current.scope_of_name(name or "")
        if scope.unknown and name:
            self.on_unknown(name)
            key = None  # each of its requests is told, and an unknown name may be of any length
        if (scope.unknown and current.refuses_unknown) or now >= current.lapses_at:
            undecided = current.undecided(scope, "" if name else host, now)
            if undecided is not None:
                return undecided, self._client(peer, forwarded), None
            current, scope = current.at(now, scope)
        client = self._client(peer, forwarded)
        if client is None:
            problem = self._resolver.resolve(peer, forwarded).problem
            return current.special(scope, Verdict("deny", problem or CLIENT_UNRESOLVED)), None, None
        if scope.by_path:
            return self._by_path(current, scope, request, client, now), client, None
        decided = current.outcome(scope, client, NOWHERE, attack, now), client, None
        if key is not None and len(host) <= MAX_HOST:
            current.keep(key, decided)
        return decided

    def _by_path(self, current: Generation, scope: Scope, request: Parts, client: Address, now: float) -> Outcome:
        """Return the outcome for a client where the other addresses of the forwarding chain count."""
        peer, forwarded, _, _, attack = request
        addresses = self._chain(peer, forwarded)
        outcome = current.outcome(scope, client, current.ruleset.places_of(addresses), attack, now)
        if scope.application.default == "allow" or outcome.verdict == "deny":
            return outcome
        behind = addresses_behind(self._rules, addresses, client)
        others = (current.outcome(scope, address, NOWHERE, attack, now) for address in behind)
        return next((other for other in others if other.verdict == "deny"), outcome)

    def _chain(self, peer: str | None, forwarded: Sequence[str]) -> list[Address]:
        return chain(self._rules, None if peer is None else try_parse_address(peer), forwarded)

    def steps(self, request: Request) -> list[Step]:
        """Return the walk over the forwarding chain, for explain.

        Args:
            request: The parts of it that the decision uses.

        Returns:
            A step for each address that was looked at, from the peer to the client.
        """
        steps: list[Step] = []
        self._resolver.resolve(request.peer, request.forwarded, steps)
        return steps

    def covering(self, request: Request, client: Address | None) -> list[Covering]:
        """Return the entries that cover the client, for explain and replay.

        Args:
            request: The parts of it that the decision uses.
            client: The address that `check` returned for it.

        Returns:
            The entries, the longest prefix first; none before the first ruleset, and none without a client. Where the
            application is matched by path, the deny entries that cover another address of the chain too; where its
            default is deny, all that cover an address behind the client.
        """
        if self._generation is None or client is None:
            return []
        ruleset = self._generation.ruleset
        covering = ruleset.covering(client)
        application = ruleset.application(request.application, request.host) or ruleset.general
        if application.match != "path":
            return covering
        addresses = self._chain(request.peer, request.forwarded)
        behind = addresses_behind(self._rules, addresses, client) if application.default == "deny" else []
        for address in addresses:
            if address != client:
                others = ruleset.covering(address)
                covering += [other for other in others if address in behind or other.entry.list == "deny"]
        return covering
