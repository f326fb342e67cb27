"""A sidecar whose fronts have TLS, and the certificates of its clients."""

from __future__ import annotations

import contextlib
import os
import signal
import socket
import ssl
from typing import TYPE_CHECKING, Any

from support.processes import Sidecar
from support.publishing.publisher import Publisher
from support.servers.certificates import Authority
from support.sidecar.fronts import HttpClient
from support.sidecar.running import ALLOWED, get

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

CONFIG = """\
snapshot: {path: lists.snapshot, trusted_keys: [keys/a.pub], poll: 1h}
grpc: {listen: "127.0.0.1:0", tls: %(tls)s}
http: {listen: "127.0.0.1:0", tls: %(tls)s}
admin: {listen: "127.0.0.1:0"}
client_address: {trusted_proxies: ["127.0.0.0/8"]}
application: {unknown: default}
decision_log: {path: "off"}
drain: 0s
"""
# A look at the files that the test did not ask for would come between what it writes, or be counted; and on a slow
# machine a minute may pass between two clients that are refused.
NO_LOOKS = """\
from authz.serve.listeners.tls import certificates, refused
certificates.LOOK = refused.PAUSE = 3600.0
"""
SPIFFE = "spiffe://example.com/ns/edge/sa/envoy"


class Sides:
    """A sidecar with TLS, and the certificates of its clients: `envoy` with names, `stranger` of another authority."""

    def __init__(self, folder: Path, more: str = "") -> None:
        self.folder = folder
        Publisher(folder).publish()
        self.authority = Authority(folder, "authority")
        self.certificate, self.key = self.authority.issue("server", "127.0.0.1", "localhost")
        self.envoy = self.authority.issue("envoy", "127.0.0.1", "envoy.example.com", SPIFFE)
        self.stranger = Authority(folder, "strangers").issue("stranger", "127.0.0.1", SPIFFE)
        (folder / "sitecustomize.py").write_text(NO_LOOKS)
        path = os.pathsep.join(filter(None, (str(folder), os.environ.get("PYTHONPATH"))))
        self.sidecar = Sidecar(folder, self.configuration(more), env=os.environ | {"PYTHONPATH": path})

    def configuration(self, more: str) -> str:
        """Return authz.yaml. more: settings of `tls`."""
        return CONFIG % {"tls": f"{{certificate: {self.certificate}, key: {self.key}{more}}}"}

    def reload(self, more: str | None = None) -> None:
        """Have the files read again, with other settings of `tls` if there are any."""
        if more is not None:
            (self.folder / "authz.yaml").write_text(self.configuration(more))
        os.kill(self.sidecar.pid, signal.SIGHUP)

    def context(self, client: tuple[Path, Path] | None = None) -> ssl.SSLContext:
        """Return what a client trusts, with its certificate."""
        context = ssl.create_default_context(cafile=str(self.authority.path))
        if client is not None:
            context.load_cert_chain(*map(str, client))
        return context

    @contextlib.contextmanager
    def connect(
        self, front: str = "http", context: ssl.SSLContext | None = None, **more: Any
    ) -> Iterator[ssl.SSLSocket]:
        """Give a connection."""
        with (
            socket.create_connection(("127.0.0.1", self.sidecar.ports[front]), timeout=20) as plain,
            (context or self.context()).wrap_socket(plain, server_hostname="127.0.0.1", **more) as secure,
        ):
            yield secure

    def status(self, client: tuple[Path, Path] | None = None) -> int:
        """Return the status of a request for an allowed address; 0 where the connection is not taken."""
        try:
            with self.connect(context=self.context(client)) as secure:
                return HttpClient(secure).ask("/v1/auth", f"X-Forwarded-For: {ALLOWED}").status
        except (OSError, AssertionError):
            return 0

    def handshakes(self, listener: str = "http") -> dict[str, int]:
        """Return how many handshakes ended how."""
        text = get(self.sidecar.ports["admin"], "/metrics").body.decode()
        start = f'authz_tls_handshakes_total{{listener="{listener}",result="'
        lines = (line.removeprefix(start) for line in text.splitlines() if line.startswith(start))
        return {result: int(float(count)) for result, _, count in (line.partition('"} ') for line in lines)}


def ended(secure: ssl.SSLSocket) -> bool:
    """Return whether a connection without a request ends; waits for it."""
    secure.settimeout(20)
    try:
        return secure.recv(1) == b""
    except TimeoutError:
        return False
    except OSError:
        return True
