"""Questions to the HTTP front, and a policy that answers them."""

from __future__ import annotations

import asyncio
import contextlib
from typing import TYPE_CHECKING, Any, Final

import uvloop
from support.sidecar.fronts import Fronts, HttpAnswer, HttpServer

from authz.serve.http1.listener import HttpLimits

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from support.publishing.publisher import Publisher

# An address of 203.0.113.0/24 is denied everywhere, by a status that says which application it was.
POLICY: Final = """\
version: 1
applications:
  "*": {deny: {status: 499}}
  shop: {hosts: [shop.example.com], deny: {status: 429, body: "slow down\\n", content_type: text/html}}
  admin: {default: deny, hosts: [admin.example.com], deny: {status: 401}}
  trial: {dry_run: true}
entries:
  - {id: office, list: allow, networks: [192.0.2.0/24, "2001:db8:1::/48"]}
  - {id: bad, list: deny, networks: [203.0.113.0/24]}
"""


ANY, SHOP, ADMIN = "499", "429", "401"
CONFIG: Final = "client_address: {trusted_proxies: [127.0.0.1], trust_unix: true}\n"
ALLOWED, DENIED = "X-Forwarded-For: 192.0.2.7", "X-Forwarded-For: 203.0.113.9"


LOOPS: Final[dict[str, Callable[[], asyncio.AbstractEventLoop]]] = {
    "uvloop": uvloop.new_event_loop,
    "asyncio": asyncio.new_event_loop,
}


@contextlib.contextmanager
def serving(publisher: Publisher, config: str = CONFIG, **limits: Any) -> Iterator[HttpServer]:
    """Give a server of its own, for tests with limits or a configuration of their own."""
    with HttpServer(
        Fronts(publisher, config, POLICY), HttpLimits(**limits), loop_factory=uvloop.new_event_loop
    ) as server:
        yield server


def numbered(count: int, target: str = "/v1/forward/shop", host: str = "authz") -> bytes:
    """Return requests from the clients 198.18.0.0, 198.18.0.1, ..."""
    return b"".join(
        f"GET {target} HTTP/1.1\r\nHost: {host}\r\nX-Forwarded-For: 198.18.{n >> 8}.{n & 255}\r\n\r\n".encode()
        for n in range(count)
    )


def addresses(answers: list[HttpAnswer]) -> list[str | None]:
    return [answer.header("client-address") for answer in answers]


def expected_addresses(count: int) -> list[str]:
    return [f"198.18.{n >> 8}.{n & 255}" for n in range(count)]


HIDDEN: Final = b"GET /v1/auth/shop HTTP/1.1\r\nHost: a\r\nX-Forwarded-For: 192.0.2.7\r\n\r\n"
