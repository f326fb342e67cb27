"""The way into production, on a real Envoy: shadow, dry run for one application, enforcing, emergency off, rollback.

Snapshots are built by the commands that an operator types, and nobody who may pass is ever kept waiting or turned away.
"""

from __future__ import annotations

import functools
import json
import subprocess
import sys
from typing import TYPE_CHECKING, Any

from support.processes import wait_for
from support.proxies.client import Traffic
from support.proxies.programs.envoy import Envoy, check_of
from support.proxies.stack import BAD, OFFICE, SCRAPER, EnvoyStack

if TYPE_CHECKING:
    from pathlib import Path

ENTRIES = """\
entries:
  - {id: office, list: allow, networks: [192.0.2.0/24]}
  - {id: bad, list: deny, networks: [203.0.113.0/24], reason: abuse}
  - {id: scrapers, list: deny, networks: [198.51.100.20-198.51.100.29], applications: [shop]}
"""
TRIED = 'version: 1\napplications: {"*": {}, shop: {dry_run: true}, api: {}}\n' + ENTRIES
ENFORCED = 'version: 1\napplications: {"*": {}, shop: {}, api: {}}\n' + ENTRIES
OFF = 'version: 1\napplications: {"*": {dry_run: true}, shop: {}, api: {}}\n' + ENTRIES  # for all that say nothing else


def authz(folder: Path, *arguments: str) -> dict[str, Any]:
    """Run a command as an operator does, and return what it prints as JSON."""
    command = [sys.executable, "-m", "authz", *arguments, "--json"]
    done = subprocess.run(command, cwd=folder, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr + done.stdout
    said: dict[str, Any] = json.loads(done.stdout)
    return said


def publish(folder: Path, policy: str) -> int:
    """Build a policy and sign it; return its serial."""
    (folder / "policy.yaml").write_text(policy)
    key = ("--key", "keys/a.key")
    return int(authz(folder, "snapshot", "build", "policy.yaml", "-o", "lists.snapshot", *key)["serial"])


def answers(stack: EnvoyStack, path: str, peer: str, status: int) -> bool:
    return stack.ask(path, peer).status == status


def in_shadow(config: dict[str, Any]) -> dict[str, Any]:
    """Uncomment `shadow_mode` of the printed configuration."""
    shadowed: dict[str, Any] = json.loads(json.dumps(config))
    for listener in shadowed["static_resources"]["listeners"]:
        check_of(listener["filter_chains"][0]["filters"][0]["typed_config"])["shadow_mode"] = True
    return shadowed


def test_shadow_dry_run_enforce_emergency_off_and_rollback(tmp_path: Path) -> None:
    """The steps of docs/guides/rollout.md."""
    stack = EnvoyStack(tmp_path, "unix")
    assert "# shadow_mode: true" in stack.printed
    enforcing, stack.envoy_config = stack.envoy_config, in_shadow(stack.envoy_config)
    with stack:
        publish(stack.folder, TRIED)
        with stack.start_sidecar():
            # 1. Envoy asks and counts, and lets everybody in, whatever it is told.
            assert stack.ask("/api/orders", BAD).status == 200
            assert stack.ask("/shop/cart", SCRAPER).status == 200
            assert stack.envoy.log_of("/api/orders")["decision"] == "deny"
            assert stack.envoy.stat("http.edge.ext_authz.authz.shadow_denied") == 1, "the dry run of shop answers allow"
            stack.envoy.end()

            with Envoy(stack.folder, enforcing) as stack.envoy:
                with Traffic(functools.partial(stack.client, OFFICE), "/shop/") as traffic:
                    # 2. What is ready is enforced; shop is still tried, and its log says what would be.
                    assert stack.ask("/api/orders", BAD).status == 403
                    assert stack.ask("/shop/cart", SCRAPER).status == 200
                    line = stack.envoy.log_of("/shop/cart")
                    assert (line["entry"], line["enforced"], line["reason"]) == ("scrapers", False, "denylisted")

                    # 3. The dry run is taken off.
                    enforced = publish(stack.folder, ENFORCED)
                    wait_for(functools.partial(answers, stack, "/shop/", SCRAPER, 403), "shop is enforced")

                    # 4. Something is wrong, nobody knows what: one signed file, and everybody is let in again.
                    off = publish(stack.folder, OFF)
                    wait_for(functools.partial(answers, stack, "/shop/", SCRAPER, 200), "all is off")
                    assert stack.ask("/api/orders", BAD).status == 200

                    # 5. Back to what was enforced, without its policy.yaml, under a higher serial.
                    back = ("snapshot", "rollback", str(enforced), "-o", "lists.snapshot", "--key", "keys/a.key")
                    rolled = authz(stack.folder, *back)
                    assert rolled["serial"] > off > enforced
                    wait_for(functools.partial(answers, stack, "/shop/", SCRAPER, 403), "it is enforced again")
                    assert stack.ask("/api/orders", BAD).status == 403
                    traffic.wait_for_more(50)
                assert traffic.failures == []
                assert {reply.status for reply in traffic.replies} == {200}
