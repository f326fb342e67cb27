"""CheckRequests of certain sizes, written by an independent encoder (envoy-data-plane), and reading their answers.

    350 B    what Envoy sends for a bare request       582 B   with a user agent and a few usual headers
    2.5 kB   what a browser sends, cookies included    54 kB   an X-Forwarded-For as long as Envoy lets through

In all of them the client is the last element of X-Forwarded-For, and the peer a trusted proxy on loopback.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Final, NamedTuple

from envoy_data_plane.envoy.config.core.v3 import Address as EnvoyAddress
from envoy_data_plane.envoy.config.core.v3 import SocketAddress
from envoy_data_plane.envoy.service.auth.v3 import (
    AttributeContext,
    AttributeContextHttpRequest,
    AttributeContextPeer,
    AttributeContextRequest,
    CheckRequest,
    CheckResponse,
)

from benchmarks.data.policies import APPLICATION

if TYPE_CHECKING:
    from authz.addresses import Address

SIZES: Final = {"350 B": 350, "582 B": 582, "2.5 kB": 2_500, "54 kB XFF": 54_000}
USUAL, LARGE, LARGEST = "582 B", "2.5 kB", "54 kB XFF"
_FORGED: Final = "198.51.100.200, "  # what stands left of the client is never read


class Answer(NamedTuple):
    """What an answer says. code: 0 allows. client: of `x-authz-client-address`, in the metadata where it is denied."""

    code: int
    client: str


def check_request(client: Address, size: int) -> bytes:
    """Return a CheckRequest of `size` bytes or up to 20 more; a cookie fills it, from 10 kB on X-Forwarded-For."""
    long_chain = size >= 10_000
    bare = len(_encoded(client, 0, long_chain=long_chain))
    return _encoded(client, max(size - bare, 0), long_chain=long_chain)


def _encoded(client: Address, filling: int, *, long_chain: bool) -> bytes:
    chain = client.text
    headers = {
        ":authority": "shop.example.com",
        ":method": "GET",
        ":path": "/cart?id=7",
        ":scheme": "https",
        "user-agent": "curl/8.14.1",
        "x-request-id": "21a31321-4947-4b9f-94b7-7705abc0a6b2",
    }
    if long_chain:
        chain = (_FORGED * (filling // len(_FORGED) + 1))[:filling].rpartition(",")[0] + ", " + chain
    elif filling:
        headers["cookie"] = "c" * filling
    headers["x-forwarded-for"] = chain
    http = AttributeContextHttpRequest(
        id="1627470636814253",
        method="GET",
        headers=headers,
        path="/cart?id=7",
        host="shop.example.com",
        scheme="https",
        protocol="HTTP/1.1",
    )
    attributes = AttributeContext(
        source=_peer(33336),
        destination=_peer(8443),
        request=AttributeContextRequest(http=http),
        context_extensions={"application": APPLICATION},
    )
    return bytes(CheckRequest(attributes=attributes))


def _peer(port: int) -> AttributeContextPeer:
    socket_address = SocketAddress(address="127.0.0.1", port_value=port)
    return AttributeContextPeer(address=EnvoyAddress(socket_address=socket_address))


def read_answer(payload: bytes) -> Answer:
    """Return what a CheckResponse says, as the independent decoder reads it."""
    response = CheckResponse.parse(payload)
    # Not `if response.status`: a message with nothing but defaults is false, and 0 is "allow".
    code = -1 if response.status is None else response.status.code
    fields = response.dynamic_metadata.fields if response.dynamic_metadata else {}
    return Answer(code, fields["client"].string_value or "" if "client" in fields else "")
