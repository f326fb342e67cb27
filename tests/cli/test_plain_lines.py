"""Which command lines are read without the libraries of the command line: to serve, and to ban."""

from __future__ import annotations

import re
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
from support.suite.commands import Commands

from authz.cli.common.plain import ban_options, serve_options, unban_options

PLAIN = {
    "serve --config a.yaml": {"config": "a.yaml"},
    "serve --config=a.yaml": {"config": "a.yaml"},
    "serve --log-level debug --config a=b.yaml": {"config": "a=b.yaml", "log_level": "debug"},
    "serve --log-level=debug --config=a=b.yaml": {"config": "a=b.yaml", "log_level": "debug"},
    "serve --config a.yaml --config b.yaml": {"config": "b.yaml"},
}
OTHERS = (
    *("", "serve", "serve --help", "serve --config", "serve --config=", "serve --config a.yaml --help"),
    *("serve --config --help", "serve a.yaml", "serve --config a.yaml b.yaml", "serve --conf a.yaml"),
    *("serve --config a.yaml --log-level", "serve --log-level debug", "--version", "-h serve --config a.yaml"),
    *("check-config a.yaml", "snapshot verify --config a.yaml"),
)


@pytest.mark.parametrize("line", PLAIN)
def test_a_plain_serve_is_understood(line: str) -> None:
    assert serve_options(line.split(" ")) == PLAIN[line]


@pytest.mark.parametrize("line", OTHERS)
def test_anything_else_is_left_to_the_whole_command_line(line: str) -> None:
    assert serve_options(line.split(" ")) is None


