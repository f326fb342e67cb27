"""A real sidecar from an authz.yaml of deploy/, with its folders moved and its ports free."""

from __future__ import annotations

import contextlib
import os
import re
import sys
from typing import TYPE_CHECKING, NamedTuple

from support.processes import Process, ports_of
from support.proxies.kubernetes.kustomize import KUBERNETES
from support.publishing.publisher import Publisher

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path


class Deployed(NamedTuple):
    """A running sidecar. ports: of its fronts, by name."""

    process: Process
    ports: dict[str, int]


def moved(path: Path, folder: Path) -> Path:
    """Write the configuration, for this machine, and return its path."""
    text = path.read_text()
    for old in ("/etc/authz", "/var/lib/authz", "/run/authz"):
        text = text.replace(old, f"{folder}{old}")
    text = re.sub(r'"(0\.0\.0\.0|127\.0\.0\.1):919\d"', '"127.0.0.1:0"', text)
    for name in ("etc/authz", "var/lib/authz/snapshot", "var/lib/authz/state", "run/authz"):
        (folder / name).mkdir(parents=True, exist_ok=True)
    (folder / "etc/authz/authz.yaml").write_text(text.replace("drain: 10s", "drain: 0s"))
    return folder / "etc/authz/authz.yaml"


def with_keys(folder: Path) -> Publisher:
    """Make keys, and put the public one where the configurations look."""
    publisher = Publisher(folder)
    for place in ("etc/authz/keys", "etc/authz"):  # of a host; of a pod
        (folder / place).mkdir(parents=True, exist_ok=True)
        (folder / place / "2026.pub").write_bytes(publisher.public["a"].read_bytes())
    return publisher


@contextlib.contextmanager
def start_behind(gateway: str, folder: Path) -> Iterator[Deployed]:
    """Start the sidecar of a gateway, with the usual policy of tests."""
    publisher = with_keys(folder)
    config = moved(KUBERNETES / "gateways" / gateway / "authz.yaml", folder)
    publisher.publish(to="var/lib/authz/snapshot/lists.snapshot")
    command = [sys.executable, "-m", "authz", "serve", "--config", str(config)]
    with Process(command, cwd=folder, env={**os.environ}) as process:
        process.wait_for_line("authz: serving$")
        yield Deployed(process, ports_of(process.output))
