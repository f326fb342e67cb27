"""Configurations of the sidecar for which something is printed, awkward ones among them, and a policy."""

from __future__ import annotations

SNAPSHOT = "snapshot: {path: lists.snapshot, trusted_keys: [keys/a.pub]}\n"
# Words that mean something to YAML, to nginx, or to both.
AWKWARD = r"""it's "a" {path}; #$host\n: [&*!|>%@`] ü"""

CONFIGURATIONS = {
    "the defaults": "",
    "IPv6": 'grpc: {listen: "[::1]:9191"}\nhttp: {listen: "[::1]:9192"}\n',
    "every address": 'grpc: {listen: "0.0.0.0:9191"}\nhttp: {listen: "[::]:9192"}\n',
    "unix sockets": "grpc: {listen: unix:grpc.sock}\nhttp: {listen: unix:http.sock}\n",
    "awkward names": f"grpc: {{listen: 'unix:{AWKWARD.replace(chr(39), chr(39) * 2)}'}}\n"
    f"http: {{listen: 'unix:{AWKWARD.replace(chr(39), chr(39) * 2)}2'}}\n"
    f"application: {{context_key: '{AWKWARD.replace(chr(39), chr(39) * 2)}'}}\n",
    "a line break": 'grpc: {listen: "unix:a\\nadmin: b"}\nhttp: {listen: "unix:a\\nuser root;"}\n',
    "an attack signal": "attack_signal: {header: x-waf-attack, metadata: {namespace: a.waf, key: attack}}\n",
    "forwarded": "client_address: {header: forwarded, trusted_proxies: [127.0.0.1]}\n",
    "one address": "client_address: {header: x-real-ip, trusted_proxies: [127.0.0.1]}\n",
    "Envoy's own header": "client_address: {header: x-envoy-external-address, trusted_proxies: [127.0.0.1]}\n",
    "hops": "client_address: {trusted_hops: 2}\n",
    "the application by a header": "application: {http: header, header: x-app}\n",
    "a short idle time": "http: {idle_timeout: 500ms}\n",
}


POLICY = """\
version: 1
applications:
  "*": {deny: {status: 451, body: "$host costs 5$, {client}x \\"quoted\\" \\\\ {} ;\n"}}
  shop: {hosts: [shop.example.com, buy.example.com], deny: {status: 429, body: "{}", content_type: application/json}}
  a.b-c: {default: deny}
"""
