"""Which command lines start a sidecar without the libraries of the command line."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest
from support.commands import Commands

from authz.cli.main import serve_options

if TYPE_CHECKING:
    from pathlib import Path

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
