"""The proxy configurations of deploy/ are what is printed, and are started."""

from __future__ import annotations

import os
import shutil
import sys
from typing import TYPE_CHECKING

import pytest
from support.processes import Process, free_port, wait_for
from support.proxies.client import ask
from support.proxies.deployed import CONFIGURATIONS, PRINTED, PROXIES, ROOT
from support.proxies.programs.envoy import Envoy, adapt_envoy, validate_envoy
from support.proxies.programs.nginx import Nginx, adapt_nginx, validate_nginx
from support.proxies.upstream import Upstream
from support.publishing.publisher import POLICY, Publisher

from authz.cli.sidecar.proxy_config import render
from authz.serve.config.config import load_config

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path


# Proxy configurations


@pytest.mark.parametrize("place", PROXIES)
def test_the_proxy_s_configuration_is_what_is_printed_for_the_sidecar_s(place: str) -> None:
    printed = render(PROXIES[place], load_config(CONFIGURATIONS[place], {}))
    again = f"authz print-config {PROXIES[place]} --config {CONFIGURATIONS[place].relative_to(ROOT)}"
    assert PRINTED[place].read_text() == printed, f"print it again: {again} > {PRINTED[place].relative_to(ROOT)}"
    assert "WARNING" not in printed


@pytest.mark.parametrize("place", ["envoy", "pod"])
def test_envoy_takes_its_configuration(place: str) -> None:
    validate_envoy(PRINTED[place])


def test_nginx_takes_its_configuration(tmp_path: Path) -> None:
    (tmp_path / "nginx.conf").write_text(adapt_nginx(PRINTED["nginx"].read_text()))
    validate_nginx(tmp_path)


# The files are started, with their folders moved into a test's


class Moved:
    """The files of one place with all paths below `root`, and the sidecar's TCP listeners on free ports."""

    def __init__(self, root: Path, place: str) -> None:
        self.root = root
        for folder in ("etc/authz", "var/lib/authz/snapshot", "var/lib/authz/state", "run/authz"):
            (root / folder).mkdir(parents=True)
        self.admin, http = free_port(), free_port()
        ports = {"0.0.0.0:9193": f"127.0.0.1:{self.admin}", "127.0.0.1:9193": f"127.0.0.1:{self.admin}"}
        ports["127.0.0.1:9192"] = f"127.0.0.1:{http}"
        self._replaced = {**ports, **{path: f"{root}{path}" for path in ("/etc/authz", "/var/lib/authz", "/run/authz")}}
        (root / "etc/authz/authz.yaml").write_text(self.text(CONFIGURATIONS[place]))
        self.publisher = Publisher(root)
        (root / "etc/authz/keys").mkdir()
        for name in ("keys/2026.pub", "2026.pub"):  # of a host; of a pod
            shutil.copy(self.publisher.public["a"], root / "etc/authz" / name)

    def text(self, file: Path) -> str:
        text = file.read_text()
        for old, new in self._replaced.items():
            text = text.replace(old, new)
        return text

    def serve(self) -> Process:
        command = [sys.executable, "-m", "authz", "serve", "--config", "etc/authz/authz.yaml"]
        return Process(command, cwd=self.root, env={**os.environ, "AUTHZ_DRAIN": "0s"})

    def publish_beside(self) -> None:
        """Put a snapshot there as the kubelet does: a link to a link that is swapped."""
        self.publisher.publish(POLICY, to="lists.snapshot")
        folder = self.root / "var/lib/authz/snapshot"
        (folder / "..1").mkdir()
        shutil.copy(self.root / "lists.snapshot", folder / "..1")
        (folder / "..data").symlink_to("..1")
        (folder / "lists.snapshot").symlink_to("..data/lists.snapshot")


@pytest.fixture
def upstream() -> Iterator[Upstream]:
    with Upstream() as upstream:
        yield upstream


@pytest.mark.parametrize("place", ["envoy", "pod"])
def test_envoy_and_the_sidecar_start_from_the_files_and_serve_once_a_snapshot_is_there(
    place: str, tmp_path: Path, upstream: Upstream
) -> None:
    moved = Moved(tmp_path, place)
    with moved.serve() as sidecar, Envoy(tmp_path, adapt_envoy(moved.text(PRINTED[place]), upstream)) as envoy:
        sidecar.wait_for_line("serving, not ready")
        assert ask(moved.admin, "/livez").status == 200
        assert ask(moved.admin, "/readyz").status == 503
        assert ask(envoy.ports["proxied"], "/healthz", peer="203.0.113.9").status == 200
        assert ask(envoy.ports["proxied"], "/shop", peer="192.0.2.1").status == 503
        moved.publish_beside()
        wait_for(lambda: ask(moved.admin, "/readyz").status == 200, "ready")
        assert ask(envoy.ports["proxied"], "/shop", peer="192.0.2.1").status == 200
        assert ask(envoy.ports["proxied"], "/shop", peer="203.0.113.9").status == 403
        assert (
            ask(envoy.ports["proxied"], "/shop", [("X-Forwarded-For", "192.0.2.1")], peer="203.0.113.9").status == 403
        )


def test_nginx_and_the_sidecar_start_from_the_files_and_serve(tmp_path: Path, upstream: Upstream) -> None:
    moved = Moved(tmp_path, "nginx")
    moved.publish_beside()
    with moved.serve() as sidecar, Nginx(tmp_path, moved.text(PRINTED["nginx"]), upstream) as nginx:
        sidecar.wait_for_line("authz: serving$")
        assert ask(nginx.ports.proxied, "/shop/", peer="192.0.2.1").status == 200
        assert ask(nginx.ports.proxied, "/shop/", peer="203.0.113.9").status == 403
