"""How much is measured: by default (a few minutes), in the full run, and in a smoke run (its figures say nothing)."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, NamedTuple

if TYPE_CHECKING:
    from collections.abc import Iterable


class Scale(NamedTuple):
    """sizes: networks of the tables, rising. addresses: distinct ones of a kind that are looked up in a round.

    rounds: of in-process work. builds: rounds of building an index. clients: different requests of a size.
    policy: networks of the policy that the fronts and the proxies decide by, and of the lists that the peers get.
    load_rounds, load_seconds: of h2load and wrk, each. open_seconds: of a run at a fixed rate. list_sizes: networks of
    the lists whose cost is compared behind one proxy. reloads: of each table of `reload_sizes` networks.
    entries: of the policy with many entries. bans: of single addresses. changes: bans and unbans one after the other.
    enforced: of them by command, through real proxies; steady: seconds of a run of requests beside them; ways: how
    they come to the sidecar; first: which of `envoy nginx sidecar` run before all else on their core (of
    reload_storm, too).
    stored: bans in the store of the control plane; questions: to it, of each kind.
    starts: of each process whose memory is read. stores: of the control plane.
    watch: 1 has enforcement and reload_storm tell what was behind late requests; to watch makes more of them late.
    awake: 1 keeps the cores awake meanwhile, see load/noise/awake.py; for waits of milliseconds on virtual cores.
    """

    sizes: tuple[int, ...]
    addresses: int
    rounds: int
    builds: int
    clients: int
    policy: int
    load_rounds: int
    load_seconds: float
    open_seconds: float
    list_sizes: tuple[int, ...]
    reload_sizes: tuple[int, ...]
    reloads: int
    entries: int
    bans: int
    changes: int
    enforced: int
    steady: float
    stored: int
    questions: int
    starts: int
    stores: tuple[str, ...] = ("SQLite", "PostgreSQL")
    ways: tuple[str, ...] = ("file", "web server", "object store")
    first: str = ""
    watch: int = 0
    awake: int = 0

    def changed(self, settings: Iterable[str]) -> Scale:
        """Return it with other values: `NAME=VALUE` each; several values of a name by commas. Raises ValueError."""
        values: dict[str, Any] = {}
        for setting in settings:
            name, _, text = setting.partition("=")
            if name not in self._fields:
                raise ValueError(f"found '{name}', expected one of {', '.join(self._fields)}")
            known = getattr(self, name)
            if isinstance(known, tuple):
                values[name] = tuple(type(known[0])(part) for part in text.split(","))
            else:
                values[name] = type(known)(text)
        return self._replace(**values)


USUAL = Scale(
    sizes=(10_000, 1_000_000),
    addresses=50_000,
    rounds=5,
    builds=1,
    clients=2_000,
    policy=100_000,
    load_rounds=3,
    load_seconds=1.0,
    open_seconds=2.0,
    list_sizes=(1_000, 100_000, 1_000_000),
    reload_sizes=(100_000, 1_000_000),
    reloads=3,
    entries=100_000,
    bans=1_200_000,
    changes=200,
    enforced=100,
    steady=10.0,
    stored=200_000,
    questions=500,
    starts=3,
)
FULL = USUAL._replace(
    sizes=(1_000, 10_000, 100_000, 1_000_000),
    rounds=7,
    builds=3,
    load_rounds=5,
    load_seconds=2.0,
    open_seconds=5.0,
    list_sizes=(10, 1_000, 20_000, 100_000, 1_000_000),
    reload_sizes=(10_000, 100_000, 1_000_000),
    reloads=7,
    enforced=500,
    starts=5,
)
QUICK = Scale(
    sizes=(1_000, 2_000),
    addresses=500,
    rounds=2,
    builds=1,
    clients=20,
    policy=1_000,
    load_rounds=1,
    load_seconds=0.2,
    open_seconds=0.2,
    list_sizes=(10, 1_000),
    reload_sizes=(1_000,),
    reloads=1,
    entries=1_000,
    bans=4_000,
    changes=4,
    enforced=10,
    steady=1.0,
    stored=500,
    questions=20,
    starts=1,
)
