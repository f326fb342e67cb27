"""TLS between a socket and a protocol: OpenSSL with memory on both sides, no thread, no system call of its own.

    socket -> data_received -> OpenSSL -> inner.data_received
    socket <- transport.write <- OpenSSL <- TlsTransport.write

The inner protocol sees the connection once the handshake is good and the client is one that may connect. A handshake
takes a millisecond, and as many could come at once as there are peers: so they have turns. OpenSSL gets
some records at a time, so that a read full of tiny ones keeps nobody else waiting, and records that carry nothing (a
change of keys takes ten times as long as data) are counted. While the inner protocol does not read, nothing is
decrypted, and what is left counts as held for the peer.
"""

from __future__ import annotations

import asyncio
import logging
import ssl
import time
from contextlib import suppress
from typing import TYPE_CHECKING, Any, Final, cast

from authz.serve.listeners.tls.clients import valid_until

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

    from authz.serve.listeners.tls.certificates import Certificates
    from authz.serve.listeners.tls.clients import Clients

_RECORD: Final = 16384  # bytes of plain text in a record, at most (RFC 8446, section 5.1)
_RECORDS: Final = 64  # that OpenSSL gets before others have their turn
_HEAD: Final = 5  # bytes of a record before what is encrypted
_TYPES: Final = range(20, 24)  # of records
_MAJOR: Final = 3  # of all versions of TLS
_LONGEST: Final = _RECORD + 2048  # bytes behind it (RFC 5246, section 6.2.3); in TLS 1.3 fewer
_REVOKED: Final = 23  # X509_V_ERR_CERT_REVOKED
_MAX_IDLE: Final = 100  # records without data that a peer may send, and so many more than those with data
_LOG = logging.getLogger("authz.tls")


