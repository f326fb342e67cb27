"""Another server on the sidecar's port, as after a restart in the wrong order: what it says lets nobody in."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest
from support.proxies.client import ask
from support.proxies.every import start_proxy
from support.proxies.upstream import Upstream
from support.servers.web_server import WebServer

from authz.cli.sidecar.proxy_config import parts_of, render
from authz.serve.config.config import load_config

if TYPE_CHECKING:
    from http.server import BaseHTTPRequestHandler
    from pathlib import Path

    from authz.serve.config.config import Config


def config_for(folder: Path, stranger: WebServer) -> Config:
    (folder / "authz.yaml").write_text(
        "snapshot: {path: lists.snapshot, trusted_keys: [keys/a.pub]}\nclient_address: {trusted_hops: 1}\n"
        f'http: {{listen: "127.0.0.1:{stranger.port}"}}\n'
    )
    return load_config(folder / "authz.yaml", {})


@pytest.mark.parametrize("status", [200, 204, 302])
@pytest.mark.parametrize("proxy", ["nginx", "haproxy", "caddy", "apache"])
def test_another_server_on_the_port_of_the_sidecar_lets_nobody_in(tmp_path: Path, proxy: str, status: int) -> None:
    stranger = WebServer(b"welcome")
    stranger.status, stranger.location = status, "/elsewhere"
    with stranger.running(), Upstream() as upstream:
        config = config_for(tmp_path, stranger)
        printed = {part: render(proxy, config, None, part) for part in parts_of(proxy)}
        with start_proxy(tmp_path, proxy, printed, upstream) as ports:
            for path in ("/", "/shop/x"):
                reply = ask(ports.edge, path)
                assert reply.status in {502, 503}
                assert b"welcome" not in reply.body
        assert len(stranger.requests) == 2
        assert upstream.seen == []


class FirstOnly(WebServer):
    """Lets the first request in, as a sidecar does; then it is another server, which says 200 to all."""

    def answer(self, handler: BaseHTTPRequestHandler) -> None:
        """Answer one request."""
        self.requests.append({"path": handler.path})
        handler.send_response(200)
        if len(self.requests) == 1:
            handler.send_header("X-Authz-Decision", "allow")
        handler.send_header("Content-Length", "0")
        handler.end_headers()


def test_nginx_lets_nobody_in_by_what_was_said_before_an_internal_redirect(tmp_path: Path) -> None:
    stranger = FirstOnly()
    with stranger.running(), Upstream() as upstream:
        config = config_for(tmp_path, stranger)
        printed = {part: render("nginx", config, None, part) for part in parts_of("nginx")}
        asked_twice = "location = /twice { try_files /none-$authz_app /again; }\n        location / {"
        printed = {part: text.replace("location / {", asked_twice) for part, text in printed.items()}
        with start_proxy(tmp_path, "nginx", printed, upstream) as ports:
            assert ask(ports.edge, "/twice").status == 502
        assert len(stranger.requests) == 2
        assert upstream.seen == []