@pytest.mark.parametrize("plain", [True, False])
def test_a_mistake_is_told_alike_either_way(plain: bool, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    authz = Commands(tmp_path, monkeypatch)
    if not plain:
        monkeypatch.setattr("authz.cli.main.serve_options", lambda _: None)
    ran = authz("serve", "--config", "missing.yaml", "--log-level", "info")
    assert (ran.status, ran.out, ran.err) == (
        2,
        "",
        "authz: error: missing.yaml: cannot be read: No such file or directory",
    )
    ran = authz("serve", "--config", "missing.yaml", "--log-level", "loud")
    expected = "authz: error: --log-level: found 'loud', expected debug, info, warning or error"
    assert (ran.status, ran.out, ran.err) == (2, "", expected)


FILE = {"layer": Path("bans.yaml"), "key": None, "json": False}
BAN: dict[str, Any] = {"period": "1h", "applications": [], "on": "deny", "reason": "", **FILE}
BANS = {
    "ban 192.0.2.1": {**BAN, "network": "192.0.2.1"},
    "ban --for 2h 192.0.2.1 --json": {**BAN, "network": "192.0.2.1", "period": "2h", "json": True},
    "ban 192.0.2.1 --application=a --application b --list gray": {
        **BAN, "network": "192.0.2.1", "applications": ["a", "b"], "on": "gray",
    },
    "ban ::1 --layer x.yaml --key k --reason a=b": {
        **BAN, "network": "::1", "layer": Path("x.yaml"), "key": "k", "reason": "a=b",
    },
}  # fmt: skip
NO_BANS = (
    *(
        "ban",
        "ban --help",
        "ban 192.0.2.1 --help",
        "ban 192.0.2.1 192.0.2.2",
        "ban 192.0.2.1 --for",
        "ban -- 192.0.2.1",
    ),
    *("ban 192.0.2.1 --for=", "ban 192.0.2.1 --json=1", "ban 192.0.2.1 --wait enforced", "unban 192.0.2.1", "bans"),
)


@pytest.mark.parametrize("line", BANS)
def test_a_plain_ban_is_understood(line: str) -> None:
    assert ban_options(line.split(" ")) == BANS[line]


@pytest.mark.parametrize("line", NO_BANS)
def test_any_other_ban_is_left_to_the_whole_command_line(line: str) -> None:
    assert ban_options(line.split(" ")) is None


def test_a_plain_unban_is_understood() -> None:
    expected = {**FILE, "application": None, "reason": "", "which": "192.0.2.1"}
    assert unban_options(["unban", "192.0.2.1"]) == expected
    more = ["--application", "a", "--reason", "b c"]
    assert unban_options(["unban", "192.0.2.1", *more]) == expected | {"application": "a", "reason": "b c"}
    assert unban_options(["unban"]) is unban_options(["ban", "192.0.2.1"]) is None


def test_the_bans_file_of_the_environment_is_taken(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("AUTHZ_BANS", "mine.yaml")
    for options in (ban_options(["ban", "192.0.2.1"]), unban_options(["unban", "192.0.2.1"])):
        assert options is not None
        assert options["layer"] == Path("mine.yaml")


@pytest.mark.parametrize("name", ["AUTHZ_CONTROL_URL", "_AUTHZ_COMPLETE"])
def test_a_ban_for_a_control_plane_is_left_to_typer(name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv(name, "http://127.0.0.1:9")
    assert ban_options(["ban", "192.0.2.1"]) is unban_options(["unban", "192.0.2.1"]) is None


@pytest.mark.parametrize("plain", [True, False])
def test_a_ban_is_made_and_ended_alike_either_way(plain: bool, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    authz = Commands(tmp_path, monkeypatch)
    authz("keys", "generate", "keys", "--name", "bans")
    authz("bans", "init", "bans.yaml", "--key", "keys/bans.key")
    if not plain:
        monkeypatch.setattr("authz.cli.main.ban_options", lambda _: None)
        monkeypatch.setattr("authz.cli.main.unban_options", lambda _: None)
    ran = authz("ban", "192.0.2.1", "--for", "2h", "--application", "shop", "--application", "api", "--reason", "a b")
    assert ran.status == 0
    names = [line.split()[0] for line in ran.out.splitlines()]
    assert names == ["banned", "address", "list", "applications", "until", "since", "by", "reason", "serial"]
    [made] = authz("bans", "--json").json()["bans"]
    assert (made["network"], made["applications"], made["reason"]) == ("192.0.2.1", ["api", "shop"], "a b")
    assert authz("ban", "192.0.2.1", "--for", "x").err == (
        "authz: error: --for: found 'x', expected a period such as 5m, 2h or 7d, or forever"
    )
    assert authz("unban", "192.0.2.1", "--application", "shop").out == f"ended the ban {made['id']} of 192.0.2.1"
    assert authz("unban", "192.0.2.1").status == 2


SLOW_TO_LOAD = ("numpy", "google", "yaml", "msgspec", "orjson", "cryptography.utils", "cryptography.hazmat.primitives",
                "tempfile", "typer", "click", "rich", "pydantic", "asyncio", "uvloop", "socket", "selectors",
                "threading", "hashlib", "_hashlib", "textwrap", "subprocess", "logging")  # fmt: skip
MAX_OWN_MODULES = 45  # modules; each takes some 0.3 ms to load


def test_a_ban_and_an_unban_load_nothing_that_takes_long(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    authz = Commands(tmp_path, monkeypatch)
    authz("keys", "generate", "keys", "--name", "bans")
    authz("bans", "init", "bans.yaml", "--key", "keys/bans.key")
    for line in ("ban 192.0.2.1 --for 2h", "ban 192.0.2.0/24", "unban 192.0.2.1"):
        command = [sys.executable, "-X", "importtime", "-m", "authz", *line.split()]
        done = subprocess.run(command, cwd=tmp_path, capture_output=True, text=True, check=True)
        loaded = set(re.findall(r"^import time: +\d+ \| +\d+ \| +(\S+)$", done.stderr, re.MULTILINE))
        assert "authz.publisher.bans.file" in loaded
        assert {name for name in loaded if name in SLOW_TO_LOAD} == set()
        assert sum(name.partition(".")[0] == "authz" for name in loaded) <= MAX_OWN_MODULES
