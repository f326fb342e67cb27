"""Logs that real proxies have written are decided again as they were."""

from __future__ import annotations

import json
import re
from typing import TYPE_CHECKING, Any

from support.processes import Sidecar, free_port, wait_for
from support.proxies.access_logs import CONFIG, Replay
from support.proxies.client import ask
from support.proxies.programs.envoy import Envoy, adapt_envoy
from support.proxies.programs.nginx import Nginx
from support.proxies.upstream import Upstream

from authz.cli.sidecar.proxy_config import render
from authz.serve.config.config import load_config

if TYPE_CHECKING:
    from collections.abc import Iterable

CLIENTS = {  # by path: the peer that the proxy is told, and what it sends
    "/shop/1": ("203.0.113.9", None),
    "/shop/2": ("192.0.2.1", "203.0.113.9"),
    "/shop/3": ("10.0.0.1", "192.0.2.1,\t203.0.113.9"),
    "/shop/4": ("10.0.0.1", "203.0.113.9, 192.0.2.1, 10.0.0.2"),
    "/shop/5": ("10.0.0.1", "unknown"),
    "/shop/6": ("2001:db8:bad::1", None),
    "/api/7": ("203.0.113.9", None),
    "/8": ("198.18.0.1", None),
}


def jsons_of(lines: Iterable[str]) -> list[str]:
    return [line for line in lines if line.startswith("{")]


def texts_of(lines: Iterable[str]) -> list[str]:
    return [line for line in lines if re.match(r'\[[^]]*\] "', line)]  # Envoy's own log begins like its access log


def ask_all(port: int) -> None:
    for path, (peer, forwarded) in CLIENTS.items():
        ask(port, path, [("X-Forwarded-For", forwarded)] if forwarded else [], peer=peer)


def by_path(lines: Iterable[str]) -> dict[str, dict[str, Any]]:
    return {entry["path"]: entry for entry in map(json.loads, lines)}


def test_what_envoy_logged_is_decided_again_as_it_was(replay: Replay) -> None:
    config = CONFIG + (
        f'grpc: {{listen: "127.0.0.1:{free_port()}"}}\nhttp: {{listen: "off"}}\nadmin: {{listen: "127.0.0.1:0"}}\n'
        'decision_log: {path: "off"}\ndrain: 0s\n'
    )
    (replay.folder / "authz.yaml").write_text(config)
    printed = render("envoy", load_config(replay.folder / "authz.yaml", {}))
    with Upstream() as upstream:
        envoy_config = adapt_envoy(printed, upstream)
        for listener in envoy_config["static_resources"]["listeners"]:
            manager = listener["filter_chains"][0]["filters"][0]["typed_config"]
            (logger,) = manager["access_log"]
            text = {"@type": logger["typed_config"]["@type"]}  # without a format: Envoy's default
            manager["access_log"].append({**logger, "typed_config": text})
        with Sidecar(replay.folder, config), Envoy(replay.folder, envoy_config) as proxy:
            wait_for(lambda: ask(proxy.ports["proxied"], "/", peer="192.0.2.1").status == 200, "the first answer")
            ask_all(proxy.ports["proxied"])
            wait_for(lambda: by_path(jsons_of(proxy.lines)).keys() >= CLIENTS.keys())
            wait_for(lambda: len(texts_of(proxy.lines)) == len(jsons_of(proxy.lines)), "each request in both forms")
            lines = proxy.lines
    logged = by_path(jsons_of(lines))
    assert len({entry["decision"] for entry in logged.values()}) == 2
    again = replay([json.dumps(entry) for entry in logged.values()]).lines()
    for then, now in zip(logged.values(), again, strict=True):
        names = ["decision", "list", "entry", "client", "application"]
        # Whom the sidecar could not make out the log does not say: it is denied again, for another reason.
        names += ["reason"] if then["client"] else []
        assert {name: then[name] for name in names} == {name: now[name] for name in names}
    texts = texts_of(lines)
    assert len(texts) == len(jsons_of(lines))
    clients = {
        line.split('"')[1].split()[1]: decision["client"]
        for line, decision in zip(texts, replay(texts).lines(), strict=True)
    }
    assert clients == {path: entry["client"] for path, entry in logged.items()}


def test_what_nginx_logged_is_decided_again_as_it_was(replay: Replay) -> None:
    config = CONFIG + (
        f'grpc: {{listen: "off"}}\nhttp: {{listen: "127.0.0.1:{free_port()}"}}\nadmin: {{listen: "127.0.0.1:0"}}\n'
        'decision_log: {path: "off"}\ndrain: 0s\n'
    )
    (replay.folder / "authz.yaml").write_text(config)
    printed = render("nginx", load_config(replay.folder / "authz.yaml", {}))
    line = "    access_log /var/log/nginx/access.log authz;\n"
    assert printed.count(line) == 1
    forwarded = '\'$remote_addr - $remote_user [$time_local] "$request" $status $body_bytes_sent "$http_referer" '
    forwarded += '"$http_user_agent" "$http_x_forwarded_for"\''
    printed = printed.replace(
        line, f"{line}    log_format forwarded {forwarded};\n    access_log combined.log forwarded;\n"
    )
    with Upstream() as upstream, Sidecar(replay.folder, config), Nginx(replay.folder, printed, upstream) as proxy:
        ask_all(proxy.ports.proxied)
        logs = [replay.folder / "access.log", replay.folder / "combined.log"]
        wait_for(lambda: all(len(log.read_text().splitlines()) >= len(CLIENTS) for log in logs))
        json_log, text_log = (log.read_text().splitlines() for log in logs)
    for then, now in zip(map(json.loads, json_log), replay(json_log).lines(), strict=True):
        assert (then["decision"], then["list"], then["client"]) == (now["decision"], now["list"], now["client"] or "")
    logged = [json.loads(line) for line in json_log]
    again = replay(text_log).lines()
    assert [(line["decision"], line["reason"], line["client"] or "") for line in again] == [
        (line["decision"], line["reason"], line["client"]) for line in logged
    ]
