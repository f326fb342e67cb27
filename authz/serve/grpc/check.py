"""The check of the gRPC front: the bytes of a CheckRequest in, the bytes of a CheckResponse out.

Both engines call it, so they cannot disagree. It never raises: what cannot be read is denied as `malformed_request`,
for a client may have made it so; where we fail ourselves the answer is "cannot decide", and the fault is logged.

The peer is `attributes.source.address`, never gRPC metadata (whose x-forwarded-for is Envoy itself). The application
comes from `context_extensions`, which only Envoy's configuration writes, never from a header.
"""

from __future__ import annotations

import logging
import time
from typing import TYPE_CHECKING, Final, Protocol

from google.protobuf.message import DecodeError

from authz.engine.request.request import RequestReader
from authz.serve.grpc.responses import answer, answer_without
from authz.serve.observe.details import MAX_RAW_HEADERS, UNKNOWN_PEER
from authz.wire.envoy.v3.check_as_read_pb2 import CheckRequestAsRead
from authz.wire.envoy.v3.check_pb2 import AttributeContext

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from google.protobuf.struct_pb2 import Value

    from authz.engine.decision.decider import Decider
    from authz.engine.decision.outcome import Decided, Outcome
    from authz.serve.config.config import ApplicationConfig, GrpcConfig
    from authz.serve.observe.details import CheckSource
    from authz.wire.envoy.v3.check_pb2 import HeaderValue

CHECK_METHOD: Final = "/envoy.service.auth.v3.Authorization/Check"
_MAX_FORGED: Final = 32  # headers with our prefix that are removed from a request; Envoy fails with many more
_MAX_PEERS: Final = 1024  # sources whose peer is remembered; each is a connection to the proxy
_MAX_SOURCE: Final = 128  # bytes of such a source; one with the certificate of the client has more
_LOG = logging.getLogger("authz.check")
_parse = CheckRequestAsRead.FromString  # looking it up takes as long as reading two fields


class CheckConfig(Protocol):
    """What of a configuration counts for checks; a `Config` has it."""

    @property
    def application(self) -> ApplicationConfig:
        """Which context key names the application."""

    @property
    def grpc(self) -> GrpcConfig:
        """How large a request may be."""


class Records(Protocol):
    """Takes decisions; a `Recorder` does."""

    def record(self, decided: Decided, peer: str | None, now: float, source: object = None) -> None:
        """Take one. source: a CheckSource; None if it could not be read."""


