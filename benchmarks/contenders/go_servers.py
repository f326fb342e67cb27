"""What else answers Envoy's checks: programs in Go and Rust, built once, and the lists in the form that they take.

    floor    answers OK to everything, with grpc-go: what it costs to ask at all
    tonic    the same with tonic, in Rust
    trie     decides by a list of networks, with grpc-go and a routing table
    opa      OPA's engine with a Rego policy over the list, with grpc-go

Each has a folder beside this file with what pins it; `building` builds it.
"""

from __future__ import annotations

import json
import re
from pathlib import Path
from typing import TYPE_CHECKING, Final, NamedTuple

from authz.addresses import BITS
from benchmarks.contenders import building
from benchmarks.contenders.building import NotBuilt as NotBuilt  # noqa: PLC0414  # its users ask here
from benchmarks.processes import Child

if TYPE_CHECKING:
    from authz.addresses import Network
    from benchmarks.data.networks import Table

_SOURCES: Final = Path(__file__).parent
_GROUP_BITS: Final = {4: 8, 6: 16}  # of what stands between two dots or colons


class Rule(NamedTuple):
    """A policy for OPA. file: the Rego; data: what it looks into."""

    file: Path
    data: dict[str, object]


def program(name: str, *, build: bool = True) -> Path:
    """Return the program of a folder beside this file, built where it is not yet. Raises NotBuilt."""
    return building.program(_SOURCES / name, build=build)


class GoServer(Child):
    """A program that answers checks on a port of loopback. port: which."""

    def __init__(self, folder: Path, path: Path, *arguments: str | Path) -> None:
        super().__init__(folder, [path, "127.0.0.1:0", *arguments])
        self.port = self.wait_until(self._port)

    def _port(self) -> int | None:
        match = re.search(r"listening on 127\.0\.0\.1:(\d+)$", self.output, re.MULTILINE)
        return int(match[1]) if match else None


def opa(folder: Path, name: str, path: Path, rule: Rule) -> GoServer:
    """Start OPA with a policy."""
    data = folder / f"{name}.json"
    data.write_text(json.dumps(rule.data), encoding="ascii")
    return GoServer(folder, path, rule.file, data)


def opa_linear(table: Table) -> Rule:
    """Return a policy that compares the client with every network, by net.cidr_contains_matches."""
    return Rule(_SOURCES / "opa" / "linear.rego", {"networks": [str(network) for network in table.networks]})


def opa_buckets(table: Table) -> Rule:
    """Return a policy that looks only at the networks which begin as the client does, and at the widest."""
    buckets: dict[str, list[str]] = {}
    wide = []
    for network in table.networks:
        groups = min(network.length // _GROUP_BITS[network.version], 2)
        if groups:
            buckets.setdefault(_first(network, groups), []).append(str(network))
        else:
            wide.append(str(network))
    return Rule(_SOURCES / "opa" / "buckets.rego", {"buckets": buckets, "wide": wide})


def _first(network: Network, groups: int) -> str:
    """Return the first groups of an address as it is written: `203`, `203.0` or `2001:db8`."""
    bits = _GROUP_BITS[network.version]
    values = [network.value >> BITS[network.version] - bits * (number + 1) for number in range(groups)]
    texts = [f"{value & (1 << bits) - 1:{'d' if network.version == 4 else 'x'}}" for value in values]
    return (".", ":")[network.version == 6].join(texts)
