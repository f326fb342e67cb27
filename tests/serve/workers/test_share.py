"""What the keeper gives to workers: the files of a layer, and its marks, in memory that nobody can change."""

from __future__ import annotations

import itertools
import os
from contextlib import nullcontext
from types import SimpleNamespace
from typing import TYPE_CHECKING, Any

import pytest
from support.publishing.publisher import Publisher

from authz.addresses import Network
from authz.engine.entries.marks import marks_of
from authz.errors import StartError
from authz.publisher.bans import Ban, tiers
from authz.publisher.bans.tiers import Tiers, write_files
from authz.serve.layers.accept import Acceptor, Rules
from authz.serve.layers.memory import Memory
from authz.serve.workers.share import layer_message, open_layer
from authz.snapshot.ban_ids import ban_id
from authz.snapshot.heading import part_path
from authz.snapshot.layout import MAX_FILE

if TYPE_CHECKING:
    from pathlib import Path

    from authz.engine.entries.opened_snapshot import OpenedSnapshot

NOW = 1_795_000_000


@pytest.fixture
def opened(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> OpenedSnapshot:
    """A head with a part, as the keeper has it."""
    monkeypatch.setattr(tiers, "MAX_RECENT", 2)
    keys, serials, path = Publisher(tmp_path), itertools.count(1), tmp_path / "bans.snapshot"
    bans = Tiers("bans", [keys.signer()], lambda: next(serials))
    for number in range(6):
        bans.add(Ban(ban_id(number), Network(4, number << 8, 32)))
        write_files(path, bans.publish(created=NOW))
    acceptor = Acceptor(Rules("bans", [keys.key()], 1, MAX_FILE), Memory(tmp_path / "authz.json"), share=True)
    return acceptor.accept(path, lambda part: nullcontext(part_path(path, part)))


def message_of(opened: OpenedSnapshot | None) -> Any:
    layer: Any = SimpleNamespace(opened=opened, config=SimpleNamespace(name="bans"), last_good=False)
    return layer_message(layer)


def test_a_worker_has_the_marks_of_a_layer_in_sealed_memory(opened: OpenedSnapshot) -> None:
    assert opened.parts
    taken = open_layer(message_of(opened), {})
    assert taken is not None
    assert [file.digest for file in (taken, *taken.parts)] == [file.digest for file in (opened, *opened.parts)]
    assert taken.marks is not None
    assert bytes(taken.marks) == bytes(marks_of([taken, *taken.parts]) or b"")
    assert isinstance(taken.marks, memoryview)
    assert taken.marks.readonly


def test_marks_that_could_be_changed_are_not_taken(opened: OpenedSnapshot) -> None:
    message = message_of(opened)
    open_memory = os.memfd_create("marks", os.MFD_CLOEXEC)
    os.close(message.descriptors[-1])
    message.descriptors[-1] = open_memory
    with pytest.raises(StartError, match="not sealed"):
        open_layer(message, {})


def test_a_layer_without_marks_comes_without(opened: OpenedSnapshot) -> None:
    opened.marks = None
    taken = open_layer(message_of(opened), {})
    assert taken is not None
    assert taken.marks is None
    assert open_layer(message_of(None), {}) is None
