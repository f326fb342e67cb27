"""The ways for an Envoy to decide that are measured against each other, each with an Envoy of its own, all running."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final, NamedTuple

import grpc

from authz.serve.config.values import Listen
from authz.serve.grpc.check import CHECK_METHOD
from authz.wire.envoy.v3.check_pb2 import CheckRequest
from benchmarks.contenders.go_servers import GoServer, opa, opa_buckets, opa_linear, program
from benchmarks.processes import LOOPBACK, Sidecar
from benchmarks.proxies.envoy import Decision, Envoy, asking, rbac_principals, rbac_tries, unfiltered

if TYPE_CHECKING:
    from contextlib import ExitStack
    from pathlib import Path

    from benchmarks.contenders.go_servers import Rule
    from benchmarks.data.networks import Table

UNFILTERED, FLOOR, TONIC = "no filter", "empty answer (grpc-go)", "empty answer (tonic)"
SAME, TRIE = "authz's answer (grpc-go)", "authz's decision (grpc-go)"
AUTHZ, UNIX, AIO = "authz", "authz, unix socket", "authz on grpc.aio"
RBAC, TRIES = "RBAC, principals", "RBAC, tries"
OPA, OPA_LINEAR = "OPA, buckets", "OPA, cidr_contains_matches"
_MAX_PRINCIPALS: Final = 100_000


class Contender(NamedTuple):
    """An Envoy that decides by a list of `networks`.

    server: whom it asks. decides: whether anybody is denied. slow: so much so that of many requests at once none would
    be answered within a round.
    """

    networks: int
    envoy: Envoy
    server: GoServer | Sidecar | None = None
    decides: bool = True
    slow: bool = False

    @property
    def url(self) -> str:
        """Where to ask."""
        return f"http://127.0.0.1:{self.envoy.port}/cart?id=7"


class Starts:
    """Starts contenders with one table, whose snapshot is in `folder`; the stack ends them."""

    def __init__(self, folder: Path, stack: ExitStack, table: Table, snapshot: str) -> None:
        self._folder, self._stack, self._table, self._snapshot = folder, stack, table, snapshot
        self._size = len(table.networks)

    def of_all_sizes(self, *, tries: bool) -> dict[str, Contender]:
        """Return those that are compared with lists of several sizes."""
        started = {AUTHZ: self._authz("authz")}
        if tries:
            started[TRIES] = self._behind("tries", rbac_tries(self._table.networks))
        if self._size <= _MAX_PRINCIPALS:
            started[RBAC] = self._behind("rbac", rbac_principals(self._table.networks))
        return started

    def ours(self) -> dict[str, Contender]:
        """Return Envoy alone, and the other ways to run authz."""
        return {
            UNFILTERED: self._behind("unfiltered", unfiltered(), decides=False),
            UNIX: self._authz("unix", grpc="unix:authz.sock"),
            AIO: self._authz("aio", engine="grpcio"),
        }

    def floors(self, authz: Contender, client: str) -> dict[str, Contender]:
        """Return the empty answer, and the answer that authz gives for a client. Raises NotBuilt."""
        path, answer = program("floor"), self._answer_of(authz, client, "floor")
        return {
            FLOOR: self._asked("floor", GoServer(self._folder, path), decides=False),
            SAME: self._asked("same", GoServer(self._folder, path, answer), decides=False),
        }

    def tonic(self, *, build: bool) -> dict[str, Contender]:
        """Return the empty answer in Rust. Raises NotBuilt."""
        return {TONIC: self._asked("tonic", GoServer(self._folder, program("tonic", build=build)), decides=False)}

    def deciding(self, authz: Contender, allowed: str, denied: str, *, build: bool) -> dict[str, Contender]:
        """Return a server in Go that looks clients up, and gives the answers that authz gives. Raises NotBuilt."""
        path = program("trie", build=build)
        networks = self._folder / f"{self._size}.networks"
        networks.write_text("".join(f"{network}\n" for network in self._table.networks), encoding="ascii")
        answers = [self._answer_of(authz, client, name) for name, client in (("allow", allowed), ("deny", denied))]
        return {TRIE: self._asked("deciding", GoServer(self._folder, path, networks, *answers))}

    def _answer_of(self, authz: Contender, client: str, name: str) -> Path:
        """Write the answer of authz for a client to a file."""
        if not isinstance(authz.server, Sidecar):
            raise TypeError(f"found {authz.server}, expected a sidecar")
        path = self._folder / f"{name}.answer"
        path.write_bytes(answer_of(authz.server.ports["grpc"], client))
        return path

    def opas(self, *, build: bool) -> dict[str, Contender]:
        """Return OPA with both policies. Raises NotBuilt."""
        path = program("opa", build=build)
        return {
            OPA: self._opa("opa", path, opa_buckets(self._table)),
            OPA_LINEAR: self._opa("opa-linear", path, opa_linear(self._table), slow=True),
        }

    def _opa(self, name: str, path: Path, rule: Rule, *, slow: bool = False) -> Contender:
        return self._asked(name, opa(self._folder, name, path, rule), slow=slow)

    def _authz(self, name: str, *, engine: str = "native", grpc: str = LOOPBACK) -> Contender:
        name = f"{name}-{self._size}"
        sidecar = Sidecar(self._folder, name, snapshot=self._snapshot, engine=engine, grpc=grpc, http="off")
        self._stack.enter_context(sidecar)
        path = None if grpc == LOOPBACK else self._folder / grpc.removeprefix("unix:")
        return self._behind(name, asking(Listen(path=path) if path else _loopback(sidecar.ports["grpc"])), sidecar)

    def _asked(self, name: str, server: GoServer, *, decides: bool = True, slow: bool = False) -> Contender:
        self._stack.enter_context(server)
        return self._behind(name, asking(_loopback(server.port)), server, decides=decides, slow=slow)

    def _behind(
        self,
        name: str,
        decision: Decision,
        server: GoServer | Sidecar | None = None,
        *,
        decides: bool = True,
        slow: bool = False,
    ) -> Contender:
        envoy = self._stack.enter_context(Envoy(self._folder, f"envoy-{name}-{self._size}", decision))
        return Contender(self._size, envoy, server, decides, slow)


def _loopback(port: int) -> Listen:
    return Listen(host="127.0.0.1", port=port)


def answer_of(port: int, client: str) -> bytes:
    """Return the CheckResponse of a sidecar for a client behind a trusted proxy."""
    request = CheckRequest()
    request.attributes.source.address.socket_address.address = b"127.0.0.1"
    request.attributes.request.http.headers["x-forwarded-for"] = client.encode()
    with grpc.insecure_channel(f"127.0.0.1:{port}") as channel:
        check = channel.unary_unary(CHECK_METHOD, request_serializer=None, response_deserializer=None)
        return bytes(check(request.SerializeToString(), timeout=30.0))
