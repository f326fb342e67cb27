"""A folder in which a test builds a snapshot from a policy and its feeds."""

from __future__ import annotations

from typing import TYPE_CHECKING

from support.publishing.publisher import Publisher
from support.suite.commands import Commands, Ran

from authz.addresses import parse_address
from authz.engine.entries.opened_snapshot import OpenedSnapshot
from authz.snapshot.read import inspect_snapshot

if TYPE_CHECKING:
    from collections.abc import Mapping
    from pathlib import Path

    import pytest

BUILD = ("snapshot", "build", "policy.yaml", "-o", "lists.snapshot", "--key", "keys/a.key")


class Folder:
    """A folder with keys, and a publisher at work in it."""

    def __init__(self, path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        Publisher(path)  # makes the keys
        self.path = path
        self.authz = Commands(path, monkeypatch)

    def write(self, files: Mapping[str, str | bytes]) -> None:
        for name, content in files.items():
            (self.path / name).write_bytes(content.encode() if isinstance(content, str) else content)

    def build(self, policy: str, *options: str) -> Ran:
        """Write the policy and build it in a process of its own."""
        self.write({"policy.yaml": policy})
        return self.authz.real(*BUILD, *options)

    def built(self, policy: str, *options: str) -> OpenedSnapshot:
        """Build a policy and load the snapshot."""
        self.write({"policy.yaml": policy})
        ran = self.authz(*BUILD, *options)  # in this process, which is quick
        assert ran.status == 0, ran.err
        return OpenedSnapshot(inspect_snapshot(self.path / "lists.snapshot"))

    def refused(self, policy: str, *options: str) -> list[str]:
        """Build what is refused: the lines that were printed. What is on the disk stays as it is."""
        self.write({"policy.yaml": policy})
        before = self.files()
        ran = self.authz.real(*BUILD, *options)
        assert (ran.status, ran.out) == (2, ""), ran
        assert self.files() == before
        return ran.err.splitlines()

    def files(self) -> dict[str, bytes]:
        return {
            path.name: path.read_bytes()
            for path in self.path.iterdir()
            if path.is_file() and path.name != ".lists.snapshot.lock"  # stays, and says nothing
        }


def entries_of(loaded: OpenedSnapshot, address: str) -> dict[str, str]:
    """Return what covers an address: the longest network by entry."""
    return {covering.entry.id: str(covering.network) for covering in loaded.covering(parse_address(address))}


def lines(count: int) -> str:
    return "".join(f"5.0.0.{number}\n" for number in range(count))
