"""The command line mirrors the API: each operation has its command, and each command prints JSON."""

from __future__ import annotations

import json
import os
import re
import subprocess
import sys
from typing import TYPE_CHECKING, Any, Final

import pytest
import typer
from support.control import Running
from support.processes import wait_for
from support.suite.commands import Commands

from authz.cli.app import app
from authz.cli.control.common import client

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

# What a person types for an operation. {words} are filled in by the test.
LIKE: Final = {
    "POST /v1/bans": "ban 203.0.113.7 --for 2h --application shop",
    "GET /v1/bans": "bans",
    "DELETE /v1/bans/{entry_id}": "unban {ban}",
    "GET /v1/entries": "entries",
    "GET /v1/entries/{entry_id}": "entries show {entry}",
    "GET /v1/counts": "entries count",
    "POST /v1/entries": "entries add --list allow --network 192.0.2.5",
    "POST /v1/entries/bulk": "entries load list.txt",
    "PATCH /v1/entries/{entry_id}": "entries change {entry} --for 7d",
    "PUT /v1/sources/{source}/entries": "entries replace partner list2.txt",
    "DELETE /v1/entries": "entries delete --origin partner --expect 1",
    "DELETE /v1/entries/{entry_id}": "entries delete {entry}",
    "POST /v1/preview": "entries add --network 198.51.100.0/24 --dry-run",
    "GET /v1/history": "history 203.0.113.7",
    "POST /v1/undo": "undo {serial}",
    "POST /v1/rollback": "rollback {serial} --dry-run",
    "GET /v1/explain": "explain 203.0.113.7",
    "GET /v1/checkpoints": "control checkpoints",
    "GET /v1/publications": "control publications",
    "GET /v1/feeds": "control feeds",
    "GET /v1/tokens": "control tokens",
    "POST /v1/tokens": "control tokens add ci --role viewer",
    "DELETE /v1/tokens/{token_id}": "control tokens revoke {token}",
    "GET /v1/tenants": "control tenants",
    "PUT /v1/tenants/{name}": "control tenants set team-a --application team-a-*",
    "GET /v1/applications": "control applications",
    "PUT /v1/applications/{name}": "control applications set blog --mode block --file settings.json",
    "DELETE /v1/applications/{name}": "control applications delete blog",
    "GET /v1/policy": "control policy",
    "PUT /v1/policy": "control policy set policy.json",
    "GET /v1/approvals": "control approvals",
    "GET /v1/approvals/{approval_id}": "control approvals show {approval}",
    "POST /v1/approvals/{approval_id}/approve": "control approvals approve {approval}",
    "POST /v1/approvals/{approval_id}/reject": "control approvals reject {approval}",
    "GET /v1/audit": "control audit",
    "GET /v1/sessions": "control sessions",
    "DELETE /v1/sessions/{session_id}": "control sessions end {session}",
    "GET /v1/jobs": "control jobs",
    "GET /v1/jobs/{job_id}": "control jobs show {job}",
    "GET /v1/notifications": "control notifications",
    "GET /v1/triggers": "control triggers",
    "POST /v1/triggers": "control triggers set trigger.json",
    "GET /v1/triggers/{name}": "control triggers show guessing",
    "GET /v1/triggers/{name}/versions": "control triggers versions guessing",
    "PUT /v1/triggers/{name}": "control triggers set trigger.json",
    "POST /v1/triggers/test": "control triggers test trigger.json",
    "POST /v1/triggers/{name}/resume": "control triggers resume guessing",
    "DELETE /v1/triggers/{name}": "control triggers delete guessing",
    "GET /v1/holds": "control holds",
    "DELETE /v1/holds/{hold_id}": "control holds end {hold}",
    "GET /v1/events": "control events",
    "GET /v1/events/counts": "control events count",
    "GET /v1/events/countries": "control events countries",
    "GET /v1/events/export": "control events export events.ndjson",
}
NO_COMMAND: Final = {
    "POST /v1/events": "sidecars, proxies and a WAF send them",
    "GET /v1/layers/{layer}": "sidecars fetch it",
    "GET /v1/decisions": "bouncers of CrowdSec ask it",
    "GET /v1/decisions/stream": "bouncers of CrowdSec ask it",
    "HEAD /v1/decisions": "bouncers of CrowdSec ask it",
    "HEAD /v1/decisions/stream": "bouncers of CrowdSec ask it",
    "POST /v1/session": "browsers sign on; a command has its token",
    "GET /v1/session": "browsers have sessions",
    "DELETE /v1/session": "browsers have sessions",
    "GET /v1/session/oidc": "browsers are sent there",
    "GET /v1/session/oidc/callback": "browsers are sent there",
    "GET /livez": "for supervisors",
    "GET /readyz": "for supervisors",
    "GET /metrics": "for Prometheus",
}
# Commands of `authz control` that serve until they are ended, and print nothing.
SERVE: Final = {"control serve", "control sign"}
OF_THE_STORE: Final = {
    "control export": "control export --config control/control.yaml",
    "control import": "control import policy.yaml --config control/control.yaml",
    "control backup": "control backup store.backup --config control/control.yaml",
    "control check": "control check --config control/control.yaml",
    "control migrate": "control migrate --config control/control.yaml",
    "control forget": "control forget --config control/control.yaml",
    "control recover": "control recover --config control/control.yaml",
    "control prepare": "control prepare --config control/control.yaml --token-file first-token",
    "control init": "control init another",
    "control restore": "control restore store.backup --config another/control.yaml",
    "control api": "control api GET /v1/tenants",
}


