"""How much is measured: by default (a few minutes), and in a smoke run (seconds; its figures say nothing)."""

from __future__ import annotations

from typing import NamedTuple


class Scale(NamedTuple):
    """sizes: networks of the tables, rising. addresses: distinct ones of a kind that are looked up in a round.

    rounds: of in-process work. builds: rounds of building an index. clients: different requests of a size.
    policy: networks of the policy that the fronts decide by. load_rounds, load_seconds: of h2load and wrk, each.
    entries: of the policy with many entries. starts: of each sidecar whose memory is read.
    """

    sizes: tuple[int, ...]
    addresses: int
    rounds: int
    builds: int
    clients: int
    policy: int
    load_rounds: int
    load_seconds: float
    entries: int
    starts: int


USUAL = Scale(
    sizes=(10_000, 100_000, 1_000_000),
    addresses=50_000,
    rounds=7,
    builds=3,
    clients=2_000,
    policy=100_000,
    load_rounds=5,
    load_seconds=1.5,
    entries=100_000,
    starts=3,
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
    entries=1_000,
    starts=1,
)
