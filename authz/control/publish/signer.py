"""The process that holds the keys.

It signs only what it has checked itself:

1. the serial is above the last one that it signed for this layer;
2. the changes continue the chain of hashes from where it signed last, and end at the hash that it is given;
3. every entry is within the layer's limits.

It keeps each layer in memory (`held`), so an order carries the changes since the last one. What it signed last stands
in a state file of the layer. When it was started again, it goes on from the files of a layer of bans that it signed
last, and the changes since: a million bans are read so in seconds. It listens on a unix socket, or talks to the control
plane that started it.
"""

from __future__ import annotations

import contextlib
import gc
import hashlib
import os
import socket
import sys
import threading
import time
from pathlib import Path
from typing import TYPE_CHECKING

import msgspec

from authz.addresses import BITS
from authz.control.config import ControlConfig, check_writable, load_control_config
from authz.control.lists.rules.limits import breaches
from authz.control.model.problems import NotPermitted
from authz.control.model.records import POLICY_LAYER, decode_entry
from authz.control.publish.held import Held, HeldBans, HeldPolicy
from authz.control.publish.order import (
    Answer,
    Attest,
    Attested,
    NeedsAll,
    Order,
    Refused,
    Signed,
    SignedFiles,
    receive_order,
    send,
)
from authz.control.store.ledger.chain import chained
from authz.control.store.ledger.checkpoints import CHECKPOINT_TYPE, Checkpoint
from authz.durable import replace_file
from authz.errors import AuthzError, InputError, SnapshotRefused
from authz.snapshot.signing.envelope import Envelope, canonical
from authz.snapshot.signing.signers import load_signer

if TYPE_CHECKING:
    from collections.abc import Callable, Collection, Iterable

    from authz.control.lists.rules.limits import Limits
    from authz.control.model.records import Entry
    from authz.snapshot.signing.signers import LoadedSigner


