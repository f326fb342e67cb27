"""What `authz control init` writes: a control plane and a sidecar that fit together."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from typing import TYPE_CHECKING

import pytest

from authz.control.config import load_control_config
from authz.control.maintenance.init import make_folder
from authz.control.model.problems import NotReady
from authz.control.store.database import create_store
from authz.serve.config.config import load_config
from authz.serve.config.values import Listen

if TYPE_CHECKING:
    from pathlib import Path

    from support.control import Control


def test_the_sidecar_permits_whatever_the_control_plane_may_put_into_a_layer_so_that_a_ban_for_ever_is_taken(
    tmp_path: Path,
) -> None:
    made = make_folder(tmp_path / "control", Listen("127.0.0.1", 9194))
    ours = {layer.name: layer.may for layer in load_control_config(made.config, {}).layers}
    theirs = {layer.name: layer.may for layer in load_config(made.sidecar_config, {}).layers}
    bans, permitted = ours["bans"], theirs["bans"]
    assert permitted is not None
    assert set(bans.lists) <= set(permitted.lists)
    assert bans.longest <= permitted.longest
    assert bans.widest_ipv4 >= permitted.widest_ipv4
    assert bans.widest_ipv6 >= permitted.widest_ipv6
    assert bans.entries <= permitted.entries
    ours_all = load_control_config(made.config, {}).limits()["bans"]
    theirs_all = permitted.limits()
    assert (ours_all.total_ipv4, ours_all.total_ipv6) == (theirs_all.total_ipv4, theirs_all.total_ipv6) == (9, 24)


@pytest.mark.parametrize(("host", "url"), [("0.0.0.0", "http://127.0.0.1:9194"), ("::", "http://[::1]:9194")])
def test_a_control_plane_on_every_address_is_reached_on_this_machine(host: str, url: str, tmp_path: Path) -> None:
    """`init --listen 0.0.0.0:9194` printed the URL http://0.0.0.0:9194, which browsers refuse."""
    made = make_folder(tmp_path / "control", Listen(host, 9194))
    assert made.url == url
    assert load_control_config(made.config, {}).listen == Listen(host, 9194)
    assert url in made.sidecar_config.read_text()


def test_who_has_lost_the_token_makes_another_in_the_store_and_audit_tells(plane: Control) -> None:
    env = os.environ | {"AUTHZ_CONTROL_STORE": plane.plane.config.store}
    command = [
        sys.executable,
        "-m",
        "authz",
        "control",
        "recover",
        "--config",
        "control.yaml",
        "--name",
        "anna",
        "--json",
    ]
    done = subprocess.run(command, cwd=plane.folder, env=env, capture_output=True, text=True, check=True)
    made = json.loads(done.stdout)
    assert {token["id"] for token in plane.ok("GET", "/v1/tokens", token=made["token"])} > {made["id"]}
    recovered = [item for item in plane.ok("GET", "/v1/audit")["items"] if item["action"] == "token.recover"]
    assert [item["subject"] for item in recovered] == [made["id"]]


def test_a_full_disk_is_told_and_nothing_is_written(tmp_path: Path) -> None:
    store = create_store(f"sqlite:///{tmp_path}/store.sqlite")

    def write_much() -> None:
        with store.writing() as tx:
            tx.exec_driver_sql("PRAGMA max_page_count = 1")
            tx.exec_driver_sql("CREATE TABLE much AS SELECT randomblob(10000000)")

    with pytest.raises(NotReady, match="disk of the store is full") as told:
        write_much()
    assert (told.value.code, told.value.status) == ("store_full", 503)
    with store.writing() as tx:
        tx.exec_driver_sql("PRAGMA max_page_count = 1000000")
        assert tx.exec_driver_sql("SELECT count(*) FROM sqlite_master WHERE name = 'much'").scalar_one() == 0
    store.close()
