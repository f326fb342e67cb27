"""From the entries of the first layer to the bytes of its file.

It has everything that policy.yaml has, and is built as such a file: feeds and databases are read again. Host names mean
what the control plane has found out (`inputs/`), so that a name server that is away takes nobody off a list.
"""

from __future__ import annotations

import re
import tempfile
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

import msgspec

from authz.control.model.records import HOSTS, POLICY_LAYER
from authz.control.publish.policy_document import policy_document, without_missing
from authz.engine.entries.opened_snapshot import OpenedSnapshot
from authz.errors import InputError, InvalidDocument
from authz.publisher.build import MAX_REFUSALS, build_snapshot
from authz.publisher.checks import lockouts
from authz.publisher.feeds.hosts import HostOptions
from authz.publisher.policy.read import Policy, read_policy
from authz.publisher.policy.subjects import SubjectOptions
from authz.snapshot.heading import CONTROL_PLANE
from authz.wire.snapshot.v1.snapshot_pb2 import Origin

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping, Sequence

    from authz.addresses import Network
    from authz.control.model.records import Entry as StoredEntry
    from authz.control.publish.order import PartFile
    from authz.snapshot.signing.envelope import Signer


class BuiltLayer(NamedTuple):
    """The file, how many entries it has, and what people should know.

    Attributes:
        parts: That the file requires.
    """

    content: bytes
    entries: int
    warnings: tuple[str, ...] = ()
    parts: tuple[PartFile, ...] = ()


def build_policy(
    entries: Sequence[StoredEntry], documents: Mapping[str, str], signer: Signer, *, serial: int, created: int,
    folder: Path, protected: Iterable[Network] = (),
) -> BuiltLayer:  # fmt: skip
    """Build and sign the first layer. Raises InputError.

    It warns of what is protected and denied all the same: a change that does so was forced, but a feed or a database
    may come to have such an address by itself. folder: what paths of feeds are relative to. protected: networks beside
    the policy's own.
    """
    content, warnings = without_missing(policy_document(entries, documents), folder)
    policy, told = _whole_policy(content, folder)
    with tempfile.TemporaryDirectory(prefix="authz-layer-") as beside:
        path = Path(beside) / f"{POLICY_LAYER}.snapshot"
        kept = (*policy.protected, *protected)
        build_snapshot(
            policy, path, [signer], serial=serial, created=created, layer=POLICY_LAYER,
            origin=Origin(source=CONTROL_PLANE),
            guard=lambda built: told.extend(lockouts(OpenedSnapshot(built), kept, created)[:MAX_REFUSALS]),
        )  # fmt: skip
        return BuiltLayer(path.read_bytes(), len(policy.entries), (*warnings, *told))


def _whole_policy(content: dict[str, Any], folder: Path) -> tuple[Policy, list[str]]:
    """Return the policy, and its warnings without the place: it is of a file that nobody wrote.

    Nothing is written: the signer may only read the folder.
    """
    text = msgspec.json.encode(content)  # JSON is YAML
    options = SubjectOptions(HostOptions(cache=folder / HOSTS, offline=True), allow_unresolved=True)
    with tempfile.NamedTemporaryFile(prefix="authz-policy-", suffix=".yaml") as file:  # `folder` may be read-only
        file.write(text)
        file.flush()
        try:
            policy = read_policy(Path(file.name), options=options, folder=folder)
        except InvalidDocument as error:  # the line is of a file that nobody wrote
            told = "; ".join(f"{mistake.key}: {mistake.message}" for mistake in error.mistakes)
            raise InputError(told, hint=error.hint) from error
    place = re.compile(rf"{re.escape(file.name)}(?::\d+)*: ")
    return policy, [place.sub("", warning) for warning in policy.warnings]