class LastSigned(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """What was signed last for a layer.

    Attributes:
        limits: A digest of those that it was checked by.
    """

    serial: int
    chain: str
    limits: str = ""


class SignerState:
    """What the signer knows: keys, limits, what it signed, and the entries of each layer."""

    def __init__(
        self, config: ControlConfig, clock: Callable[[], float] = time.time, layers: Collection[str] | None = None
    ) -> None:
        self._clock = clock
        self._data = Path(config.data)
        self._limits = config.limits()
        self._protected = config.rules().protected
        self._keys: dict[str, LoadedSigner] = {}
        self._state = {}
        self._signed: dict[str, LastSigned] = {}
        for layer in config.layers:
            if layers is None or layer.name in layers:
                self._keys[layer.name] = load_signer(layer.key, Path(layer.public_key) if layer.public_key else None)
                self._state[layer.name] = _state_path(config, layer.name)
                signed = _load_state(config, layer.name)
                if signed is not None:
                    self._signed[layer.name] = signed
        self._held: dict[str, Held] = {}
        self._locks = {layer: threading.Lock() for layer in self._keys}

    def answer(self, order: Order | Attest) -> Answer:
        """Check an order, and sign it or say why not. From any thread; a layer has one order at a time."""
        if order.layer not in self._keys:
            return Refused(code="unknown_layer", message=f"found the layer '{order.layer}', which has no key here")
        with self._locks[order.layer]:
            return self._attested(order) if isinstance(order, Attest) else self._answer(order)

    def _attested(self, order: Attest) -> Answer:
        """Sign where the chain stands: only there where we have checked it ourselves, and signed last."""
        last = self._signed.get(order.layer)
        if last is None or (last.serial, last.chain) != (order.sequence, order.chain):
            return Refused(code="not_signed_last", message=f"found {order.sequence}, expected what was signed last")
        checkpoint = Checkpoint(layer=order.layer, sequence=order.sequence, time=order.time, hash=order.chain)
        unsigned = Envelope(msgspec.json.encode(checkpoint, order="deterministic"), CHECKPOINT_TYPE, {})
        try:
            signature = self._keys[order.layer].sign(unsigned.pae())
        except AuthzError as error:
            return Refused(code=error.code, message=error.message)
        envelope = unsigned._replace(signatures={signature.keyid: bytes.fromhex(signature.signature)})
        return Attested(envelope=canonical(envelope).decode())

    def _answer(self, order: Order) -> Answer:
        last = self._signed.get(order.layer)
        if last is not None and order.serial <= last.serial:
            return Refused(code="old_serial", message=f"found serial {order.serial}, expected above {last.serial}")
        now = int(self._clock())
        held = self._held.pop(order.layer, None)  # back in its place once all is signed: what fails half-way is gone
        if order.files is not None:
            held = self._restored(order, order.files, last, now)
        if order.entries is None and (held is None or held.sequence != order.base):
            return NeedsAll(signed=0 if last is None else last.serial, whole=order.files is not None)
        if not _continues(order, last):
            expected = f"expected the changes behind serial {last.serial if last else 0}, which was signed last"
            return Refused(code="broken_chain", message=f"the changes do not continue what was signed: {expected}")
        try:
            held = self._taken(order, held, now)
            built = held.build(order.serial, now)
            held.sequence = order.serial
            self._keep(order, held)
        except AuthzError as error:
            return Refused(code=error.code, message=error.message)
        except OSError as error:  # told: a connection that ends says nothing
            return Refused(code=InputError.code, message=f"the layer cannot be built: {error}")
        return Signed(
            content=built.content, entries=built.entries, parts=list(built.parts), warnings=list(built.warnings)
        )  # fmt: skip

    def _restored(self, order: Order, files: SignedFiles, last: LastSigned | None, now: int) -> Held | None:
        """Return a layer as it was in files that we signed, last or before; None: all entries are needed.

        The changes since must lead from the files' chain to what was signed last: so nothing was left out between.
        """
        if last is None or order.layer == POLICY_LAYER or last.limits != self._limits_of(order.layer):
            return None
        key = self._keys[order.layer]
        try:
            held = HeldBans.of_files(order.layer, files, key, key.public, now)
        except SnapshotRefused:
            return None
        between = [change for change in order.changes if held.sequence < change.sequence <= last.serial]
        chain = files.chain
        for change in between:
            chain = chained(chain, change)
        return held if held.sequence <= last.serial and chain == last.chain else None

    def _limits_of(self, layer: str) -> str:
        return hashlib.sha256(repr(self._limits[layer]).encode()).hexdigest()[:16]

    def _taken(self, order: Order, held: Held | None, now: int) -> Held:
        """Return the layer as it is after the order, with what is new in it checked.

        What was within the limits once stays within them: ends only come nearer.
        """
        if order.entries is None and held is not None:
            new = [change for change in order.changes if change.sequence > held.sequence]
            newest = {change.subject: change for change in new if ":" not in change.subject}
            entries = [entry for change in newest.values() if (entry := change.entry_after()) is not None]
            self._check(order.layer, entries, now)
            held.take(new)
        else:
            decoded = (decode_entry(text) for text in order.entries or ())
            entries = [entry for entry in decoded if entry is not None]
            self._check(order.layer, entries, now)
            held = self._loaded(order, entries, now)
        if order.layer != POLICY_LAYER:
            self._check_whole(self._limits[order.layer], held, now)
        return held

    def _loaded(self, order: Order, entries: list[Entry], now: int) -> Held:
        key = self._keys[order.layer]
        if order.layer == POLICY_LAYER:
            return HeldPolicy(entries, order.documents or {}, key, self._data, order.serial, self._protected)
        return HeldBans.of_entries(order.layer, entries, key, order.serial, now)

    @staticmethod
    def _check_whole(limits: Limits, held: Held, now: int) -> None:
        count = held.count(now)
        if count > limits.entries:
            raise NotPermitted(f"found {count} entries, expected at most {limits.entries}")
        for version, bits in BITS.items():
            total = limits.total(version)
            if total and held.covers_more(version, 1 << bits - total, now):
                raise NotPermitted(f"found more addresses of IPv{version} than a /{total} has")

    def _check(self, layer: str, entries: Iterable[Entry], now: int) -> None:
        limits = self._limits[layer]
        for entry in entries:
            mistake = next(breaches(entry, limits, now), None) if entry.expires is None or now < entry.expires else None
            if mistake is not None:
                raise NotPermitted(f"{entry.id}: {mistake.pointer}: {mistake.detail}")

    def _keep(self, order: Order, held: Held) -> None:
        """Write what was signed, before anybody gets it. Raises InputError."""
        signed = LastSigned(order.serial, order.chain, self._limits_of(order.layer))
        path, content = self._state[order.layer], msgspec.json.encode({order.layer: signed})
        try:
            path.parent.mkdir(parents=True, exist_ok=True)
            replace_file(path, lambda file: file.write(content), mode=0o600)
        except OSError as error:
            raise InputError(f"signer_state: {path}: cannot be written: {error.strerror}") from error
        self._signed[order.layer] = signed
        self._held[order.layer] = held


def _continues(order: Order, last: LastSigned | None) -> bool:
    """Return whether the changes lead from what was signed last to what is to be signed.

    The changes begin at or before the last signed one: then the hash there must be the one that was signed.
    """
    if last is None:
        return True
    chain = last.chain
    for change in order.changes:
        if change.sequence <= last.serial:
            continue
        chain = chained(chain, change)
        if chain != change.hash:
            return False
    return chain == order.chain


def _state_path(config: ControlConfig, layer: str) -> Path:
    """Return where it stands what was signed last for a layer: a file each, as each layer may have its own process."""
    path = Path(config.signer_state)
    return path.with_name(f"{path.stem}.{layer}{path.suffix}")


def _load_state(config: ControlConfig, layer: str) -> LastSigned | None:
    """Return what was signed last. Versions before had one file for all layers: it is read if there is no other."""
    for path in (_state_path(config, layer), Path(config.signer_state)):
        with contextlib.suppress(FileNotFoundError):
            return msgspec.json.decode(path.read_bytes(), type=dict[str, LastSigned]).get(layer)
    return None


def serve_connection(state: SignerState, connection: socket.socket) -> None:
    """Answer orders until the other side closes."""
    while (order := receive_order(connection)) is not None:
        send(connection, state.answer(order))


def main(arguments: list[str]) -> None:
    """Run as a child: `CONFIG DESCRIPTOR LAYER`, the socket of the control plane that started us."""
    config, descriptor = Path(arguments[0]), int(arguments[1])
    state = SignerState(load_control_config(config, os.environ), layers=arguments[2:])
    gc.freeze()  # collections pass over what stays
    with socket.socket(fileno=descriptor) as connection, contextlib.suppress(ConnectionError, KeyboardInterrupt):
        serve_connection(state, connection)


def listen(config_file: Path) -> None:
    """Run as a service of its own, on the unix socket that the configuration names; a thread a connection.

    Raises InputError and AuthzError where it cannot begin.
    """
    config = load_control_config(config_file, os.environ)
    if config.signer is None:
        raise AuthzError("signer: missing, expected the path of a unix socket")
    check_writable("signer_state", Path(config.signer_state).parent)
    state, path = SignerState(config), Path(config.signer)
    gc.freeze()  # collections pass over what stays
    path.unlink(missing_ok=True)
    with socket.socket(socket.AF_UNIX) as listener:
        before = os.umask(0o117)  # the socket is for us and our group
        listener.bind(str(path))
        os.umask(before)
        listener.listen()
        print(f"signer: listening on {path}", file=sys.stderr, flush=True)  # noqa: T201  # the line that a supervisor waits for
        while True:
            connection, _ = listener.accept()
            threading.Thread(target=_serve_caller, args=(state, connection), daemon=True).start()


def _serve_caller(state: SignerState, connection: socket.socket) -> None:
    with connection, contextlib.suppress(OSError, msgspec.DecodeError):
        serve_connection(state, connection)


if __name__ == "__main__":
    main(sys.argv[1:])
