"""What of a request counts for a decision, and the one reader of it.

Each front has its requests in a form of its own. A RequestReader is told how to get the lines of a header out of that
form, and Envoy's metadata where the form has any:

    reader = RequestReader(settings, lines_of)
    request = reader.read(source, peer, application, host)

The peer, the application and the host come from the front: which of them a client can write depends on the proxy.
"""

from __future__ import annotations

import contextlib
import json
from types import MappingProxyType
from typing import TYPE_CHECKING, Any, Generic, NamedTuple, TypeVar

from authz.engine.request.attack_signal import header_signals, metadata_signals
from authz.errors import InputError, shorten

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Mapping, Sequence
    from typing import TypeAlias

    from authz.addresses import Address
    from authz.engine.settings import Settings

    # The fields of a Request, in their order, for the hot path: a named tuple takes four times as long to make.
    Parts: TypeAlias = tuple[str | None, Sequence[str], str | None, str, bool]

Source = TypeVar("Source")
NO_METADATA: Mapping[str, Mapping[str, object]] = MappingProxyType({})


class Request(NamedTuple):
    """The parts of a request that the decision uses.

    Attributes:
        peer: The address that opened the connection to the proxy, as text; None: a unix socket.
        forwarded: The lines of the one header that names the client, in their order.
        application: The name that the proxy gives; None or "": none.
        host: The host that the request is for.
        attack: Whether a WAF marked the request as an attack.
    """

    peer: str | None
    forwarded: Sequence[str] = ()
    application: str | None = None
    host: str = ""
    attack: bool = False


class RequestReader(Generic[Source]):
    """Reads requests out of one form of sources.

    Args:
        settings: What counts of a request.
        lines: Returns the values of all lines of a source's header, in their order.
        metadata: Returns the value of a namespace and key of Envoy's metadata, as in JSON, or None; None: the sources
            have no metadata.
        header_name: Turns a header's name (lower case) into what `lines` is asked for.

    Attributes:
        read: Returns what counts of a request, given a source, and peer, application and host as in Request.
    """

    def __init__(
        self,
        settings: Settings,
        lines: Callable[[Source, Any], Sequence[str]],
        metadata: Callable[[Source, str, str], object] | None = None,
        header_name: Callable[[str], Any] = str,
    ) -> None:
        signal = settings.attack_signal
        self._lines = lines
        self._metadata = metadata
        self._forwarded = header_name(settings.rules.header)
        self._signal_header = header_name(signal.header) if signal.header else None
        self._signal_metadata = signal.metadata if metadata else None
        self.read = self._reader()

    @property
    def headers(self) -> list[Any]:
        """The names that `lines` is asked for."""
        return [self._forwarded] + ([self._signal_header] if self._signal_header else [])

    def _reader(self) -> Callable[[Source, str | None, str | None, str], Parts]:
        """Return `read`: a function of its own, for each look-up in `self` is paid by every request."""
        lines, forwarded = self._lines, self._forwarded
        attacks = self._attacks if self._signal_header or self._signal_metadata else None

        def read(source: Source, peer: str | None, application: str | None, host: str) -> Parts:
            return peer, lines(source, forwarded), application, host, attacks is not None and attacks(source)

        return read

    def _attacks(self, source: Source) -> bool:
        if self._signal_header and any(map(header_signals, self._lines(source, self._signal_header))):
            return True
        if self._metadata is None or self._signal_metadata is None:
            return False
        return metadata_signals(self._metadata(source, *self._signal_metadata))


class WrittenRequest(NamedTuple):
    """A request as a person, a log or a user of the library writes it.

    Attributes:
        peer: None: a unix socket.
        headers: Names in any case, and values.
        application: As the proxy names it; None: not named.
        metadata: Envoy's, by namespace and key; values as in JSON.
    """

    peer: str | None
    headers: Sequence[tuple[str, str]] = ()
    application: str | None = None
    metadata: Mapping[str, Mapping[str, object]] = NO_METADATA


class WrittenReader:
    """Reads requests that are written down, as a front would read them."""

    def __init__(self, settings: Settings) -> None:
        self._header = settings.rules.header
        self._reader = RequestReader(settings, _lines, _metadata)

    def read(self, written: WrittenRequest) -> Request:
        """Return what counts of a request. Its host is the last `Host` or `:authority`."""
        written = written._replace(headers=[(name.lower(), value) for name, value in written.headers])
        host = next((value for name, value in reversed(written.headers) if name in {"host", ":authority"}), "")
        return Request._make(self._reader.read(written, written.peer, written.application, host))

    def read_from_client(
        self,
        client: Address,
        peer: str | None = None,
        headers: Sequence[tuple[str, str]] = (),
        application: str | None = None,
        metadata: Mapping[str, Mapping[str, object]] = NO_METADATA,
    ) -> Request:
        """Return the request of a client as an operator asks about it.

        Without a peer, the client connects itself. With a peer and no headers, the peer names the client in the
        configured header, as a proxy would.

        Args:
            client: The client.
            peer: Who connects; `unix:` for a unix socket; None: the client.
            headers: Names in any case, and values.
            application: As the proxy names it; None: not named.
            metadata: Envoy's, by namespace and key.
        """
        if peer is None:
            return self.read(WrittenRequest(client.text, headers, application, metadata))
        if not headers:
            text = f'for="[{client.text}]"' if client.version == 6 else f"for={client.text}"
            headers = [(self._header, text if self._header == "forwarded" else client.text)]
        return self.read(WrittenRequest(parse_peer(peer), headers, application, metadata))


def parse_peer(text: str) -> str | None:
    """Return the peer that is written so: None for a unix socket, `unix:` and perhaps its path."""
    return None if text.startswith("unix:") else text


def _lines(written: WrittenRequest, name: str) -> list[str]:
    return [value for known, value in written.headers if known == name]


def _metadata(written: WrittenRequest, namespace: str, key: str) -> object:
    return written.metadata.get(namespace, {}).get(key)


def parse_metadata(texts: Iterable[str]) -> dict[str, dict[str, object]]:
    """Return metadata by namespace and key.

    Args:
        texts: `NAMESPACE:KEY=VALUE` each. A value is read as JSON, or else is text.

    Raises:
        InputError: A text is not of that form.
    """
    metadata: dict[str, dict[str, object]] = {}
    for text in texts:
        place, equals, value = text.partition("=")
        namespace, _, key = place.rpartition(":")
        if not (equals and namespace and key):
            raise InputError(f"metadata: found '{shorten(text)}', expected NAMESPACE:KEY=VALUE")
        read: object = value
        with contextlib.suppress(ValueError):
            read = json.loads(value)
        metadata.setdefault(namespace, {})[key] = read
    return metadata
