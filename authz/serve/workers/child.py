"""What keeper and worker have in common: a sidecar that speaks with the supervisor."""

from __future__ import annotations

import asyncio
import logging
import os
import signal
from typing import TYPE_CHECKING, Final

from authz.serve.sidecar import Sidecar
from authz.serve.workers.channel import Message

if TYPE_CHECKING:
    from collections.abc import Callable

    from authz.serve.config.config import Config
    from authz.serve.workers.channel import Channel

RETRY = 0.05  # seconds until a message that was not taken is sent again
_BEAT: Final = 1.0  # seconds between two signs of life
_LOG = logging.getLogger("authz")


class Child(Sidecar):
    """A sidecar that is a part of one. Subclasses take messages in `take`.

    Args:
        config: What of the configuration is ours to do.
        read: Reads it again.
        channel: To the supervisor.
    """

    def __init__(self, config: Config, read: Callable[[], Config], channel: Channel) -> None:
        self._channel = channel
        super().__init__(config, read)

    async def start(self) -> None:
        """Listen to the supervisor, then take all steps of the start."""
        asyncio.get_running_loop().add_reader(self._channel.fileno(), self._receive)
        self._task(self._beat())
        await super().start()

    async def _beat(self) -> None:
        """Say that we live, from the first step of the start on: it may take longer than one that hangs is left."""
        while True:
            self.send(Message("alive", None))
            await asyncio.sleep(_BEAT)

    def _receive(self) -> None:
        try:
            for message in self._channel.receive():
                self.take(message)
        except EOFError:
            asyncio.get_running_loop().remove_reader(self._channel.fileno())
            self.give_place("the supervisor has gone")
        except OSError as error:
            self.give_place(str(error))

    def give_place(self, why: str) -> None:
        """End, so that another is started: it is told again all that there is."""
        _LOG.error("%s: ending", why)
        os.kill(os.getpid(), signal.SIGTERM)

    def take(self, message: Message) -> None:
        """Take a message, and close its descriptors."""
        message.close()

    def send(self, message: Message) -> bool:
        """Send a message, if the supervisor takes it now. The descriptors stay open."""
        try:
            return self._channel.send(message)
        except OSError:  # it has gone, and we are about to
            return False