@pytest.fixture(scope="module")
def running(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Running]:
    running = Running(tmp_path_factory.mktemp("mirror") / "control")
    yield running
    running.end()


class Asked:
    """Types commands at a control plane, and notes what they ask it for."""

    def __init__(self, running: Running, folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setenv("AUTHZ_CONTROL_URL", running.url)
        monkeypatch.setenv("AUTHZ_TOKEN", running.token)
        self.running = running
        self.commands = Commands(folder, monkeypatch)
        self.operations: list[str] = []
        send, connection = client._send, client._connection

        def noted(url: str, method: str, target: str, *more: Any) -> Any:
            self.operations.append(f"{method} {target.partition('?')[0]}")
            return send(url, method, target, *more)

        def connected(*arguments: Any) -> Any:
            made = connection(*arguments)
            request = made.request

            def requested(method: str, target: str, *more: Any, **named: Any) -> None:
                self.operations.append(f"{method} {target.partition('?')[0]}")
                request(method, target, *more, **named)

            monkeypatch.setattr(made, "request", requested)
            return made

        monkeypatch.setattr(client, "_send", noted)
        monkeypatch.setattr(client, "_connection", connected)

    def json(self, command: str) -> Any:
        self.operations.clear()
        return self.commands(*command.split(), "--json").json()

    def text(self, command: str) -> str:
        ran = self.commands(*command.split())
        assert ran.status == 0, ran.err
        return ran.out


@pytest.fixture
def asked(running: Running, monkeypatch: pytest.MonkeyPatch) -> Asked:
    folder = running.folder.parent
    (folder / "list.txt").write_text("198.51.100.1\n198.51.100.2  # a remark\n")
    (folder / "list2.txt").write_text("198.51.100.9\n")
    (folder / "settings.json").write_text('{"default": "allow"}')
    (folder / "policy.json").write_text('{"protected": ["192.0.2.200"]}')
    (folder / "policy.yaml").write_text("version: 1\nentries: [{list: allow, networks: [192.0.2.77]}]\n")
    trigger = {"name": "guessing", "kind": "brute_force", "where": {"path": "/login"},
               "count": {"over": 30, "within": "30s"}, "then": {"list": "deny", "period": "1h"}}  # fmt: skip
    (folder / "trigger.json").write_text(json.dumps(trigger))
    return Asked(running, folder, monkeypatch)


def operations_of(running: Running) -> list[str]:
    paths = running.client.get("/schema/openapi.json").json()["paths"]
    return [f"{method.upper()} {path}" for path, methods in paths.items() for method in methods if path != "/schema"]


def test_every_operation_of_the_api_has_a_command_or_a_reason_for_none(running: Running) -> None:
    described = {operation for operation in operations_of(running) if " /schema" not in operation}
    assert described == LIKE.keys() | NO_COMMAND.keys()
    assert not LIKE.keys() & NO_COMMAND.keys()


def words_for(asked: Asked) -> dict[str, str]:
    """Make what commands name, and return how it is called."""
    ok = asked.running.ok
    ban = ok("POST", "/v1/bans", {"address": "203.0.113.8"})
    entry = ok("POST", "/v1/entries", {"list": "allow", "networks": ["192.0.2.9"]})
    undone = ok("POST", "/v1/bans", {"address": "203.0.113.10"})
    token = ok("POST", "/v1/tokens", {"name": "old", "role": "viewer"})
    ok("POST", "/v1/session", {"token": asked.running.token})
    session = ok("GET", "/v1/sessions")[0]
    job = ok("POST", "/v1/entries/bulk", [{"networks": [f"10.{n >> 8}.{n & 255}.1"]} for n in range(5001)])
    return {"ban": ban["id"], "entry": entry["id"], "serial": str(undone["serial"]), "token": token["id"],
            "session": session["id"], "job": job["id"]}  # fmt: skip


def test_each_command_asks_for_the_operation_that_it_mirrors_and_prints_json(asked: Asked) -> None:
    words = words_for(asked)
    missing = {}
    for operation, command in LIKE.items():
        if "{approval}" in command or "{hold}" in command:
            continue  # told as stories: tests/control/stories/test_operators.py
        asked.json(command.format(**words))
        pattern = re.compile(re.sub(r"\{[a-z_]+\}", "[^/]+", operation))
        if not any(map(pattern.fullmatch, asked.operations)):
            missing[operation] = [*asked.operations]
    assert missing == {}


def leaves(command: Any, path: tuple[str, ...] = ()) -> Iterator[tuple[str, Any]]:
    """Give every command that does something; a group that lists by itself is one."""
    children = getattr(command, "commands", {})
    if not children or getattr(command, "invoke_without_command", False):
        yield " ".join(path), command
    for name, child in children.items():
        yield from leaves(child, (*path, name))


def test_every_verb_of_the_control_plane_takes_json() -> None:
    verbs = dict(leaves(typer.main.get_command(app)))
    control = {name: verb for name, verb in verbs.items() if name.startswith("control ") and name not in SERVE}
    without = [name for name, verb in control.items() if not any("--json" in p.opts for p in verb.params)]
    assert without == []
    tried = {command for command in [*LIKE.values(), *OF_THE_STORE.values()] if command.startswith("control ")}
    assert [name for name in control if not any(f"{command} ".startswith(f"{name} ") for command in tried)] == []


def test_what_opens_the_store_itself_prints_json(asked: Asked) -> None:
    for name, command in OF_THE_STORE.items():
        if name == "control restore":  # into a new store
            for file in (asked.commands.folder / "another").glob("control.sqlite*"):
                file.unlink()
        asked.json(command)


def test_without_json_each_prints_something_for_people(asked: Asked) -> None:
    lists = [command for operation, command in LIKE.items() if operation.startswith("GET ") and "{" not in command]
    for command in [*lists, "control triggers test trigger.json"]:
        if "guessing" not in command and "export" not in command:
            assert asked.text(command)


def completed(running: Running, *words: str) -> list[str]:
    """Return what bash is offered behind these words."""
    line = " ".join(("authz", *words))
    env = os.environ | {
        "_AUTHZ_COMPLETE": "complete_bash", "COMP_WORDS": line, "COMP_CWORD": str(len(words)),
        "AUTHZ_CONTROL_URL": running.url, "AUTHZ_TOKEN": running.token,
    }  # fmt: skip
    command = "import sys; from authz.cli.main import run; sys.argv = ['authz']; run()"
    done = subprocess.run(
        [sys.executable, "-c", command], env=env, capture_output=True, text=True, timeout=60, check=False
    )
    assert "Traceback" not in done.stderr
    return done.stdout.split("\n")


def test_a_shell_completes_commands_ids_and_applications(running: Running) -> None:
    made = running.ok("POST", "/v1/bans", {"address": "203.0.113.99", "applications": ["checkout"]})
    assert "approvals" in completed(running, "control", "appr")
    for expected, words in (
        (made["id"], ("entries", "show", made["id"][:-1])),
        (made["id"], ("unban", made["id"][:-1])),
        ("checkout", ("ban", "203.0.113.1", "--application", "che")),
    ):  # where the control plane takes two seconds, a shell is offered nothing
        wait_for(lambda: expected in completed(running, *words))  # noqa: B023  # it is called here
