"""Access logs for tests, and their replay."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from collections.abc import Iterable

    from support.publishing.publisher import Publisher
    from support.suite.commands import Commands, Ran

POLICY = """\
version: 1
applications:
  shop: {hosts: [shop.example.com]}
  admin: {default: deny, hosts: [admin.example.com]}
entries:
  - {id: office, list: allow, networks: [192.0.2.0/24, "2001:db8:1::/48"]}
  - {id: bad, list: deny, networks: [203.0.113.0/24, "2001:db8:bad::/48"]}
  - {id: sale, list: deny, networks: [198.51.100.0/24], starts: 2026-12-01T00:00:00Z, expires: 2026-12-24T00:00:00Z}
"""


STRICTER = POLICY.replace("192.0.2.0/24,", "192.0.2.0/25,") + "  - {id: new, list: deny, networks: [192.0.2.128/25]}\n"


CONFIG = """\
snapshot: {path: lists.snapshot, trusted_keys: [keys/a.pub]}
application: {unknown: default}
client_address: {trusted_proxies: [127.0.0.0/8, "::1", 10.0.0.0/8], trust_unix: true}
"""


class Replay:
    """A folder with two snapshots, where logs are replayed."""

    def __init__(self, publisher: Publisher, authz: Commands) -> None:
        self.folder = publisher.folder
        self.authz = authz
        publisher.publish(STRICTER, to="new.snapshot")
        publisher.publish(POLICY)
        (self.folder / "authz.yaml").write_text(CONFIG)

    def __call__(self, log: str | Iterable[str], *options: str) -> Ran:
        """Replay a log, given as text or as lines."""
        text = log if isinstance(log, str) else "".join(f"{line}\n" for line in log)
        (self.folder / "access.log").write_text(text)
        return self.authz("replay", "access.log", "--config", "authz.yaml", *options)

    def decided(self, log: str | Iterable[str], *options: str) -> list[tuple[str | None, str, str]]:
        """Return client, application and reason of each request."""
        ran = self(log, *options)
        assert (ran.status, ran.err) == (0, "")
        return [(line["client"], line["application"], line["reason"]) for line in ran.lines()]


def combined(address: str, more: str = "", *, user: str = "-", time: str = "01/Dec/2026:01:00:00 +0100") -> str:
    return f'{address} - {user} [{time}] "GET /cart?item=1 HTTP/1.1" 200 612 "-" "curl/8.14.1"{more}'


PRINTED: dict[str, Any] = {
    "time": "2026-12-01T00:00:00.456Z", "method": "GET", "host": "shop.example.com:8080", "path": "/", "status": 403,
    "details": "ext_authz_denied", "flags": "UAEX", "peer": "10.0.0.1", "decision": "deny", "reason": "denylisted",
    "list": "deny", "entry": "bad", "client": "203.0.113.9", "application": "shop", "serial": 2, "enforced": True,
    "warnings": [], "authz_us": 512,
}  # fmt: skip


def envoy(forwarded: str, *, agent: str = "curl/8.14.1", host: str = "shop.example.com", path: str = "/") -> str:
    return (
        f'[2026-12-01T00:00:00.310Z] "GET {path} HTTP/1.1" 200 - 0 226 100 99 "{forwarded}" "{agent}" '
        f'"cc21d9b0-cf5c-432b-8c7e-98aeb7988cd2" "{host}" "10.0.2.1:80"'
    )


JSONL = '{"peer": "203.0.113.9"}'
AGAINST = ("--against", "new.snapshot")
