"""One sealed copy of a snapshot for all processes: descriptors of the memory go round, and each maps it.

The keeper has verified what it gives away, and nobody can change sealed memory, so nothing is verified again.
"""

from __future__ import annotations

import fcntl
import os
from typing import TYPE_CHECKING, Any

from authz.engine.entries.opened_snapshot import OpenedSnapshot
from authz.errors import StartError
from authz.serve.workers.channel import Message
from authz.snapshot.cooperative import CONSIDERATE
from authz.snapshot.read import shared_snapshot
from authz.snapshot.sealed_memory import Descriptor, mapped

if TYPE_CHECKING:
    from authz.serve.layers.layer import Layer

LAYER = "layer"
_SEALS = fcntl.F_SEAL_SHRINK | fcntl.F_SEAL_WRITE if hasattr(fcntl, "F_SEAL_WRITE") else 0


def layer_message(layer: Layer) -> Message:
    """Return what tells others of a layer. Close its descriptors once it is sent."""
    opened, files, descriptors = layer.opened, [], list[int]()
    for file in () if opened is None else (opened, *opened.parts):
        if file.shared is None:
            raise StartError("workers: found no sealed memory to share, expected Linux")
        envelope = os.memfd_create("authz-envelope", os.MFD_CLOEXEC)
        os.write(envelope, file.shared.envelope)
        descriptors += [envelope, file.shared.dup()]
        files.append({"digest": file.digest, "size": file.size, "signed_by": list(file.signed_by)})
    marked = opened is not None and opened.marks is not None
    if opened is not None and opened.marks is not None:
        descriptors.append(_sealed_copy(opened.marks))
    content = {"name": layer.config.name, "last_good": layer.last_good, "files": files, "marked": marked}
    return Message(LAYER, content, descriptors)


def _sealed_copy(data: bytearray | memoryview) -> int:
    """Return a descriptor of sealed memory with these bytes."""
    copy = os.memfd_create("authz-marks", os.MFD_CLOEXEC | os.MFD_ALLOW_SEALING)
    with os.fdopen(copy, "wb", closefd=False) as file:
        file.write(data)
    fcntl.fcntl(copy, fcntl.F_ADD_SEALS, _SEALS | fcntl.F_SEAL_GROW)
    return copy


def open_layer(message: Message, known: dict[str, OpenedSnapshot]) -> OpenedSnapshot | None:
    """Return the snapshot of a message with its parts, None if the layer has none now. Blocks.

    known: by digest, snapshots that are open already. Closes the descriptors.
    """
    with CONSIDERATE:  # the worker answers requests meanwhile
        return _open_layer(message, known)


def _open_layer(message: Message, known: dict[str, OpenedSnapshot]) -> OpenedSnapshot | None:
    try:
        files = message.content["files"]
        marks = _map_sealed(message.descriptors[-1]) if message.content["marked"] else None
        pairs = zip(message.descriptors[: 2 * len(files) : 2], message.descriptors[1 : 2 * len(files) : 2], strict=True)
        opened = [
            known.get(file["digest"]) or _open(file, envelope, sections)
            for file, (envelope, sections) in zip(files, pairs, strict=True)
        ]
    finally:
        message.close()
    if not opened:
        return None
    opened[0].parts, opened[0].marks = tuple(opened[1:]), marks
    return opened[0]


def _open(file: dict[str, Any], envelope: int, sections: int) -> OpenedSnapshot:
    text = os.pread(envelope, os.fstat(envelope).st_size, 0)
    return OpenedSnapshot(shared_snapshot(text, _map_sealed(sections), file["size"], file["signed_by"]))


def _map_sealed(descriptor: int) -> memoryview:
    """Return sealed memory, in place. Raises StartError if it is not sealed."""
    seals = fcntl.fcntl(descriptor, fcntl.F_GET_SEALS)
    if seals & _SEALS != _SEALS:
        raise StartError("found memory of a snapshot that is not sealed")
    return mapped(Descriptor(os.dup(descriptor)))
