"""The real program: two commands to a control plane that publishes."""

from __future__ import annotations

import json
import subprocess
import sys
import time
from typing import TYPE_CHECKING

import httpx
from support.processes import Process, wait_for

from authz.snapshot.read import read_snapshot
from authz.snapshot.signing.keys import load_public_key

if TYPE_CHECKING:
    from pathlib import Path

    from support.control import Running


def authz(*arguments: str, cwd: Path, env: dict[str, str] | None = None) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, "-m", "authz", *arguments]
    return subprocess.run(command, cwd=cwd, env=env, capture_output=True, text=True, timeout=60, check=False)


def test_init_makes_a_folder_that_serves_and_prints_a_token_once(tmp_path: Path) -> None:
    done = authz("control", "init", "c", "--listen", "127.0.0.1:0", "--json", cwd=tmp_path)
    assert done.returncode == 0, done.stderr
    made = json.loads(done.stdout)
    assert made["url"] == "http://127.0.0.1:0"
    assert made["token"] not in (tmp_path / "c" / "control.yaml").read_text()
    assert {path.name for path in (tmp_path / "c").iterdir()} >= {
        "control.yaml",
        "authz.yaml",
        "keys",
        "control.sqlite",
    }
    assert (tmp_path / "c" / "keys" / "bans.key").stat().st_mode & 0o077 == 0
    assert (tmp_path / "c" / "control.sqlite").stat().st_mode & 0o077 == 0
    again = authz("control", "init", "c", "--json", cwd=tmp_path)
    assert again.returncode == 2
    assert "exists" in again.stdout


def test_the_published_files_are_signed_by_the_keys_of_their_layers(shared: Running, tmp_path: Path) -> None:
    made = shared.ok("POST", "/v1/bans?wait=published&timeout=30", {"address": "203.0.113.9"})
    assert made["published"] is True
    assert wait_for(lambda: shared.client.get("/readyz").status_code == 200)
    for layer, entries in (("policy", 0), ("bans", 1)):
        path = tmp_path / f"{layer}.snapshot"
        path.write_bytes(shared.client.get(f"/v1/layers/{layer}").content)
        key = load_public_key(shared.folder / "keys" / f"{layer}.pub")
        snapshot = read_snapshot(path, [key], now=time.time())
        assert snapshot.manifest.layer == layer
        assert (snapshot.singles() is None) == (entries == 0)


def test_a_long_poll_is_answered_by_the_change_and_tells_what_a_sidecar_serves(shared: Running) -> None:
    shared.ok("POST", "/v1/bans?wait=published&timeout=30", {"address": "203.0.113.19"})
    etag = shared.client.get("/v1/layers/bans").headers["etag"]
    poll = {"Prefer": "wait=20", "If-None-Match": etag, "Authz-Sidecar": "edge-1"}
    with httpx.Client(base_url=shared.url, timeout=30) as sidecar:
        import threading

        answers: list[httpx.Response] = []
        thread = threading.Thread(target=lambda: answers.append(sidecar.get("/v1/layers/bans", headers=poll)))
        thread.start()
        wait_for(lambda: shared.ok("GET", "/v1/publications")["sidecars"], "the sidecar is known")
        made = shared.ok("POST", "/v1/bans?wait=enforced&timeout=1", {"address": "203.0.113.21"})
        thread.join(20)
        assert answers[0].status_code == 200
        assert int(answers[0].headers["authz-serial"]) >= made["serial"]
        assert (made["enforced"], made["behind"]) == (False, ["edge-1"])
        sidecar.get("/v1/layers/bans", headers=poll | {"If-None-Match": answers[0].headers["etag"], "Prefer": "wait=0"})
    (known,) = shared.ok("GET", "/v1/publications")["sidecars"]
    assert (known["name"], known["behind"], known["serial"] >= made["serial"]) == ("edge-1", False, True)


