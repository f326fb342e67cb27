"""A volume that hangs: no request fails, and the end waits for no thread."""

from __future__ import annotations

import os
import shutil
import signal
import subprocess
import time
from pathlib import Path
from typing import TYPE_CHECKING

import pytest
from support.processes import Sidecar, wait_for
from support.sidecar.running import ALLOWED, DENIED, NEW_POLICY, config, get

if TYPE_CHECKING:
    from support.publishing.publisher import Publisher

SOURCE = Path(__file__).with_name("hanging.c")


@pytest.fixture(scope="module")
def shim(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The library that makes a volume hang."""
    compiler = shutil.which("gcc")
    if compiler is None:
        pytest.skip("needs gcc, to compile what makes a volume hang")
    library = tmp_path_factory.mktemp("shim") / "hanging.so"
    subprocess.run([compiler, "-shared", "-fPIC", "-O1", "-o", library, SOURCE, "-ldl"], check=True)
    return library


def hanging(folder: Path, shim: Path, calls: str = "stat open read fsync") -> dict[str, str]:
    """Return an environment in which calls to `folder/volume` hang for a minute as long as `folder/flag` exists."""
    return os.environ | {
        "LD_PRELOAD": str(shim),
        "HANG_BELOW": str(folder / "volume"),
        "HANG_FLAG": str(folder / "flag"),
        "HANG_SECONDS": "60",
        "HANG_CALLS": f" {calls} ",
    }


def on_a_volume(publisher: Publisher) -> str:
    (publisher.folder / "volume").mkdir()
    publisher.publish(to="volume/lists.snapshot")
    text = config("poll: 50ms, state: volume/state/authz.json").replace("path: lists", "path: volume/lists")
    return text.replace('decision_log: {path: "off"}', "decision_log: {path: volume/decisions.jsonl}")


@pytest.mark.parametrize("calls", ["stat", "open", "read", "fsync", "stat open read fsync"])
def test_no_request_fails_while_the_volume_hangs_and_the_end_does_not_wait_for_it(
    publisher: Publisher, shim: Path, calls: str
) -> None:
    """2,496 of 2,496 requests failed: stat() of the snapshot's path stood in the event loop."""
    text = on_a_volume(publisher)
    with Sidecar(publisher.folder, text, env=hanging(publisher.folder, shim, calls)) as sidecar:
        (publisher.folder / "flag").touch()
        publisher.publish(NEW_POLICY, to="volume/lists.snapshot")
        wait_for((publisher.folder / "flag.hung").exists, "a call that hangs")
        for _ in range(200):
            assert get(sidecar.ports["http"], "/v1/auth/shop", ALLOWED).status == 200
            assert get(sidecar.ports["http"], "/v1/auth/shop", DENIED).status == 403
        assert get(sidecar.ports["admin"], "/readyz").status == 200
        sidecar.popen.send_signal(signal.SIGHUP)
        assert get(sidecar.ports["http"], "/v1/auth/shop", ALLOWED).status == 200
        sidecar.popen.terminate()
        assert sidecar.wait() == 0  # within its patience of 20 seconds; the volume hangs for a minute
    assert "loaded serial 2" not in sidecar.output


@pytest.mark.long
@pytest.mark.parametrize("calls", ["stat", "open", "read", "fsync", "stat open read fsync"])
def test_in_a_hang_of_20_seconds_no_request_fails_and_the_end_takes_a_second_more_than_the_drain(
    publisher: Publisher, shim: Path, calls: str
) -> None:
    text = on_a_volume(publisher).replace("drain: 0s", "drain: 2s")
    environment = hanging(publisher.folder, shim, calls) | {"HANG_SECONDS": "20"}
    with Sidecar(publisher.folder, text, env=environment) as sidecar:
        (publisher.folder / "flag").touch()
        publisher.publish(NEW_POLICY, to="volume/lists.snapshot")
        wait_for((publisher.folder / "flag.hung").exists, "a call that hangs")
        begin = time.monotonic()
        while time.monotonic() < begin + 15:
            assert get(sidecar.ports["http"], "/v1/auth/shop", ALLOWED).status == 200
            assert get(sidecar.ports["http"], "/v1/auth/shop", DENIED).status == 403
        sidecar.popen.terminate()
        end = time.monotonic()
        assert sidecar.wait() == 0
        assert time.monotonic() - end < 2 + 1


def test_after_the_hang_the_new_snapshot_is_loaded(publisher: Publisher, shim: Path) -> None:
    environment = hanging(publisher.folder, shim) | {"HANG_SECONDS": "1"}
    with Sidecar(publisher.folder, on_a_volume(publisher), env=environment) as sidecar:
        (publisher.folder / "flag").touch()
        publisher.publish(NEW_POLICY, to="volume/lists.snapshot")
        assert get(sidecar.ports["http"], "/v1/auth/shop", ALLOWED).status == 200
        (publisher.folder / "flag").unlink()
        sidecar.wait_for_line("loaded serial 2")
        assert get(sidecar.ports["http"], "/v1/auth/shop", ALLOWED).status == 403
