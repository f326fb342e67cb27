"""Envoy's side of ext_authz by a library that shares nothing with authz: envoy-data-plane (betterproto2).

Requests are built and answers are read with it, so that a wrong field number of ours cannot hide.
"""

from __future__ import annotations

import warnings
from typing import TYPE_CHECKING, Any, Final, NamedTuple

with warnings.catch_warnings():  # it uses what pydantic will give up, at import
    warnings.simplefilter("ignore", DeprecationWarning)
    import envoy_data_plane.envoy.config.core.v3 as core
    import envoy_data_plane.envoy.service.auth.v3 as auth
    import envoy_data_plane.google.protobuf as wkt

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping, Sequence

__all__ = ["EnvoyAnswer", "auth", "check_request", "core", "peer_address", "read_answer"]
OVERWRITE: Final = core.HeaderValueOptionHeaderAppendAction.OVERWRITE_IF_EXISTS_OR_ADD


class EnvoyAnswer(NamedTuple):
    """A CheckResponse as Envoy takes it.

    kind: `ok`, `denied` or `error`, whichever part is filled. status: of HTTP, where there is one. headers: those that
    are set, by name; overwrites: whether each of them replaces what was there. metadata: the dynamic metadata.
    """

    code: int
    kind: str
    status: int | None
    body: str
    headers: dict[str, str]
    overwrites: bool
    removed: list[str]
    metadata: dict[str, Any]


def peer_address(peer: str | None, port: int = 40000) -> core.Address:
    """Return an address as Envoy reports it. peer: None for a unix socket."""
    if peer is None:
        return core.Address(pipe=core.Pipe(path="/run/envoy/front.sock"))
    return core.Address(socket_address=core.SocketAddress(address=peer, port_value=port))


def check_request(
    peer: str | None = "127.0.0.1",
    headers: Mapping[str, str] | None = None,
    *,
    raw: Sequence[tuple[str, bytes]] | None = None,
    host: str = "",
    path: str = "/",
    context: Mapping[str, str] | None = None,
    metadata: Mapping[str, Mapping[str, Any]] | None = None,
) -> bytes:
    """Return the bytes of a CheckRequest.

    headers: the map of the usual form. raw: the lines of the form that `encode_raw_headers` gives, instead. context:
    the context extensions. metadata: by namespace and key.
    """
    http = auth.AttributeContextHttpRequest(
        id="4610962948791997135", method="GET", path=path, host=host, scheme="http", protocol="HTTP/1.1"
    )
    if raw is None:
        http.headers = {":authority": host, ":method": "GET", ":path": path, **(headers or {})}
    else:
        http.header_map = core.HeaderMap(headers=[core.HeaderValue(key=key, raw_value=value) for key, value in raw])
    attributes = auth.AttributeContext(
        source=auth.AttributeContextPeer(address=peer_address(peer)),
        destination=auth.AttributeContextPeer(address=peer_address("127.0.0.1", 8080)),
        request=auth.AttributeContextRequest(http=http),
        context_extensions=dict(context or {}),
        metadata_context=core.Metadata(
            filter_metadata={space: wkt.Struct.from_dict(dict(fields)) for space, fields in (metadata or {}).items()}
        ),
    )
    return bytes(auth.CheckRequest(attributes=attributes))


def read_answer(data: bytes) -> EnvoyAnswer:
    """Read a CheckResponse. Fails where more or less than one kind of answer is filled, or something is unknown."""
    response = auth.CheckResponse.parse(data)
    assert response.status is not None, "a status is always written out: without one Envoy allows"
    kinds = {"ok": response.ok_response, "denied": response.denied_response, "error": response.error_response}
    filled = [kind for kind, part in kinds.items() if part is not None]
    assert len(filled) == 1, filled
    metadata = response.dynamic_metadata
    assert metadata is not None
    assert set(_unknown(response)) == set()
    ok, refusal = response.ok_response, response.denied_response or response.error_response
    part = ok or refusal
    assert part is not None
    pairs = [(option.header.key, option.header.value) for option in part.headers if option.header is not None]
    assert len(pairs) == len(part.headers) == len(dict(pairs)), pairs
    return EnvoyAnswer(
        code=response.status.code,
        kind=filled[0],
        status=int(refusal.status.code) if refusal is not None and refusal.status is not None else None,
        body=refusal.body if refusal is not None else "",
        headers=dict(pairs),
        overwrites=all(option.append_action == OVERWRITE for option in part.headers),
        removed=list(ok.headers_to_remove) if ok is not None else [],
        metadata=metadata.to_dict(),
    )


def _unknown(message: Any) -> Iterable[bytes]:
    """Yield the bytes that the library could not name, here and below."""
    if message._unknown_fields:
        yield message._unknown_fields
    for name in message.__dataclass_fields__:
        value = getattr(message, name)
        for part in value if isinstance(value, list) else [value]:
            if hasattr(part, "_unknown_fields"):
                yield from _unknown(part)
