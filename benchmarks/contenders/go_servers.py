"""What else answers Envoy's checks: programs in Go, built once, and the lists in the form that they take.

    floor    answers OK to everything, with grpc-go: what it costs to ask at all
    opa      OPA's engine with a Rego policy over the list, with grpc-go

Each has a folder beside this file, whose go.mod and go.sum pin what it is built from. A built program lies in
results/bin/, its name ending with a hash of its sources, so that a change builds it anew.
"""

from __future__ import annotations

import hashlib
import json
import os
import re
import shutil
import subprocess
from pathlib import Path
from typing import TYPE_CHECKING, Final, NamedTuple

from authz.addresses import BITS
from benchmarks.processes import Child

if TYPE_CHECKING:
    from authz.addresses import Network
    from benchmarks.data import Table

_SOURCES: Final = Path(__file__).parent
_BUILT: Final = Path(__file__).parents[1] / "results" / "bin"
_BUILDING: Final = 900.0  # seconds at most
_GROUP_BITS: Final = {4: 8, 6: 16}  # of what stands between two dots or colons


class NotBuilt(Exception):
    """A program is not there, and why."""


class Rule(NamedTuple):
    """A policy for OPA. file: the Rego; data: what it looks into."""

    file: Path
    data: dict[str, object]


def program(name: str, *, build: bool = True) -> Path:
    """Return the program of a folder beside this file, built where it is not yet; without `build` it must be there.

    Raises NotBuilt.
    """
    folder = _SOURCES / name
    path = _BUILT / f"{name}-{_fingerprint(folder)}"
    if path.exists():
        return path
    if not build:
        raise NotBuilt(f"{name} is not built yet")
    if shutil.which("go") is None:
        raise NotBuilt(f"{name} needs Go, to be built")
    path.parent.mkdir(parents=True, exist_ok=True)
    unfinished = path.with_name(f"{path.name}.{os.getpid()}")
    command = ["go", "build", "-mod=readonly", "-trimpath", "-buildvcs=false", "-o", str(unfinished), "."]
    try:
        done = subprocess.run(command, cwd=folder, capture_output=True, text=True, check=False, timeout=_BUILDING)
    except subprocess.TimeoutExpired:
        raise NotBuilt(f"{name} was not built within {_BUILDING:.0f} s") from None
    if done.returncode:
        raise NotBuilt(f"{name} could not be built: {(done.stderr.strip().splitlines() or ['go build failed'])[-1]}")
    unfinished.rename(path)
    return path


def _fingerprint(folder: Path) -> str:
    found = hashlib.sha256()
    for path in sorted([*folder.glob("*.go"), folder / "go.mod", folder / "go.sum"]):
        found.update(path.read_bytes())
    return found.hexdigest()[:12]


class GoServer(Child):
    """A program in Go that answers checks on a port of loopback. port: which."""

    def __init__(self, folder: Path, path: Path, *arguments: str | Path) -> None:
        super().__init__(folder, [path, "127.0.0.1:0", *arguments])
        self.port = self.wait_until(self._port)

    def _port(self) -> int | None:
        found = re.search(r"listening on 127\.0\.0\.1:(\d+)$", self.output, re.MULTILINE)
        return int(found[1]) if found else None


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
