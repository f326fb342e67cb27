"""The README's five minutes, run as they are written."""

from __future__ import annotations

import os
import re
import shlex
import subprocess
import sys
import urllib.error
import urllib.request
from pathlib import Path

import pytest
from support.processes import Process

README = (Path(__file__).parents[2] / "README.md").read_text()
FIVE_MINUTES = README.partition("## Your own policy in five minutes")[2].partition("\n## ")[0]
POLICY, CONFIGURATION = re.findall(r"```yaml\n(.*?)```", FIVE_MINUTES, re.DOTALL)
COMMANDS = [shlex.split(line)[1:] for line in re.findall(r"^    (authz .*)$", FIVE_MINUTES, re.MULTILINE)]
LISTENS = {f"AUTHZ_{front}__LISTEN": "127.0.0.1:0" for front in ("GRPC", "HTTP", "ADMIN")}


def test_the_five_minutes_end_with_a_denied_request(tmp_path: Path) -> None:
    (tmp_path / "policy.yaml").write_text(POLICY)
    (tmp_path / "authz.yaml").write_text(CONFIGURATION)
    *before, serve = COMMANDS
    assert [command[0] for command in COMMANDS] == ["keys", "snapshot", "explain", "serve"]
    for command in before:
        authz = [sys.executable, "-m", "authz", *command]
        printed = subprocess.run(authz, cwd=tmp_path, check=True, capture_output=True, text=True).stdout
    assert "denylisted" in printed
    environment = {**os.environ, **LISTENS, "AUTHZ_DRAIN": "0s"}
    with Process([sys.executable, "-m", "authz", *serve], cwd=tmp_path, env=environment) as sidecar:
        port = sidecar.wait_for_line(r"http: listening on 127\.0\.0\.1:(\d+)")[1]
        curl = re.findall(r"curl -i -H '(.*?): (.*?)' http://127.0.0.1:9192(\S+)", FIVE_MINUTES)
        assert len(curl) == 1
        name, value, path = curl[0]
        request = urllib.request.Request(f"http://127.0.0.1:{port}{path}", headers={name: value})
        with pytest.raises(urllib.error.HTTPError) as denied:
            urllib.request.urlopen(request, timeout=5)
        with denied.value as answer:
            assert (answer.code, answer.headers["X-Authz-Reason"]) == (403, "denylisted")
