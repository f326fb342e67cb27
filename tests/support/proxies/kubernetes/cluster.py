"""A real API server with its etcd, without a node: what it admits is admitted, and nothing runs.

KUBEBOX names a program that is etcd, kube-apiserver and kubectl by its first argument.
"""

from __future__ import annotations

import contextlib
import os
import subprocess
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple, Self

import pytest
import yaml
from cryptography.hazmat.primitives.asymmetric import rsa
from cryptography.hazmat.primitives.serialization import Encoding, NoEncryption, PrivateFormat, PublicFormat

from support.processes import LOOPBACK, Process, free_port, wait_for

if TYPE_CHECKING:
    from collections.abc import Mapping
    from types import TracebackType

_TOKEN = "kubernetes-of-the-tests"  # of an API server on loopback that lives for a test
_STARTS = 240.0  # seconds


class Said(NamedTuple):
    """What kubectl did."""

    status: int
    out: str
    err: str


class Access(NamedTuple):
    """How a program that is no kubectl asks the API server. authority: the file of who signed its certificate."""

    url: str
    token: str
    authority: Path


class Cluster:
    """An API server on free ports with its files in `folder`. As a context manager: ended."""

    def __init__(self, folder: Path) -> None:
        box = os.environ.get("KUBEBOX")
        if not box or not Path(box).is_file():
            pytest.skip("needs KUBEBOX, the path of a program that is etcd, kube-apiserver and kubectl")
        self._box, self._folder = box, folder
        self.kubeconfig = folder / "kubeconfig"
        with contextlib.ExitStack() as stack:
            etcd = self._start_etcd(stack)
            self._start_api_server(stack, etcd)
            self._running = stack.pop_all()

    def _start_etcd(self, stack: contextlib.ExitStack) -> str:
        client, peer = (f"http://{LOOPBACK}:{free_port()}" for _ in range(2))
        options = ["--data-dir", "etcd", "--listen-client-urls", client, "--advertise-client-urls", client]
        options += ["--listen-peer-urls", peer, "--initial-advertise-peer-urls", peer, "--unsafe-no-fsync"]
        stack.enter_context(
            Process([self._box, "etcd", *options, "--initial-cluster", f"default={peer}"], cwd=self._folder)
        )
        return client

    def _start_api_server(self, stack: contextlib.ExitStack, etcd: str) -> None:
        key = rsa.generate_private_key(65537, 2048)
        private = key.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption())
        (self._folder / "sa.key").write_bytes(private)
        public = key.public_key().public_bytes(Encoding.PEM, PublicFormat.SubjectPublicKeyInfo)
        (self._folder / "sa.pub").write_bytes(public)
        (self._folder / "tokens.csv").write_text(f'{_TOKEN},admin,admin,"system:masters"\n')
        port = free_port()
        self.access = Access(f"https://{LOOPBACK}:{port}", _TOKEN, self._folder / "certificates" / "apiserver.crt")
        options = ["--etcd-servers", etcd, "--bind-address", LOOPBACK, "--advertise-address", LOOPBACK]
        options += ["--secure-port", str(port), "--cert-dir", "certificates", "--token-auth-file", "tokens.csv"]
        options += ["--authorization-mode", "RBAC", "--service-cluster-ip-range", "10.0.0.0/24"]
        options += ["--service-account-issuer", "https://kubernetes.default.svc", "--endpoint-reconciler-type", "none"]
        options += ["--service-account-key-file", "sa.pub", "--service-account-signing-key-file", "sa.key"]
        options += ["--profiling=false", "--allow-privileged"]  # it is the namespace that refuses
        server = stack.enter_context(Process([self._box, "kube-apiserver", *options], cwd=self._folder))
        self.kubeconfig.write_text(yaml.safe_dump(_kubeconfig(port)))

        def ready() -> bool:
            assert server.popen.poll() is None, server.output[-4000:]
            return self.kubectl("get", "--raw", "/readyz").status == 0

        wait_for(ready, "the API server is ready", patience=_STARTS, pause=0.5)

    def kubectl(self, *arguments: str | Path, manifests: list[dict[str, Any]] | None = None) -> Said:
        """Run kubectl; `manifests` are given to it as its standard input (`-f -`)."""
        command = [self._box, "kubectl", "--kubeconfig", str(self.kubeconfig), *map(str, arguments)]
        stdin = None if manifests is None else yaml.safe_dump_all(manifests)
        done = subprocess.run(command, input=stdin, capture_output=True, text=True, check=False)
        return Said(done.returncode, done.stdout, done.stderr)

    def write_command(self, path: Path) -> None:
        """Write a `kubectl` that asks this server."""
        path.write_text(f'#!/bin/sh\nexec {self._box} kubectl --kubeconfig {self.kubeconfig} "$@"\n')
        path.chmod(0o755)

    def apply(self, *arguments: str | Path, manifests: list[dict[str, Any]] | None = None) -> Said:
        """Apply on the side of the server; unknown and repeated fields are errors."""
        given = ("-f", "-") if manifests is not None else ()
        return self.kubectl("apply", "--server-side", "--validate=strict", *given, *arguments, manifests=manifests)

    def make_namespace(self, name: str, labels: Mapping[str, str] = {}) -> None:  # never changed
        """Make a namespace that enforces the Pod Security Standard `restricted`."""
        enforced = {"pod-security.kubernetes.io/enforce": "restricted", **labels}
        metadata = {"name": name, "labels": enforced}
        said = self.apply(manifests=[{"apiVersion": "v1", "kind": "Namespace", "metadata": metadata}])
        assert said.status == 0, said.err

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._running.close()


def _kubeconfig(port: int) -> dict[str, Any]:
    cluster = {"server": f"https://{LOOPBACK}:{port}", "insecure-skip-tls-verify": True}
    return {
        "apiVersion": "v1",
        "kind": "Config",
        "clusters": [{"name": "tests", "cluster": cluster}],
        "users": [{"name": "admin", "user": {"token": _TOKEN}}],
        "contexts": [{"name": "tests", "context": {"cluster": "tests", "user": "admin"}}],
        "current-context": "tests",
    }