class TlsConnection(asyncio.Protocol):
    """One connection.

    Args:
        certificates: Of the listener.
        factory: Makes the inner protocol.

    Attributes:
        peer: The address of the peer; "" for a unix socket.
        inner: The inner protocol; None: until the handshake is done, and when the connection has ended.
    """

    peer = ""

    def __init__(self, certificates: Certificates, factory: Callable[[], asyncio.BaseProtocol]) -> None:
        self._certificates = certificates
        self._factory = factory
        self._incoming, self._outgoing = ssl.MemoryBIO(), ssl.MemoryBIO()
        self._object: ssl.SSLObject
        self._transport: asyncio.Transport
        self._timer: asyncio.TimerHandle
        self._clients: Clients
        self.inner: asyncio.Protocol | None = None
        self._left = b""  # what OpenSSL has not got yet
        self._idle = 0  # records without data, less those with
        self._paused = False  # the inner protocol does not read
        self._reading = False  # what is left is decrypted in a later turn
        self._ended = False  # we have said the last word, or the peer has

    # The socket.

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """Begin the handshake."""
        certificates = self._certificates
        self._clients = certificates.clients  # before the context, which a change exchanges first
        self._transport = cast("asyncio.Transport", transport)
        name = transport.get_extra_info("peername")
        self.peer = str(name[0]) if isinstance(name, tuple) else ""
        self._object = certificates.context.wrap_bio(self._incoming, self._outgoing, server_side=True)
        timeout = certificates.tls.handshake_timeout
        self._timer = asyncio.get_running_loop().call_later(timeout, self._refuse, "timeout")
        certificates.begin(self)

    def data_received(self, data: bytes) -> None:
        """Decrypt what came."""
        if self._ended:
            return
        self._left = self._left + data if self._left else data
        if self.inner is None:
            self._put_off()
        elif not (self._paused or self._reading):
            self._take()

    def eof_received(self) -> bool:
        """Close: a peer that has stopped sending is sent nothing."""
        return False

    def connection_lost(self, exc: Exception | None) -> None:
        """Forget the connection."""
        self._ended = True
        self._timer.cancel()
        self._certificates.end(self, "lost")
        self._certificates.open.discard(self)
        self._certificates.held.release(self)
        if self.inner is not None:
            self.inner.connection_lost(exc)
            self.inner = None  # it refers to us by its transport; so that nobody has to look for the circle

    def pause_writing(self) -> None:
        """Tell the inner protocol that the peer does not read; in a handshake nobody has reason not to."""
        if self.inner is None:
            self._transport.abort()
        else:
            self.inner.pause_writing()

    def resume_writing(self) -> None:
        """Tell the inner protocol that the peer reads again."""
        if self.inner is not None:
            self.inner.resume_writing()

    # The handshake.

    def _shake_hands(self) -> bool:
        """Go on with the handshake. Returns whether it is done."""
        try:
            self._object.do_handshake()
        except ssl.SSLWantReadError:
            self._flush()
            return False
        except (ssl.SSLError, OSError) as error:
            _LOG.debug("%s: a handshake failed: %s", self._certificates.name, error)
            self._flush()  # the alert
            self._refuse("revoked" if getattr(error, "verify_code", 0) == _REVOKED else "failed")
            return False
        certificate = self.certificate()
        if self._clients is not self._certificates.clients:  # it was verified by those of before
            self._refuse("outdated")
            return False
        if not self._clients.may_connect(certificate, time.time()):
            self._certificates.refused(certificate)
            self._refuse("not_allowed")
            return False
        self._certificates.open.add(self, valid_until(certificate))
        self._timer.cancel()
        self._certificates.end(self, "resumed" if self._object.session_reused else "ok")
        self._flush()
        self.inner = inner = cast("asyncio.Protocol", self._factory())
        inner.connection_made(TlsTransport(self, self._transport, self._object))
        return not self._ended

    def certificate(self) -> Mapping[str, Any] | None:
        """Return the client's certificate as `SSLObject.getpeercert` does."""
        return self._object.getpeercert()

    def der(self) -> bytes | None:
        """Return the client's certificate as it was sent; None: there was none."""
        return self._object.getpeercert(binary_form=True)

    def _refuse(self, result: str) -> None:
        self._certificates.end(self, result)
        self._ended = True
        self._transport.close()

    def abort(self) -> None:
        """End at once, without a word."""
        self._ended = True
        self._transport.abort()

    # Reading.

    def _take(self) -> None:
        """Give OpenSSL some records; go on with the handshake, or read."""
        end, number = whole_records(self._left)
        if number:
            self._incoming.write(self._left[:end])
            self._left = self._left[end:]
            if self.inner is None and not self._shake_hands():
                self._put_off()
            else:
                self._read(number)

    def _read(self, number: int) -> None:
        """Decrypt so many records, and hand on together what is in them."""
        records: list[bytes] = []
        last, incoming, sslobject, inner = False, self._incoming, self._object, self.inner
        try:
            while True:
                record = sslobject.read(_RECORD)
                last = not record
                if last:
                    break
                records.append(record)
                if not (incoming.pending or sslobject.pending()):
                    break
        except ssl.SSLWantReadError:
            pass
        except (ssl.SSLError, OSError) as error:
            _LOG.debug("%s: a connection failed: %s", self._certificates.name, error)
            last = True
        if records and inner is not None:
            inner.data_received(records[0] if len(records) == 1 else b"".join(records))
        if self._outgoing.pending:  # an alert, or an answer to a new key
            self._flush()
        self._idle = max(0, self._idle + number - 2 * len(records))
        if self._idle > _MAX_IDLE and not self._ended:
            _LOG.debug("%s: a peer sends records that carry nothing", self._certificates.name)
            self.abort()
        elif last:
            self._end()
        else:
            self._put_off()  # what is left, where something is

    def _put_off(self) -> None:
        """Take what is left in a later turn, and no more bytes before that."""
        if self._ended or not whole_records(self._left)[1]:
            return
        self._transport.pause_reading()
        self._certificates.held.hold(self, len(self._left))
        if not self._reading and not self._paused:
            self._reading = True
            if self.inner is None:
                self._certificates.turns.add(self)
            else:
                asyncio.get_running_loop().call_soon(self._go_on)

    def work(self) -> bool:
        """Go on with the handshake, when it is our turn. Returns False: where more is to do we ask for another turn."""
        self._go_on()
        return False

    def _go_on(self) -> None:
        self._reading = False
        if self._may_read:
            self._take()
        if self._may_read and not self._transport.is_closing():
            self._certificates.held.release(self)
            self._transport.resume_reading()

    @property
    def _may_read(self) -> bool:
        return not (self._ended or self._paused or self._reading)

    def pause_reading(self) -> None:
        """Decrypt nothing: the inner protocol does not read."""
        if not self._paused and not self._transport.is_closing():
            self._paused = True
            self._transport.pause_reading()

    def resume_reading(self) -> None:
        """Go on where the inner protocol stopped."""
        if self._paused and not self._transport.is_closing():
            self._paused = False
            if not self._reading:
                self._reading = True
                asyncio.get_running_loop().call_soon(self._go_on)

    # Writing.

    def write(self, data: bytes) -> None:
        """Encrypt bytes, and send them."""
        if self._ended or not data:
            return
        try:
            self._object.write(data)
        except (ssl.SSLError, OSError) as error:
            _LOG.debug("%s: a connection failed: %s", self._certificates.name, error)
            self._transport.abort()
            return
        self._transport.write(self._outgoing.read())

    def _flush(self) -> None:
        if self._outgoing.pending and not self._transport.is_closing():
            self._transport.write(self._outgoing.read())

    def finish(self) -> None:
        """Say close_notify: nothing more is written, and what still comes is dropped. A second call is harmless."""
        if not self._ended:
            self._ended = True
            with suppress(ssl.SSLError, OSError):  # the peer's close_notify is not waited for
                self._object.unwrap()
            self._flush()

    def _end(self) -> None:
        if self.inner is not None and not self._ended:
            self.inner.eof_received()
        self.finish()
        self._transport.close()


