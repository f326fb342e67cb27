"""The check of the gRPC front: the bytes of a CheckRequest in, the bytes of a CheckResponse out.

Both engines call it, so they cannot disagree. It never raises: what cannot be read is denied as `malformed_request`,
for a client may have made it so; where we fail ourselves the answer is "cannot decide", and the fault is logged.

The peer is `attributes.source.address`, never gRPC metadata (whose x-forwarded-for is Envoy itself). The application
comes from `context_extensions`, which only Envoy's configuration writes, never from a header.
"""

from __future__ import annotations

import logging
import time
from typing import TYPE_CHECKING, Final

from google.protobuf.message import DecodeError

from authz.envoy.v3.check_pb2 import CheckRequest
from authz.serve.decision import Request
from authz.serve.grpc_answers import answer, answer_without
from authz.serve.signals import header_signals, metadata_signals

if TYPE_CHECKING:
    from collections.abc import Callable

    from authz.envoy.v3.check_pb2 import AttributeContext
    from authz.serve.config import Config
    from authz.serve.decision import Decider, Outcome
    from authz.serve.recorder import Recorder

CHECK_METHOD: Final = "/envoy.service.auth.v3.Authorization/Check"
MAX_REQUEST: Final = 1 << 20  # bytes; Envoy sends at most 61 KiB, and a body only where it is told to
_LOG = logging.getLogger("authz.check")


class GrpcCheck:
    """Answers CheckRequests. config: which header, context key and signal count. clock: seconds since 1970."""

    def __init__(
        self, config: Config, decider: Decider, recorder: Recorder, clock: Callable[[], float] = time.time
    ) -> None:
        self._decider = decider
        self._recorder = recorder
        self._clock = clock
        self._context_key = config.application.context_key
        self._header = config.client_address.header
        self._signal = config.attack_signal

    def __call__(self, payload: bytes) -> bytes:
        """Return the answer to one CheckRequest."""
        now = self._clock()
        try:
            if len(payload) > MAX_REQUEST:
                return self._undecided(self._decider.malformed(), now)
            attributes = CheckRequest.FromString(payload).attributes
            request = self._request(attributes)
            outcome, client = self._decider.check(request, now)
            self._recorder.record(outcome, client, request.peer, now)
            names = _header_names(attributes)
            if "authz" in names:  # in a name, and hardly ever: no need to look at each
                return answer_without(outcome, client, names.lower().split("\0"))
            return answer(outcome, client)
        except DecodeError:
            return self._undecided(self._decider.malformed(), now)
        except Exception:  # noqa: BLE001  # whatever it is, Envoy waits for an answer
            _LOG.exception("a check failed")
            return self._undecided(self._decider.failed(), now)

    def _undecided(self, outcome: Outcome, now: float) -> bytes:
        self._recorder.record(outcome, None, None, now)
        return answer(outcome, None)

    def _request(self, attributes: AttributeContext) -> Request:
        source = attributes.source.address
        http = attributes.request.http
        peer = source.socket_address.address.decode("latin-1") if source.HasField("socket_address") else None
        application = attributes.context_extensions.get(self._context_key, b"").decode("latin-1")
        host = "" if application else http.host.decode("latin-1")
        return Request(peer, self._lines(attributes, self._header), application, host, self._attack(attributes))

    def _lines(self, attributes: AttributeContext, name: str) -> list[str]:
        """Return the values of a header, from whichever of the two forms Envoy was told to send."""
        http = attributes.request.http
        value = http.headers.get(name)
        if value is not None:
            return [value.decode("latin-1")]
        if not http.header_map.headers:
            return []
        return [(h.raw_value or h.value).decode("latin-1") for h in http.header_map.headers if h.key.lower() == name]

    def _attack(self, attributes: AttributeContext) -> bool:
        signal = self._signal
        if signal.header and any(header_signals(line) for line in self._lines(attributes, signal.header)):
            return True
        if signal.metadata is None:
            return False
        namespaces = attributes.metadata_context.filter_metadata
        if signal.metadata.namespace not in namespaces:
            return False
        fields = namespaces[signal.metadata.namespace].fields
        return signal.metadata.key in fields and metadata_signals(fields[signal.metadata.key])


def _header_names(attributes: AttributeContext) -> str:
    """Return the names of all headers, with a NUL between. Values are not looked at: a client chooses their size."""
    http = attributes.request.http
    names = "\0".join(http.headers)
    return "\0".join([names, *(header.key for header in http.header_map.headers)]) if http.header_map.headers else names
