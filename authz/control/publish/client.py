"""Asking the signer: one that we start ourselves, or one behind a unix socket that somebody else runs."""

from __future__ import annotations

import contextlib
import socket
import subprocess
import sys
from typing import TYPE_CHECKING, Protocol

import msgspec

from authz.control.model.problems import SignerGone
from authz.control.publish.order import Answer, Attest, Order, receive_answer, send

if TYPE_CHECKING:
    from pathlib import Path

PATIENCE = 300.0  # seconds: the first layer may be built from large feeds


class AsksSigner(Protocol):
    """What the publisher needs of a signer."""

    def ask(self, order: Order | Attest) -> Answer:
        """Return the answer to an order. Raises SignerGone."""

    def close(self) -> None:
        """Let the signer go. A second call is harmless."""


class SignerClient:
    """Asks the signer of a layer; starts it again where it has ended. Not for two threads at once."""

    def __init__(self, config_file: Path, socket_path: str | None, layer: str) -> None:
        self._config_file = config_file
        self._socket_path = socket_path
        self._layer = layer
        self._connection: socket.socket | None = None
        self._child: subprocess.Popen[bytes] | None = None

    def ask(self, order: Order | Attest) -> Answer:
        """Return the answer to an order. Raises SignerGone."""
        try:
            connection = self._connection or self._connect()
            send(connection, order)
            return receive_answer(connection)
        except (OSError, msgspec.DecodeError) as error:
            self.close()
            raise SignerGone(f"the signer does not answer: {error}") from error

    def _connect(self) -> socket.socket:
        if self._socket_path is not None:
            connection = socket.socket(socket.AF_UNIX)
            connection.settimeout(PATIENCE)
            connection.connect(self._socket_path)
        else:
            connection = self._start()
        self._connection = connection
        return connection

    def _start(self) -> socket.socket:
        ours, theirs = socket.socketpair()
        with theirs:
            command = [sys.executable, "-m", "authz.control.publish.signer", str(self._config_file)]
            self._child = subprocess.Popen(  # noqa: S603  # our own program
                [*command, str(theirs.fileno()), self._layer], pass_fds=[theirs.fileno()], stdin=subprocess.DEVNULL
            )
        ours.settimeout(PATIENCE)
        return ours

    def close(self) -> None:
        """End the signer, where it is ours. A second call is harmless."""
        if self._connection is not None:
            self._connection.close()
            self._connection = None
        if self._child is not None:
            with contextlib.suppress(subprocess.TimeoutExpired):
                self._child.wait(5.0)
            self._child.kill()
            self._child.wait()
            self._child = None
