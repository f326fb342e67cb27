"""A control plane with something to look at: lists, history, a day of events. Addresses are those of documentation."""

from __future__ import annotations

import json
import random
import time
from typing import TYPE_CHECKING, Any

from support.processes import wait_for

if TYPE_CHECKING:
    from support.control import Control, Running

APPLICATIONS = {"shop": {"mode": "block"}, "api": {"mode": "safe_blocking"}, "blog": {"dry_run": True}}
ENTRIES: list[dict[str, Any]] = [
    {"list": "allow", "networks": ["192.0.2.0/28", "2001:db8:1::/48"], "period": "forever", "reason": "office, Berlin"},
    {"list": "allow", "networks": ["192.0.2.64"], "applications": ["shop"], "period": "30d", "reason": "monitor"},
    {"list": "deny", "networks": ["198.51.100.0/24"], "except": ["198.51.100.10", "198.51.100.77"], "period": "7d",
     "reason": "scraper farm, ticket 4711"},
    {"list": "deny", "networks": ["203.0.113.64/26"], "applications": ["shop", "api"], "period": "1d",
     "reason": "credential stuffing"},
    {"list": "deny", "networks": ["203.0.113.9"], "applications": ["shop"], "period": "6h", "reason": "guessing"},
    {"list": "deny", "networks": ["2001:db8:bad::/48"], "period": "forever", "reason": "abuse, no answer"},
    {"list": "deny", "networks": ["203.0.113.200-203.0.113.220"], "action": "warn", "period": "7d", "reason": "watch"},
    {"list": "gray", "networks": ["198.18.0.0/15"], "applications": ["api"], "period": "30d", "reason": "lab"},
]  # fmt: skip
PATHS = ("/", "/login", "/cart", "/api/orders/17", "/products?id=4", "/wp-login.php", "/.env", "/search?q=shoes")


def fill(running: Running | Control, *, bans: int = 40, events: int = 3000, seed: int = 7) -> None:
    """Fill a control plane; the same seed gives the same lists."""
    chance = random.Random(seed)  # a test's
    for name, settings in APPLICATIONS.items():
        running.ok("PUT", f"/v1/applications/{name}", settings)
    made = [running.ok("POST", "/v1/entries", entry) for entry in ENTRIES]
    for number in range(bans):
        running.ok("POST", "/v1/bans", {
            "address": f"203.0.113.{100 + number}" if number % 3 else f"2001:db8:{number:x}::{number:x}",
            "applications": ["shop"] if number % 2 else [], "period": chance.choice(["1h", "6h", "1d", "7d"]),
            "reason": chance.choice(["guessing passwords", "forced browsing", "too many requests", "SQL injection"]),
            "list": "gray" if number % 7 == 3 else "deny",
        })  # fmt: skip
    _change_some(running, made)
    _send_events(running, made, chance, events)


def _change_some(running: Running | Control, made: list[dict[str, Any]]) -> None:
    entry = made[3]
    match = {"If-Match": f'"{entry["id"]}.{entry["version"]}"'}
    running.ok("PATCH", f"/v1/entries/{entry['id']}", {"period": "7d", "reason": "still going on"}, **match)
    gone = running.ok("POST", "/v1/bans", {"address": "203.0.113.250", "reason": "by mistake"})
    running.ok("DELETE", f"/v1/bans/{gone['id']}?reason=wrong%20address")


def _denying(client: str, made: list[dict[str, Any]], chance: random.Random) -> str:
    by_network = {"198.51.100.": made[2], "2001:db8:bad:": made[5]}
    denying = next((entry for network, entry in by_network.items() if client.startswith(network)), None)
    return str((denying or chance.choice([made[3], made[3], made[4]]))["id"])


def _send_events(running: Running | Control, made: list[dict[str, Any]], chance: random.Random, count: int) -> None:
    now = time.time()
    clients = [f"203.0.113.{chance.randrange(256)}" for _ in range(60)] + [f"192.0.2.{n}" for n in range(40)]
    hostile = ("203.0.113.", "198.51.100.", "2001:db8:bad:")
    for place in range(0, 60, 4):
        clients[place] = f"198.51.100.{chance.randrange(256)}" if place % 3 else f"2001:db8:bad::{place:x}"
    lines = []
    for _ in range(count):
        client = clients[min(int(chance.expovariate(0.06)), len(clients) - 1)]
        denied = client.startswith(hostile) and chance.random() < 0.4
        lines.append({
            "time": now - 86000 * chance.random() ** 1.3, "client": client,
            "application": chance.choice(["shop", "shop", "api", "blog"]), "path": chance.choice(PATHS),
            "method": chance.choice(["GET", "GET", "GET", "POST"]), "host": "shop.example.com",
            "status": 403 if denied else chance.choice([200, 200, 200, 404, 401]),
            "decision": "deny" if denied else "allow",
            "entry": _denying(client, made, chance) if denied else "",
        })  # fmt: skip
    body = "\n".join(json.dumps(line) for line in lines).encode()
    headers = {"Content-Type": "application/x-ndjson", "Authorization": f"Bearer {running.token}"}
    answer = running.client.post("/v1/events", content=body, headers=headers)
    assert answer.status_code == 202, answer.text
    wait_for(lambda: running.ok("GET", "/v1/events?limit=1")["items"], "the events are kept")