def test_a_change_that_would_deny_who_makes_it_is_refused_unless_forced(shared: Running) -> None:
    body = {"networks": ["127.0.0.0/16"], "list": "deny"}
    refused = shared.client.post("/v1/entries", json=body)
    assert (refused.status_code, refused.json()["code"]) == (409, "lock_out")
    assert shared.ok("POST", "/v1/entries", body | {"force": True})["networks"] == ["127.0.0.0/16"]
    assert shared.ok("GET", "/v1/history")["items"][0]["forced"] is True


def test_what_was_answered_is_there_after_kill_9_and_serials_grow(running: Running) -> None:
    made = running.ok("POST", "/v1/bans", {"address": "203.0.113.9"})
    running.restart()
    assert [entry["id"] for entry in running.ok("GET", "/v1/bans")["items"]] == [made["id"]]
    later = running.ok("POST", "/v1/bans?wait=published&timeout=30", {"address": "203.0.113.10"})
    assert later["published"] is True
    assert later["serial"] > made["serial"]


def test_it_ends_on_sigterm_with_a_long_poll_open(running: Running) -> None:
    running.ok("POST", "/v1/bans?wait=published&timeout=30", {"address": "203.0.113.9"})
    etag = running.client.get("/v1/layers/bans").headers["etag"]
    import threading

    headers = {"Prefer": "wait=60", "If-None-Match": etag}
    statuses: list[int] = []
    thread = threading.Thread(
        target=lambda: statuses.append(running.client.get("/v1/layers/bans", headers=headers).status_code)
    )
    thread.start()
    wait_for(lambda: running.ok("GET", "/v1/publications")["sidecars"], "the poll is open")
    running.process.popen.terminate()
    assert running.process.wait() == 0
    thread.join(20)
    assert statuses == [304]


def test_health_and_metrics_tell_what_an_operator_watches(shared: Running) -> None:
    shared.ok("POST", "/v1/bans?wait=published&timeout=30", {"address": "203.0.113.29"})
    assert shared.client.get("/livez").status_code == 200
    assert wait_for(lambda: shared.client.get("/readyz").status_code == 200)
    text = shared.client.get("/metrics").text
    for name in ("layer_serial", "published_serial", "publish_lag_seconds", "sidecars_behind"):
        assert f'authz_control_{name}{{layer="bans"}} ' in text


def test_a_port_that_is_taken_is_an_error_of_one_line(shared: Running) -> None:
    with Process(
        [sys.executable, "-m", "authz", "control", "serve", "--config", "control.yaml"], cwd=shared.folder
    ) as other:
        assert other.wait() == 2
        assert "cannot listen there" in other.output
        assert "Traceback" not in other.output


def test_init_prints_lines_that_can_be_copied(tmp_path: Path) -> None:
    done = authz("control", "init", "c", "--listen", "127.0.0.1:9194", cwd=tmp_path)
    lines = [line.strip() for line in done.stdout.splitlines()]
    assert "export AUTHZ_CONTROL_URL=http://127.0.0.1:9194" in lines
    assert sum(line.startswith("export AUTHZ_TOKEN=authz_") for line in lines) == 1


_LOOKED_AT = """
import gc, os, signal, sys, threading, time
from pathlib import Path
from authz.control.process import serve

def look():
    while not gc.get_freeze_count():
        time.sleep(0.05)
    print(len(gc.get_objects()))  # what a full collection looks at
    os.kill(os.getpid(), signal.SIGTERM)

threading.Thread(target=look, daemon=True).start()
serve(Path("control.yaml"))
"""


def test_a_full_collection_does_not_look_at_all_of_the_program(tmp_path: Path) -> None:
    """It took 110 ms, in which no thread ran: listings and answers waited for it."""
    assert authz("control", "init", "c", "--listen", "127.0.0.1:0", cwd=tmp_path).returncode == 0
    done = subprocess.run(
        [sys.executable, "-c", _LOOKED_AT], cwd=tmp_path / "c", capture_output=True, text=True, timeout=60, check=False
    )
    assert done.returncode == 0, done.stderr
    assert int(done.stdout) < 20_000  # of some 400,000
