"""Messages between the supervisor and its children: a kind, a content of JSON, and descriptors. Nobody ever waits."""

from __future__ import annotations

import array
import errno
import os
import socket
from contextlib import suppress
from typing import TYPE_CHECKING, Any, Final, NamedTuple

import orjson

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

_INLINE: Final = 32 << 10  # bytes; what is longer goes by memory that is shared
_BUFFER: Final = 1 << 20  # bytes that may wait in a channel
_MAX_DESCRIPTORS: Final = 250  # of one message; Linux takes 253
_AT_ONCE: Final = 64  # messages that are received in one go
_SIZE: Final = array.array("i").itemsize


class Message(NamedTuple):
    """One message.

    Attributes:
        descriptors: Whoever has received it must close them.
    """

    kind: str
    content: Any
    descriptors: Sequence[int] = ()

    def close(self) -> None:
        """Close its descriptors."""
        for descriptor in self.descriptors:
            os.close(descriptor)


class Channel:
    """One end. Not for several threads."""

    def __init__(self, end: socket.socket) -> None:
        self._end = end
        end.setblocking(False)
        end.setsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF, _BUFFER)

    @classmethod
    def pair(cls) -> tuple[Channel, Channel]:
        """Return both ends of a new channel."""
        one, other = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
        return cls(one), cls(other)

    def fileno(self) -> int:
        """Return its descriptor."""
        return self._end.fileno()

    def send(self, message: Message) -> bool:
        """Send a message. Returns False if the other side does not take it now. Raises OSError if it has gone."""
        data = orjson.dumps([message.kind, message.content])
        descriptors, long = list(message.descriptors), -1
        if len(data) > _INLINE:
            long = os.memfd_create("authz-message", os.MFD_CLOEXEC)
            with os.fdopen(os.dup(long), "wb") as file:
                file.write(data)
            data, descriptors = b"", [long, *descriptors]
        try:
            passed = array.array("i", descriptors)
            control = [(socket.SOL_SOCKET, socket.SCM_RIGHTS, passed)] if descriptors else []
            self._end.sendmsg([b"\1" if long >= 0 else b"\0", data], control)
        except BlockingIOError:
            return False
        finally:
            if long >= 0:
                os.close(long)
        return True

    def receive(self, most: int = _AT_ONCE) -> Iterator[Message]:
        """Yield the messages that have come.

        Args:
            most: How many at most: who sends without a pause keeps nobody else waiting.

        Raises:
            EOFError: The other side has gone.
            OSError: There was no descriptor left for a message, or it cannot be read.
        """
        for _ in range(most):
            try:
                data, control, flags, _ = self._end.recvmsg(_INLINE + 64, socket.CMSG_SPACE(_MAX_DESCRIPTORS * _SIZE))
            except BlockingIOError:
                return
            except ConnectionResetError:
                data, control, flags = b"", [], 0
            if not data:
                raise EOFError
            descriptors = array.array("i")
            for level, what, passed in control:
                if (level, what) == (socket.SOL_SOCKET, socket.SCM_RIGHTS):
                    descriptors.frombytes(passed[: len(passed) - len(passed) % _SIZE])
            numbers = descriptors.tolist()
            if flags & socket.MSG_CTRUNC:
                Message("", None, numbers).close()
                raise OSError(errno.EMFILE, "a message came without all of its descriptors")
            try:
                kind, content = _content(data, numbers)
            except (ValueError, TypeError, IndexError) as error:
                Message("", None, numbers).close()
                raise OSError(errno.EBADMSG, "a message came that cannot be read") from error
            yield Message(kind, content, numbers)

    def close(self) -> None:
        """Close this end. A second call is harmless."""
        with suppress(OSError):
            self._end.close()


def _content(data: bytes, descriptors: list[int]) -> tuple[str, Any]:
    """Return kind and content of a message; where it is in shared memory, its descriptor is taken out and closed."""
    if data[0]:
        with os.fdopen(descriptors.pop(0), "rb") as file:
            data = b"\0" + os.pread(file.fileno(), os.fstat(file.fileno()).st_size, 0)
    kind, content = orjson.loads(data[1:])
    return kind, content
