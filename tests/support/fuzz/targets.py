"""All targets, by name."""

from __future__ import annotations

import re
from pathlib import Path
from typing import TYPE_CHECKING, Final, NamedTuple

from support.fuzz import publisher_targets as publisher
from support.fuzz import sidecar_targets as sidecar

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable

    Run = Callable[[bytes], object]

_WORD: Final = re.compile(rb"[A-Za-z][\w.:/-]{2,29}")
_MAX_WORDS: Final = 1000
CORPORA: Final = Path(__file__).parents[2] / "system" / "chaos" / "corpora"


class Target(NamedTuple):
    """What is fuzzed. make: returns the function, which may write to the folder that it gets. seeds: good inputs."""

    make: Callable[[Path], Run]
    seeds: Callable[[Path], Iterable[bytes]]


TARGETS: Final = {
    "check": Target(sidecar.check, sidecar.check_seeds),
    "feeds": Target(publisher.feeds, publisher.feeds_seeds),
    "hpack": Target(sidecar.hpack, sidecar.hpack_seeds),
    "http": Target(sidecar.http, sidecar.http_seeds),
    "http2": Target(sidecar.http2, sidecar.http2_seeds),
    "intake": Target(publisher.intake, publisher.intake_seeds),
    "logs": Target(publisher.logs, publisher.logs_seeds),
    "mmdb": Target(publisher.mmdb, publisher.mmdb_seeds),
    "policy": Target(publisher.policy, publisher.policy_seeds),
    "snapshot": Target(sidecar.snapshot, sidecar.snapshot_seeds),
}


def dictionary(inputs: Iterable[bytes]) -> list[str]:
    """Return the words in some inputs, as lines of a dictionary for libFuzzer: it puts them where others stood."""
    words = {word for data in inputs for word in _WORD.findall(data)}
    return ['"' + "".join(map("\\x{:02x}".format, word)) + '"' for word in sorted(words)[:_MAX_WORDS]]


def kept(name: str) -> list[bytes]:
    """Return the corpus that is kept of a target."""
    return [path.read_bytes() for path in sorted((CORPORA / name).glob("*"))]
