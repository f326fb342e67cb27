"""Checkpoints: where the chain of a layer stood, signed by the layer's key.

Whoever keeps one elsewhere can tell whether history was rewritten since. The envelope is DSSE (see
`authz.snapshot.signing.envelope`) over {"layer": ..., "sequence": ..., "time": ..., "hash": ...}, of the type
CHECKPOINT_TYPE.
"""

from __future__ import annotations

import base64
import binascii
from typing import TYPE_CHECKING, Final

import msgspec
from sqlalchemy import insert, select

from authz.control.store.tables import changes, checkpoints
from authz.errors import InputError, SnapshotRefused
from authz.snapshot.signing.envelope import Envelope, verify_envelope

if TYPE_CHECKING:
    from collections.abc import Sequence

    from sqlalchemy import Connection

    from authz.snapshot.signing.keys import PublicKey

CHECKPOINT_TYPE: Final = "application/vnd.authz.checkpoint+json"


class Checkpoint(msgspec.Struct, frozen=True, kw_only=True):
    """What is signed.

    Attributes:
        time: Microseconds since 1970, of the change.
        hash: Of the chain up to it.
    """

    layer: str
    sequence: int
    time: int
    hash: str


class SignedCheckpoint(msgspec.Struct, frozen=True, kw_only=True):
    """A checkpoint and its envelope, as JSON text."""

    layer: str
    sequence: int
    time: int
    hash: str
    envelope: str


class _Signature(msgspec.Struct):
    keyid: str
    sig: str


class _Written(msgspec.Struct, rename="camel"):
    payload: str
    payload_type: str
    signatures: list[_Signature]


def add_checkpoint(tx: Connection, checkpoint: Checkpoint, envelope: str) -> None:
    """Keep a checkpoint."""
    tx.execute(insert(checkpoints).values(**msgspec.structs.asdict(checkpoint), envelope=envelope))


def list_checkpoints(tx: Connection, layer: str | None = None, limit: int = 1000) -> list[SignedCheckpoint]:
    """Return checkpoints, newest first."""
    query = select(checkpoints).order_by(checkpoints.c.time.desc(), checkpoints.c.layer).limit(limit)
    rows = tx.execute(query if layer is None else query.where(checkpoints.c.layer == layer))
    return [SignedCheckpoint(**row._mapping) for row in rows]  # noqa: SLF001  # its public name


def verified(envelope: str, keys: Sequence[PublicKey]) -> Checkpoint:
    """Return the checkpoint of an envelope. Raises InputError: no checkpoint, or none of these keys signed it."""
    try:
        written = msgspec.json.decode(envelope, type=_Written)
        payload = base64.b64decode(written.payload, validate=True)
        signatures = {
            signature.keyid: base64.b64decode(signature.sig, validate=True) for signature in written.signatures
        }
        if written.payload_type != CHECKPOINT_TYPE:
            raise InputError(f"found the type '{written.payload_type[:64]}', expected {CHECKPOINT_TYPE}")
        verify_envelope(Envelope(payload, written.payload_type, signatures), keys, 1)
        return msgspec.json.decode(payload, type=Checkpoint)
    except (msgspec.DecodeError, binascii.Error, UnicodeDecodeError) as error:
        raise InputError(f"found no checkpoint: {error}") from error
    except SnapshotRefused as error:
        raise InputError(f"the checkpoint is not signed by the layer's key: {error.message}") from error


def contradiction(tx: Connection, checkpoint: Checkpoint | SignedCheckpoint) -> str:
    """Return how a checkpoint and history differ; empty: they agree, or history of then was let go of."""
    of_layer = changes.c.layer == checkpoint.layer
    stored = tx.execute(
        select(changes.c.hash).where(of_layer, changes.c.sequence == checkpoint.sequence)
    ).scalar_one_or_none()
    if stored == checkpoint.hash:
        return ""
    if stored is not None:
        name = f"layer {checkpoint.layer}: change {checkpoint.sequence}"
        return f"{name} is not the one of the checkpoint: history was rewritten"
    older = tx.execute(
        select(changes.c.sequence).where(of_layer, changes.c.sequence < checkpoint.sequence).limit(1)
    ).first()
    return "" if older is None else f"layer {checkpoint.layer}: change {checkpoint.sequence} of a checkpoint is missing"
