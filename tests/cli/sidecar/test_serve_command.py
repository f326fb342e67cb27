"""`authz serve` where it cannot start."""

from __future__ import annotations

import socket
from typing import TYPE_CHECKING

import pytest
from support.ground.refusals import refused
from support.publishing.publisher import POLICY

from authz.serve.listeners.bind import IN_USE

if TYPE_CHECKING:
    from pathlib import Path

    from support.suite.commands import Commands

SERVE = ("serve", "--config", "authz.yaml", "--log-level", "error")


@pytest.mark.usefixtures("shop")
def test_an_unknown_log_level_is_a_mistake(authz: Commands) -> None:
    refused(
        authz.real("serve", "--config", "authz.yaml", "--log-level", "loud"),
        "authz: error: --log-level: found 'loud', expected debug, info, warning or error",
    )


@pytest.mark.parametrize("front", ["ADMIN", "HTTP", "GRPC"])
@pytest.mark.usefixtures("shop")
def test_an_address_that_is_taken_ends_the_start(authz: Commands, front: str) -> None:
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        taken.listen()
        address = "{}:{}".format(*taken.getsockname())
        ran = authz.real(*SERVE, env={f"AUTHZ_{front}__LISTEN": address})
    assert ran.status == 2
    message, hint = ran.err.splitlines()
    assert message.startswith(f"authz: error: {front.lower()}.listen: {address}: ")
    assert "address already in use" in message.lower()
    assert hint == f"hint: {IN_USE[False]}"


@pytest.mark.parametrize("front", ["HTTP", "GRPC"])
@pytest.mark.usefixtures("shop")
def test_a_socket_in_a_folder_that_is_not_there_ends_the_start(authz: Commands, tmp_path: Path, front: str) -> None:
    refused(
        authz.real(*SERVE, env={f"AUTHZ_{front}__LISTEN": "unix:run/authz.sock"}),
        f"authz: error: {tmp_path}/run/authz.sock: no such folder: {tmp_path}/run",
    )


@pytest.mark.usefixtures("shop")
def test_a_socket_where_a_file_stands_ends_the_start_and_the_file_stays(authz: Commands, tmp_path: Path) -> None:
    refused(
        authz.real(*SERVE, env={"AUTHZ_HTTP__LISTEN": "unix:policy.yaml"}),
        f"authz: error: {tmp_path}/policy.yaml: found a file that is not a socket, expected a socket or nothing",
    )
    assert (tmp_path / "policy.yaml").read_text() == POLICY


@pytest.mark.usefixtures("shop")
def test_a_decision_log_that_cannot_be_written_ends_the_start(authz: Commands, tmp_path: Path) -> None:
    refused(
        authz.real(*SERVE, env={"AUTHZ_DECISION_LOG__PATH": "no/log.jsonl"}),
        f"authz: error: decision_log.path: {tmp_path}/no/log.jsonl: No such file or directory",
    )


@pytest.mark.usefixtures("shop")
def test_a_missing_key_ends_the_start(authz: Commands, tmp_path: Path) -> None:
    refused(
        authz.real(*SERVE, env={"AUTHZ_SNAPSHOT__TRUSTED_KEYS": "[no.pub]"}),
        f"authz: error: {tmp_path}/no.pub: cannot be read: No such file or directory",
    )