class GrpcCheck:
    """Answers CheckRequests.

    Args:
        config: Which header, context key and signal count, and how large a request may be.
        decider: Decides.
        recorder: Counts and logs.
        clock: Seconds since 1970.
    """

    def __init__(
        self, config: CheckConfig, decider: Decider, recorder: Records, clock: Callable[[], float] = time.time
    ) -> None:
        self._decider = decider
        self._recorder = recorder
        self._clock = clock
        self._max_message = config.grpc.max_message
        self._context_key = config.application.context_key
        self._read = RequestReader(decider.settings, _lines, _metadata).read
        self._peers: dict[bytes, str | None] = {}  # by the bytes of a source

    def __call__(self, payload: bytes) -> bytes:
        """Return the answer to one CheckRequest."""
        now = self._clock()
        try:
            size = len(payload)
            if size > self._max_message:
                return self._undecided(self._decider.too_large(), now)
            attributes = _parse(payload).attributes
            http = attributes.request.http
            headers = http.headers
            source = attributes, http, headers, size
            sender = attributes.source
            try:
                peer = self._peers[sender]
            except KeyError:
                peer = self._peer(sender)
            application = attributes.context_extensions[self._context_key].decode("latin-1")
            host = "" if application else http.host.decode("latin-1")
            decided = self._decider.decide(self._read(source, peer, application, host), now)
            outcome, client, rendered = decided
            if outcome.status == 200:
                names = "\0".join(headers) or _raw_names(http)
                if "authz" in names:  # hardly ever; values are not looked at, for a client chooses their size
                    forged = _forged(names)
                    self._recorder.record(decided, peer, now, source)
                    return answer_without(outcome, client, forged)
            self._recorder.record(decided, peer, now, source)  # not before: names may be a reason to deny
            if rendered is not None and rendered.check is not None:
                return rendered.check
            return answer(decided)
        except DecodeError:
            return self._undecided(self._decider.malformed(), now, *self._read_again(payload))
        except Exception:  # noqa: BLE001  # whatever it is, Envoy waits for an answer
            _LOG.exception("a check failed")
            return self._undecided(self._decider.failed(), now, self._read_again(payload)[0])

    def _read_again(self, payload: bytes) -> tuple[str | None, CheckSource | None]:
        """Return the peer and the request of a call that is not decided, for its line in the log.

        So no other call pays for keeping them at hand.
        """
        try:
            attributes = _parse(payload).attributes
            http, peer = attributes.request.http, self._peer(attributes.source)
        except Exception:  # noqa: BLE001  # for the same reason for which the call is not decided
            return UNKNOWN_PEER, None
        return peer, (attributes, http, http.headers, len(payload))

    def _peer(self, source: bytes) -> str | None:
        """Return the peer that an AttributeContext.Peer names; None for a unix socket. Raises DecodeError."""
        address = AttributeContext.Peer.FromString(source).address
        named = address.HasField("socket_address")
        peer = address.socket_address.address.decode("latin-1") if named else None
        if len(source) <= _MAX_SOURCE:
            if len(self._peers) >= _MAX_PEERS:
                self._peers.clear()
            self._peers[source] = peer
        return peer

    def headers_too_large(self) -> bytes:
        """Return the answer to a call whose metadata is too large: Envoy copies a client's `tracestate` into it."""
        return self._undecided(self._decider.malformed(), self._clock())

    def message_too_large(self) -> bytes:
        """Return the answer to a call whose message is larger than `grpc.max_message`."""
        return self._undecided(self._decider.too_large(), self._clock())

    def _undecided(
        self, outcome: Outcome, now: float, peer: str | None = UNKNOWN_PEER, source: CheckSource | None = None
    ) -> bytes:
        """Return the answer to a call that is not decided. peer, source: if they could be read."""
        decided = outcome, None, None
        self._recorder.record(decided, peer, now, source)
        return answer(decided)


def _raw_names(http: AttributeContext.HttpRequest) -> str:
    """Return the names of all headers in their raw form, with a NUL between."""
    return "\0".join([header.key for header in _raw_headers(http)])


def _raw_headers(http: AttributeContext.HttpRequest) -> Sequence[HeaderValue]:
    """Return the headers in their raw form. Raises DecodeError: each may be two bytes on the wire."""
    headers = http.header_map.headers
    if len(headers) > MAX_RAW_HEADERS:
        raise DecodeError(f"more than {MAX_RAW_HEADERS} headers")
    return headers


def _forged(names: str) -> set[str]:
    """Return the names of headers that a client may have sent under our prefix. Raises DecodeError."""
    forged = {name for name in names.lower().split("\0") if "authz" in name}
    if len(forged) > _MAX_FORGED:
        raise DecodeError(f"more than {_MAX_FORGED} headers with our prefix")
    return forged


def _lines(source: CheckSource, name: str) -> list[str]:
    """Return the values of a header, from whichever of the two forms Envoy was told to send.

    That is as a map, or as raw lines (`encode_raw_headers`).
    """
    _, http, headers, _ = source
    value = headers.get(name)
    if value is not None:
        return [value.decode("latin-1")]
    if headers:
        return []
    return [(h.raw_value or h.value).decode("latin-1") for h in _raw_headers(http) if h.key.lower() == name]


def _metadata(source: CheckSource, namespace: str, key: str) -> object:
    """Return a value of Envoy's dynamic metadata as in JSON; None if there is none, or it is no plain value."""
    namespaces = source[0].metadata_context.filter_metadata
    if namespace not in namespaces or key not in namespaces[namespace].fields:
        return None
    value: Value = namespaces[namespace].fields[key]
    kind = value.WhichOneof("kind")
    return getattr(value, kind) if kind in {"bool_value", "number_value", "string_value"} else None
