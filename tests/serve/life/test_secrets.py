"""No secret gets into a log, a page or a command line: tokens, passwords in URLs, keys, what requests carry."""

from __future__ import annotations

import os
import signal
from pathlib import Path
from typing import TYPE_CHECKING

import pytest
from support.processes import Sidecar, free_port, wait_for
from support.servers.certificates import Authority
from support.sidecar.running import DENIED, get

if TYPE_CHECKING:
    from support.publishing.publisher import Publisher

CONFIG = """\
layers:
  - {{name: policy, path: lists.snapshot, trusted_keys: [keys/a.pub]}}
  - {{name: bans, url: "https://127.0.0.1:{port}/lists/bans?token=secret-of-a-query", poll: 1s,
      token: layer-token, trusted_keys: [keys/a.pub], may: {{lists: [deny]}}}}
grpc: {{listen: "127.0.0.1:0", tls: {{certificate: server.pem, key: server.key.pem}}}}
http: {{listen: "127.0.0.1:0"}}
admin: {{listen: "127.0.0.1:0", token_file: admin-token}}
client_address: {{trusted_proxies: ["127.0.0.0/8"]}}
application: {{unknown: default}}
decision_log: {{allowed: 1.0}}
events: {{url: "http://127.0.0.1:{port}/v1/events", token_file: events-token}}
traces: {{url: "http://127.0.0.1:{port}/v1/traces", token_file: traces-token}}
drain: 0s
"""
TOKENS = {name: f"secret-of-the-{name}-which-nobody-may-see" for name in
          ("layer-token", "admin-token", "events-token", "traces-token")}  # fmt: skip
CARRIED = ("secret-of-a-cookie", "secret-of-an-authorization", "secret-of-a-target")


@pytest.mark.parametrize("level", ["info", "debug"])
def test_no_secret_is_written_or_shown(publisher: Publisher, level: str) -> None:
    folder = publisher.folder
    publisher.publish()
    Authority(folder, "authority").issue("server", "127.0.0.1")
    for name, token in TOKENS.items():
        (folder / name).write_text(token + "\n")
    key = (folder / "server.key.pem").read_text().splitlines()[1]
    with Sidecar(folder, CONFIG.format(port=free_port()), options=("--log-level", level)) as sidecar:
        for headers in ([f"Cookie: {CARRIED[0]}"], [f"Authorization: Bearer {CARRIED[1]}"], []):
            get(sidecar.ports["http"], f"/v1/auth/shop?q={CARRIED[2]}", DENIED, headers=headers)
        wait_for(lambda: "refused" in sidecar.output and "events" in sidecar.output, "what cannot be reached is told")
        (folder / "authz.yaml").write_text(f"admin: {{token: {TOKENS['admin-token']}}}\n")
        os.kill(sidecar.pid, signal.SIGHUP)
        sidecar.wait_for_line("the configuration stays as it was")
        bearer = [f"Authorization: Bearer {TOKENS['admin-token']}"]
        pages = [get(sidecar.ports["admin"], page, headers=bearer).body.decode()
                 for page in ("/metrics", "/snapshot", "/readyz", "/decisions")]  # fmt: skip
        shown = [sidecar.output, *pages, Path(f"/proc/{sidecar.pid}/cmdline").read_text()]
    assert "authz_decisions_total" in pages[0]
    for secret in (*TOKENS.values(), *CARRIED, key, "secret-of-a-query"):
        assert [text for text in shown if secret in text] == [], secret
