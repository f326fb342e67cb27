"""A ruleset with the outcomes met so far: what a Decider asks between two reloads.

An outcome is made once for an application, what covers the client, and the attack signal; it holds until a time window
opens or closes, or a layer lapses.
"""

from __future__ import annotations

import math
from typing import TYPE_CHECKING, Any, Final

from authz.engine.decision.lapses import lapses
from authz.engine.decision.outcome import MALFORMED_REQUEST, UNKNOWN_APPLICATION, Rendered, make_outcome
from authz.engine.decision.verdict import Verdict, decide
from authz.engine.entries.ruleset import Place
from authz.engine.model import ANY_APPLICATION
from authz.engine.request.hosts import host_name
from authz.snapshot.sections import BITS_OF_MARKS, IPV6_MARKS

if TYPE_CHECKING:
    from collections.abc import Iterable

    from authz.addresses import Address
    from authz.engine.decision.lapses import Lapse
    from authz.engine.decision.outcome import Decided, Outcome
    from authz.engine.entries.ruleset import Ruleset
    from authz.engine.model import Application
    from authz.engine.settings import Settings

    Key = int | tuple[object, ...]

MAX_RECENT: Final = 2048  # decisions that are remembered by their requests
MAX_OUTCOMES: Final = 32768  # remembered for a ruleset; then the memory starts again
_FORGOTTEN: Final = 4  # of what was remembered before, for each outcome that is new
NOWHERE: Final[frozenset[Place]] = frozenset()
_make = tuple.__new__  # of a NamedTuple whose fields are at hand


class Scope:
    """An application, and the outcomes that its requests met so far.

    Attributes:
        application: Its settings.
        unknown: Whether it stands for the applications that the policy does not have.
        by_path: Whether the other addresses of the forwarding chain count.
        outcomes: By the number of what covers the client, with version and attack signal in one number; where other
            layers cover it, or other addresses of the chain count, by that number and those.

    """

    __slots__ = ("application", "by_path", "outcomes", "unknown")

    def __init__(self, application: Application, *, unknown: bool = False) -> None:
        self.application = application
        self.unknown = unknown
        self.by_path = application.match == "path"
        self.outcomes: dict[Key, Outcome] = {}


