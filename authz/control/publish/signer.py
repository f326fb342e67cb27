"""The process that holds the keys.

It signs only what it has checked itself:

1. the serial is above the last one that it signed for this layer;
2. the changes continue the chain of hashes from where it signed last, and end at the hash that it is given;
3. every entry is within the layer's limits.

It keeps the entries of each layer in memory, so an order carries the changes since the last one. What it signed last
stands in its state file. It listens on a unix socket, or talks to the control plane that started it.
"""

from __future__ import annotations

import contextlib
import os
import socket
import sys
import time
from pathlib import Path
from typing import TYPE_CHECKING

import msgspec

from authz.control.config import ControlConfig, load_control_config
from authz.control.lists.limits import breaches
from authz.control.model import POLICY_LAYER, decode_entry
from authz.control.publish.build import BuiltLayer, ban_of, build_bans, build_policy
from authz.control.publish.order import Answer, NeedsAll, Order, Refused, Signed, receive_order, send
from authz.control.store.chain import chained
from authz.durable import replace_file
from authz.errors import AuthzError
from authz.snapshot.signers import load_signer

if TYPE_CHECKING:
    from collections.abc import Callable

    from authz.control.model import Entry
    from authz.publisher.bans import Ban
    from authz.snapshot.signers import Signer


class LastSigned(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """What was signed last for a layer."""

    serial: int
    chain: str


class Held(msgspec.Struct):
    """The entries and documents of a layer at a sequence. documents: by name, as JSON.

    bans: of the entries that were found good, as they are built; kept, so that a change costs what it changes.
    unchecked: ids of the others.
    """

    sequence: int
    entries: dict[str, Entry]
    documents: dict[str, str]
    bans: dict[str, Ban]
    unchecked: set[str]


class SignerState:
    """What the signer knows: keys, limits, what it signed, and the entries of each layer."""

    def __init__(self, config: ControlConfig, clock: Callable[[], float] = time.time) -> None:
        self._clock = clock
        self._folder = Path(config.folder)
        self._limits = config.limits()
        self._keys: dict[str, Signer] = {}
        for layer in config.layers:
            self._keys[layer.name] = load_signer(layer.key, Path(layer.public_key) if layer.public_key else None)
        self._path = Path(config.signer_state)
        self._signed = _load_state(self._path)
        self._held: dict[str, Held] = {}

    def answer(self, order: Order) -> Answer:
        """Check an order, and sign it or say why not."""
        if order.layer not in self._keys:
            return Refused(code="unknown_layer", message=f"found the layer '{order.layer}', which has no key here")
        last = self._signed.get(order.layer)
        if last is not None and order.serial <= last.serial:
            return Refused(code="old_serial", message=f"found serial {order.serial}, expected above {last.serial}")
        held = self._held_for(order)
        if held is None:
            return NeedsAll()
        if not _continues(order, last):
            self._held.pop(order.layer, None)
            return Refused(code="broken_chain", message="the changes do not continue what was signed last")
        now = self._clock()
        for entry_id in [e.id for e in held.entries.values() if e.expires is not None and now >= e.expires]:
            del held.entries[entry_id]
            held.bans.pop(entry_id, None)
        refused = self._breach(order.layer, held, now)
        if refused is not None:
            return refused
        return self._sign(order, held, int(now))

    def _sign(self, order: Order, held: Held, now: int) -> Answer:
        try:
            built = self._built(order, held, now)
        except AuthzError as error:
            return Refused(code=error.code, message=error.message)
        self._signed[order.layer] = LastSigned(order.serial, order.chain)
        content = msgspec.json.encode(self._signed)
        self._path.parent.mkdir(parents=True, exist_ok=True)
        replace_file(self._path, lambda file: file.write(content), mode=0o600)
        self._held[order.layer] = held
        return Signed(content=built.content, entries=built.entries, warnings=list(built.warnings))

    def _built(self, order: Order, held: Held, now: int) -> BuiltLayer:
        key = self._keys[order.layer]
        if order.layer != POLICY_LAYER:
            return build_bans(order.layer, held.bans.values(), key, serial=order.serial, created=now)
        entries = sorted(held.entries.values(), key=lambda entry: entry.id)
        return build_policy(entries, held.documents, key, serial=order.serial, created=now, folder=self._folder)

    def _held_for(self, order: Order) -> Held | None:
        """Return what the layer holds after the order; None: the signer has to be told all."""
        if order.entries is not None:
            decoded = (decode_entry(text) for text in order.entries)
            entries = {entry.id: entry for entry in decoded if entry is not None}
            return Held(order.serial, entries, dict(order.documents or {}), {}, set(entries))
        held = self._held.get(order.layer)
        if held is None or held.sequence != order.base:
            return None
        entries, documents, bans = dict(held.entries), dict(held.documents), dict(held.bans)
        unchecked = set(held.unchecked)
        for change in order.changes:
            if ":" in change.subject:
                documents[change.subject] = change.after
                continue
            after = change.entry_after()
            bans.pop(change.subject, None)
            unchecked.add(change.subject)
            if after is None:
                entries.pop(change.subject, None)
            else:
                entries[change.subject] = after
        kept = {name: text for name, text in documents.items() if text}
        return Held(order.serial, entries, kept, bans, unchecked)

    def _breach(self, layer: str, held: Held, now: float) -> Refused | None:
        """Check what is new against the limits; what was within them once is so for good: ends only come nearer."""
        limits = self._limits[layer]
        if layer != POLICY_LAYER and len(held.entries) > limits.entries:
            message = f"found {len(held.entries)} entries, expected at most {limits.entries}"
            return Refused(code="not_permitted", message=message)
        for entry in (held.entries[one] for one in sorted(held.unchecked & held.entries.keys())):
            mistake = next(breaches(entry, limits, now), None)
            if mistake is not None:
                return Refused(code="not_permitted", message=f"{entry.id}: {mistake.pointer}: {mistake.detail}")
            if layer != POLICY_LAYER:
                held.bans[entry.id] = ban_of(entry)
        held.unchecked.clear()
        return None


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


def _load_state(path: Path) -> dict[str, LastSigned]:
    with contextlib.suppress(FileNotFoundError):
        return msgspec.json.decode(path.read_bytes(), type=dict[str, LastSigned])
    return {}


def serve_connection(state: SignerState, connection: socket.socket) -> None:
    """Answer orders until the other side closes."""
    while (order := receive_order(connection)) is not None:
        send(connection, state.answer(order))


def main(arguments: list[str]) -> None:
    """Run as a child: `CONFIG DESCRIPTOR`, the socket of the control plane that started us."""
    config, descriptor = Path(arguments[0]), int(arguments[1])
    state = SignerState(load_control_config(config, os.environ))
    with socket.socket(fileno=descriptor) as connection, contextlib.suppress(ConnectionError, KeyboardInterrupt):
        serve_connection(state, connection)


def listen(config_file: Path) -> None:
    """Run as a service of its own, on the unix socket that the configuration names; one control plane at a time."""
    config = load_control_config(config_file, os.environ)
    if config.signer is None:
        raise AuthzError("signer: missing, expected the path of a unix socket")
    state, path = SignerState(config), Path(config.signer)
    path.unlink(missing_ok=True)
    with socket.socket(socket.AF_UNIX) as listener:
        before = os.umask(0o117)  # the socket is for us and our group
        listener.bind(str(path))
        os.umask(before)
        listener.listen()
        print(f"signer: listening on {path}", file=sys.stderr, flush=True)  # noqa: T201  # the line that a supervisor waits for
        while True:
            connection, _ = listener.accept()
            with connection, contextlib.suppress(OSError, msgspec.DecodeError):
                serve_connection(state, connection)


if __name__ == "__main__":
    main(sys.argv[1:])
