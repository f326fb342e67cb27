"""The real controller of ingress-nginx: what it makes of objects of a real API server, for the nginx of the system.

INGRESS_NGINX names a folder with the source of its Go module and the program, `go build -o controller ./cmd/nginx`.

The controller has fixed paths, so it runs with an /etc and a /tmp of its own (namespaces; needs root). Its nginx has
Lua, which chooses the pod of an application; the nginx of the system has none, so that part is taken out, and the pod
is named in its place. Who is asked, and what comes of it, has no Lua.
"""

from __future__ import annotations

import contextlib
import os
import re
import shutil
import stat
from pathlib import Path
from typing import TYPE_CHECKING, Final

import pytest

from support.processes import LOOPBACK, Process, free_port, wait_for
from support.proxies.kubernetes.gateways.contour import pods
from support.proxies.kubernetes.gateways.traefik import routed
from support.proxies.programs.nginx import nginx_path
from support.proxies.programs.process import ProxyPorts, ProxyProcess

if TYPE_CHECKING:
    from collections.abc import Iterator

    from support.proxies.kubernetes.cluster import Cluster
    from support.proxies.kubernetes.kustomize import Manifest

NAMESPACE: Final = "behind-nginx"
_PORTS: Final = ("http-port", "https-port", "status-port", "stream-port", "default-server-port", "healthz-port")
_IN_NAMESPACES: Final = r"""
set -e
mount --types overlay overlay --options "lowerdir=/etc,upperdir=$PWD/etc,workdir=$PWD/work" /etc
mkdir -p /etc/nginx/template /etc/ingress-controller/ssl /etc/ingress-controller/auth /etc/ingress-controller/telemetry
cp template.tmpl /etc/nginx/template/nginx.tmpl
mount --rbind "$PWD" /mnt
mount --types tmpfs none /tmp
mkdir /tmp/nginx
cd /mnt
exec ./controller "$@"
"""
# What the controller starts, tests and reloads in the place of its nginx: the test starts that of the system.
_NOT_YET: Final = """#!/bin/sh
case "$*" in *-t*|*"-s "*) exit 0 ;; esac
exec sleep infinity
"""


def objects(authz: int) -> list[Manifest]:
    """Return the objects of the overlay for its controller, an application's and its own. authz: a port."""
    ours = [manifest for manifest in routed("ingress-nginx", NAMESPACE, authz, 8080) if manifest["kind"] == "Ingress"]
    rights = {"allowPrivilegeEscalation": False, "capabilities": {"drop": ["ALL"]}}
    return [
        *ours,
        {"apiVersion": "networking.k8s.io/v1", "kind": "IngressClass", "metadata": {"name": "nginx"},
         "spec": {"controller": "k8s.io/ingress-nginx"}},
        {"apiVersion": "v1", "kind": "Service", "metadata": {"name": "shop", "namespace": NAMESPACE},
         "spec": {"ports": [{"name": "http", "port": 8080}]}},
        pods(NAMESPACE, "shop", "http", 8080),
        {"apiVersion": "v1", "kind": "ServiceAccount", "metadata": {"name": "default", "namespace": NAMESPACE}},
        {"apiVersion": "v1", "kind": "ConfigMap", "metadata": {"name": "controller", "namespace": NAMESPACE},
         "data": {"use-proxy-protocol": "true"}},  # a test chooses who connects
        {"apiVersion": "v1", "kind": "Pod", "metadata": {"name": "controller", "namespace": NAMESPACE}, "spec": {
            "automountServiceAccountToken": False,
            "containers": [{"name": "controller", "image": "controller", "securityContext": rights}],
            "securityContext": {
                "runAsNonRoot": True, "runAsUser": 101, "seccompProfile": {"type": "RuntimeDefault"},
            },
        }},
    ]  # fmt: skip


def configuration(cluster: Cluster, folder: Path) -> tuple[str, int]:
    """Return the nginx.conf that the controller writes, and the port of HTTP in it. Skips where it is not here."""
    source = Path(os.environ.get("INGRESS_NGINX", "/nowhere"))
    if not (source / "controller").is_file() or os.geteuid() != 0:
        pytest.skip("needs root, and INGRESS_NGINX, a folder with the source of ingress-nginx and its controller")
    for name in ("etc", "work"):
        (folder / name).mkdir()
    shutil.copy(source / "controller", folder / "controller")
    shutil.copy(source / "rootfs/etc/nginx/template/nginx.tmpl", folder / "template.tmpl")
    shutil.copy(cluster.kubeconfig, folder / "kubeconfig")
    (folder / "nginx").write_text(_NOT_YET)
    (folder / "nginx").chmod(stat.S_IRWXU)
    ports = {name: free_port() for name in _PORTS}
    options = [f"--{name}={port}" for name, port in ports.items()]
    options += ["--kubeconfig=kubeconfig", f"--watch-namespace={NAMESPACE}", f"--configmap={NAMESPACE}/controller"]
    options += ["--update-status=false", "--enable-metrics=false", "--profiling=false"]
    options += [f"--internal-logger-address={LOOPBACK}:{free_port()}"]
    command = ["unshare", "--mount", "--pid", "--fork", "--kill-child", "sh", "-c", _IN_NAMESPACES, "sh", *options]
    environment = os.environ | {"POD_NAME": "controller", "POD_NAMESPACE": NAMESPACE, "NGINX_BINARY": "/mnt/nginx"}
    written = folder / "etc" / "nginx" / "nginx.conf"
    with Process(command, cwd=folder, env=environment) as controller:

        def made() -> str:
            assert controller.popen.poll() is None, controller.output[-4000:]
            text = written.read_text()
            return text if "auth_request" in text else ""

        return str(wait_for(made, "ingress-nginx has written the route")), ports["http-port"]


@contextlib.contextmanager
def start_nginx(text: str, port: int, folder: Path, app: int) -> Iterator[ProxyProcess]:
    """Start the nginx of the system with a configuration of the controller. app: the port of the application."""
    (folder / "nginx.conf").write_text(without_lua(text, folder, app))
    command: list[str | Path] = [nginx_path(), "-p", folder, "-c", folder / "nginx.conf", "-e", "error.log"]
    with ProxyProcess(command, folder, ProxyPorts(port, port)) as nginx:
        yield nginx


def without_lua(text: str, folder: Path, app: int) -> str:
    """Return a configuration of the controller for an nginx that has no Lua, in a folder."""
    text = text.partition("\nstream {")[0]
    text = re.sub(r"^\s*#.*$", "", text, flags=re.MULTILINE)
    assert "access_by_lua" not in text
    while match := re.search(r"\w+_by_lua_block \{", text):
        text = text[: match.start()] + text[_end_of_block(text, match.end()) :]
    # Modules and settings that Debian's nginx does not have.
    text = re.sub(r"^\s*(lua_\w+|more_clear_headers|http2|resolver) [^\n]*;$", "", text, flags=re.MULTILINE)
    assert text.count("server 0.0.0.1;") == 1
    text = text.replace("server 0.0.0.1;", f"server {LOOPBACK}:{app};")
    text = text.replace("/etc/ingress-controller", f"{folder}/etc/ingress-controller").replace("/tmp/nginx/", "")
    return "user root;\n" + text.replace("/var/log/nginx/", "")


def _end_of_block(text: str, at: int) -> int:
    depth = 1
    while depth:
        depth += {"{": 1, "}": -1}.get(text[at], 0)
        at += 1
    return at