class Generation:
    """Outcomes by one ruleset. Of one without some layers, they hold from `since` on: when the last of them lapsed."""

    def __init__(self, ruleset: Ruleset, settings: Settings, since: float = -math.inf) -> None:
        self.ruleset = ruleset
        self.scopes: dict[str | None, Scope] = {a.name: Scope(a) for a in ruleset.applications}
        self.general = self.scopes[ANY_APPLICATION]
        self.unknown = Scope(self.general.application, unknown=True)
        names_any = len(self.scopes) > 1
        self._denies_unknown = settings.unknown == "deny" or (settings.unknown == "auto" and names_any)
        self.refuses_unknown = self._denies_unknown or ruleset.policy.has_hosts  # all of them, or some for their hosts
        # Of requests that name no application, and whose host has none.
        self._nameless = self.unknown if names_any or self._denies_unknown else self.general
        self.lapses = lapses(ruleset, settings)
        self._answers_at = min((lapse.since for lapse in self.lapses if lapse.answers), default=math.inf)
        self._ignores_at = min((lapse.since for lapse in self._ignorable()), default=math.inf)
        self.lapses_at = min(self._answers_at, self._ignores_at)
        self.recent: dict[object, Decided] = {}  # by what of a request they depend on, but for the time
        self._settings, self._since = settings, since
        self._later: dict[frozenset[str], Generation] = {}  # by the layers that are ignored
        self._find4, self._find6 = ruleset.find4, ruleset.find6
        self._find_others, self._marks, self._last_mark = ruleset.find_others, ruleset.marks, ruleset.last_mark
        self._remembered = 0  # outcomes in all scopes
        self._special: dict[tuple[object, ...], Outcome] = {}
        self._memos: dict[tuple[object, ...], dict[object, Any]] = {}  # of outcomes that are alike
        self._past: list[dict[Any, Any]] = []  # what was remembered before the memory started again

    def _ignorable(self) -> list[Lapse]:
        return [lapse for lapse in self.lapses if lapse.then == "ignore" and lapse.layer in self.ruleset.layers]

    def at(self, now: float, scope: Scope) -> tuple[Generation, Scope]:
        """Return the generation without the layers that are ignored by now, and the same scope in it."""
        if now < self._ignores_at:
            return self, scope
        ignored = [lapse for lapse in self._ignorable() if lapse.since <= now]
        stale = frozenset(lapse.layer for lapse in ignored)
        later = self._later.get(stale)
        if later is None:
            others = tuple(layer for layer in self._settings.layers if layer.name not in stale)
            settings = self._settings._replace(layers=others)  # there those that are ignored are not missing
            since = max(lapse.since for lapse in ignored)
            later = self._later[stale] = Generation(self.ruleset.without(stale), settings, since)
            later.recent = self.recent  # what is remembered here ends when a layer is ignored, and begins then there
        if scope is self.unknown:
            return later, later.unknown
        name = scope.application.name
        return later, later.scopes.get(name) or later.scope_of_name(name)

    def keep(self, key: object, decided: Decided) -> None:
        """Remember a decision for the client's next request: clients seldom come once."""
        if len(self.recent) >= MAX_RECENT:
            self.recent.clear()
        self.recent[key] = decided

    def keep_rendered(self, key: object, decided: Decided) -> Decided:
        """Return a decision whose request has come again, with a place for what is made of it from now on."""
        outcome, client, _ = decided
        again = self.recent[key] = outcome, client, Rendered()
        return again

    def give_up(self, most: int) -> bool:
        """Forget some of what is remembered of a generation that no longer decides; return whether there is more.

        Ten thousands of outcomes that are freed in one go keep every request waiting for milliseconds.
        """
        memories: list[dict[Any, Any]] = [
            self.recent,
            *(scope.outcomes for scope in (*self.scopes.values(), self.unknown)),
            self._memos,
            *self._past,
        ]
        _forget(memories, most)
        return any(memories) or any(later.give_up(most) for later in self._later.values())

    def scope_of_name(self, name: str) -> Scope:
        """Return the scope of an application that has none yet.

        One that only entries name gets its own, for requests to come; the others share that of `unknown`. A key of a
        layer may name ten thousand: all at once, they would stall the requests beside a reload.
        """
        if name not in self.ruleset.mentioned:
            return self.unknown
        scope = self.scopes[name] = Scope(self.general.application._replace(name=name, hosts=()), unknown=True)
        return scope

    def scope_of_host(self, host: str) -> Scope:
        """Return the scope of a request whose application the proxy does not name."""
        application = self.ruleset.application(None, host)
        return self._nameless if application is None else self.scopes[application.name]

    def undecided(self, scope: Scope, host: str, now: float) -> Outcome | None:
        """Return the answer to a request that is not decided.

        Its application is unknown, or a layer that has lapsed says so.

        Args:
            scope: The application that was asked for.
            host: What was to name the application; "": nothing was. One that could be taken for a host of another
                application is denied, as `*` may be less strict.
            now: Seconds since 1970.

        Returns:
            The answer; None: the request is decided.
        """
        if scope.unknown and host and self.ruleset.policy.has_hosts and host_name(host) is None:
            return self.special(scope, Verdict("deny", MALFORMED_REQUEST))
        if scope.unknown and self._denies_unknown:
            return self.special(scope, Verdict("deny", UNKNOWN_APPLICATION))
        if now < self._answers_at:
            return None
        lapse = next(lapse for lapse in self.lapses if lapse.answers and lapse.since <= now)
        verdict = Verdict("allow" if lapse.then == "allow" else "deny", lapse.reason, layer=lapse.layer)
        return self.special(scope, verdict, cannot=verdict.decision == "deny")

    def special(self, scope: Scope, verdict: Verdict, *, cannot: bool = False) -> Outcome:
        """Return the outcome for a verdict that no entry gave."""
        key = scope.application.name, scope.unknown, verdict.reason, verdict.layer
        outcome = self._special.get(key)
        if outcome is None:
            outcome = make_outcome(
                scope.application, verdict, self.ruleset.serial, unknown=scope.unknown, cannot=cannot
            )
            self._special[key] = outcome
        return outcome

    def outcome(self, scope: Scope, client: Address, places: frozenset[Place], attack: bool, now: float) -> Outcome:
        """Return the outcome for a client, cached until a time window changes.

        Called without names: each costs as much as a look-up.

        Args:
            scope: The application.
            client: The client.
            places: What covers the other addresses of the chain, if the application looks at them.
            attack: Whether the request carries an attack signal.
            now: Seconds since 1970.
        """
        version, value, _ = client
        first = self._find4(value) if version == 4 else self._find6(value)
        others = None
        if self._find_others:
            marks = self._marks  # asked in here: a call would double the cost; see authz.engine.entries.marks
            if marks is None:
                others = self._find_others(version, value)
            elif version == 4:
                if marks[value >> 11 & self._last_mark] & BITS_OF_MARKS[value >> 8 & 7]:
                    others = self._find_others(4, value)
            elif marks[(number := (value >> 80) % IPV6_MARKS) >> 3 & self._last_mark] & BITS_OF_MARKS[number & 7]:
                others = self._find_others(6, value)
        key: Key = first << 3 | version | attack  # a version is 4 or 6
        if others or places:
            key = key, others, places
        outcome = scope.outcomes.get(key)
        if outcome is None or not outcome.since <= now < outcome.until:
            place = _make(Place, (version, first, others or ()))
            outcome = self._decide(scope, place, places, attack=attack, now=now)
            self._remember(scope, key, outcome)
        return outcome

    def _decide(self, scope: Scope, place: Place, places: frozenset[Place], *, attack: bool, now: float) -> Outcome:
        matches = self.ruleset.matches(place)
        if places:
            matches = self.ruleset.with_denied(matches, places)
        verdict = decide(scope.application, matches, attack=attack, now=now)
        kind = (scope.application.name, scope.unknown, verdict.decision, verdict.reason, verdict.list, verdict.layer,
                verdict.warned and (verdict.warnings, verdict.warning_layers))  # fmt: skip
        memo = self._memos.get(kind)
        if memo is None:
            memo = self._memos[kind] = {}
        serial = self.ruleset.serial_of(verdict.layer)
        return make_outcome(
            scope.application,
            verdict,
            serial,
            unknown=scope.unknown,
            since=self._since,
            until=self.lapses_at,
            memo=memo,
        )

    def _remember(self, scope: Scope, key: Key, outcome: Outcome) -> None:
        if self._remembered >= MAX_OUTCOMES:
            self._remembered = 0
            scopes = (*self.scopes.values(), self.unknown)
            self._past += filter(None, [self._memos, *(known.outcomes for known in scopes)])
            self._memos = {}
            for known in scopes:
                known.outcomes = {}
        if self._past:
            self._forget_past()
        self._remembered += 1
        scope.outcomes[key] = outcome

    def _forget_past(self) -> None:
        """Forget some of what was remembered before: all of it is gone before the memory starts again."""
        left = _FORGOTTEN
        while self._past and left:
            memory = self._past[-1]
            some = min(left, len(memory))
            _forget([memory], some)
            left -= some
            if not memory:
                self._past.pop()


def _forget(memories: Iterable[dict[Any, Any]], most: int) -> None:
    """Forget some of what is remembered."""
    for memory in memories:
        for _ in range(min(most, len(memory))):
            memory.popitem()
            most -= 1