def whole_records(data: bytes) -> tuple[int, int]:
    """Return where the last of the first records ends, and how many they are: at most `_RECORDS`, and whole ones.

    What is no record counts as one, for OpenSSL to refuse.
    """
    size, end, number = len(data), 0, 0
    while number < _RECORDS and end + _HEAD <= size:
        length = data[end + 3] << 8 | data[end + 4]
        if length > _LONGEST or data[end] not in _TYPES or data[end + 1] != _MAJOR:
            return size, number + 1
        if end + _HEAD + length > size:
            break
        end += _HEAD + length
        number += 1
    return end, number


class TlsTransport(asyncio.Transport):
    """What the inner protocol writes to."""

    def __init__(self, connection: TlsConnection, outer: asyncio.Transport, sslobject: ssl.SSLObject) -> None:
        super().__init__()
        self._connection = connection
        self._outer = outer
        self._object = sslobject
        self.write = connection.write  # type: ignore[method-assign,assignment]  # one call less for each answer
        self.pause_reading = connection.pause_reading  # type: ignore[method-assign]
        self.resume_reading = connection.resume_reading  # type: ignore[method-assign]

    def get_extra_info(self, name: str, default: Any = None) -> Any:
        """Return what the socket knows, or `ssl_object` and `sslcontext`."""
        if name == "sslcontext":
            return self._object.context
        return self._object if name == "ssl_object" else self._outer.get_extra_info(name, default)

    def is_closing(self) -> bool:
        """Return whether the end has begun."""
        return self._outer.is_closing()

    def get_write_buffer_size(self) -> int:
        """Return how many bytes the peer has not taken."""
        return self._outer.get_write_buffer_size()

    def set_write_buffer_limits(self, high: int | None = None, low: int | None = None) -> None:
        """Set the limits of the socket."""
        self._outer.set_write_buffer_limits(high, low)

    def can_write_eof(self) -> bool:
        """Return True: close_notify, then FIN."""
        return self._outer.can_write_eof()

    def write_eof(self) -> None:
        """Say that this was the last."""
        self._connection.finish()
        self._outer.write_eof()

    def close(self) -> None:
        """Say close_notify, and close once all is sent."""
        self._connection.finish()
        self._outer.close()

    def abort(self) -> None:
        """End at once."""
        self._connection.abort()
