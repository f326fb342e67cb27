"""The start of a sidecar: what it needs, and what it says where that is missing."""

from __future__ import annotations

import asyncio
import contextlib
import os
import re
import signal
import socket
import sys
from pathlib import Path
from typing import TYPE_CHECKING

import pytest
from support.processes import Process, Sidecar, wait_for
from support.sidecar.running import (
    ALLOWED,
    DENIED,
    config,
    get,
    run,
    running,
    until,
)

from authz.errors import InputError, StartError
from authz.serve.listeners.bind import IN_USE, clear_unix_path

if TYPE_CHECKING:
    from support.publishing.publisher import Publisher


@pytest.mark.parametrize("poll", ["1h", "50ms"])
def test_without_a_snapshot_it_serves_cannot_decide_until_one_appears(publisher: Publisher, poll: str) -> None:
    async def live() -> None:
        async with running(publisher.folder, config(f"poll: {poll}")) as started:
            answer = await started.ask()
            assert (answer.status, answer.header("reason")) == (503, "no_snapshot")
            assert await started.readiness() == (503, ["no_snapshot", "absent"])
            content = await started.snapshot()
            assert content["loaded"] is None
            assert content["refused"]["code"] == "absent"
            assert (await started.page("/livez")).status == 200

            publisher.publish(serial=7)
            await until(lambda: started.serial == 7)

            assert (await started.ask()).status == 200
            assert (await started.ask(DENIED)).status == 403
            assert await started.readiness() == (200, [])
            content = await started.snapshot()
            assert content["refused"] is None
            assert content["loaded"]["serial"] == 7
            assert content["loaded"]["signed_by"] == [publisher.key().keyid]

    run(live())


def test_when_missing_allow_it_is_ready_and_lets_through_until_one_appears(publisher: Publisher) -> None:
    async def live() -> None:
        async with running(publisher.folder, config("when_missing: allow")) as started:
            answer = await started.ask(DENIED)
            assert (answer.status, answer.header("reason")) == (200, "no_snapshot")
            assert await started.readiness() == (200, ["no_snapshot", "absent"])

            publisher.publish()
            await until(lambda: started.serial == 1)

            assert (await started.ask(DENIED)).status == 403

    run(live())


def test_the_real_command_starts_without_a_snapshot_and_becomes_ready(publisher: Publisher) -> None:
    with Sidecar(publisher.folder) as sidecar:
        assert "authz: serving, not ready: no_snapshot: none was loaded yet" in sidecar.output
        assert "absent" in sidecar.output
        assert get(sidecar.ports["admin"], "/readyz").status == 503
        assert get(sidecar.ports["http"], "/v1/auth", ALLOWED).status == 503

        publisher.publish()

        wait_for(lambda: get(sidecar.ports["admin"], "/readyz").status == 200)
        assert get(sidecar.ports["http"], "/v1/auth", ALLOWED).status == 200
        sidecar.wait_for_line("loaded serial 1")


@pytest.mark.parametrize("front", ["http", "admin", "grpc-native", "grpc-grpcio"])
def test_a_port_in_use_is_an_error_that_names_the_key_and_leaves_nothing(publisher: Publisher, front: str) -> None:
    publisher.publish()
    name, _, engine = front.partition("-")

    async def live() -> None:
        before = asyncio.all_tasks()
        with socket.create_server(("127.0.0.1", 0)) as taken:
            port = taken.getsockname()[1]
            key = f"{name}: {{listen: "
            text = (
                config()
                .replace(f'{key}"off"', f'{key}"127.0.0.1:0"')
                .replace(f'{key}"127.0.0.1:0"', f'{key}"127.0.0.1:{port}"')
            )
            if engine:
                text = text.replace(key, f"{name}: {{engine: {engine}, listen: ")
            with pytest.raises(StartError) as caught:
                async with running(publisher.folder, text):
                    pass
        assert caught.value.message.startswith(f"{name}.listen: 127.0.0.1:{port}: ")
        assert caught.value.hint == IN_USE[False]

        await asyncio.sleep(0)  # for what was cancelled to end
        assert asyncio.all_tasks() == before

    run(live())


def test_the_real_command_ends_with_2_where_a_port_is_in_use(publisher: Publisher) -> None:
    publisher.publish()
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]
        (publisher.folder / "authz.yaml").write_text(config().replace("127.0.0.1:0", f"127.0.0.1:{port}", 1))
        command = [sys.executable, "-m", "authz", "serve", "--config", "authz.yaml"]
        with Process(command, cwd=publisher.folder) as process:
            assert process.wait() == 2

    assert f"authz: error: http.listen: 127.0.0.1:{port}: " in process.output.replace("\n", " ")
    assert "ddress already in use" in process.output
    assert process.lines[-1] == f"hint: {IN_USE[False]}"
    assert "Traceback" not in process.output


@pytest.mark.parametrize("name", ["http", "admin", "grpc-native", "grpc-grpcio"])
def test_a_unix_path_is_taken_only_where_nobody_listens(publisher: Publisher, name: str) -> None:
    publisher.publish()
    path = publisher.folder / "s"
    front, _, engine = name.partition("-")
    listen = f"{front}: {{{f'engine: {engine}, ' if engine else ''}listen: "
    text = re.sub(rf'{front}: {{listen: "[^"]*"', f'{listen}"unix://{path}"', config())

    async def refused(message: str) -> None:
        with pytest.raises(StartError) as caught:
            async with running(publisher.folder, text):
                pass
        assert caught.value.message == f"{path}: {message}"

    async def live() -> None:
        path.write_text("a file of somebody")
        await refused("found a file that is not a socket, expected a socket or nothing")
        assert path.read_text() == "a file of somebody"
        path.unlink()

        path.mkdir()
        await refused("found a file that is not a socket, expected a socket or nothing")
        path.rmdir()

        async with running(publisher.folder, text) as started:
            assert path.is_socket()
            await refused("another program listens there")
            assert path.is_socket()
            assert (await started.page("/livez")).status == 200 if front != "admin" else True
        assert not path.exists()

        with socket.socket(socket.AF_UNIX) as dead:
            dead.bind(str(path))
        assert path.is_socket()
        async with running(publisher.folder, text):
            with socket.socket(socket.AF_UNIX) as client:
                client.connect(str(path))
        assert not path.exists()

    run(live())


def test_a_unix_path_in_no_folder_is_an_error(publisher: Publisher) -> None:
    path = publisher.folder / "nowhere" / "s"
    with pytest.raises(StartError) as caught:
        clear_unix_path(path)

    assert caught.value.message == f"{path}: no such folder: {path.parent}"


def test_a_listener_that_is_too_busy_to_accept_is_not_taken_for_a_dead_one(tmp_path: Path) -> None:
    path = tmp_path / "s"
    with socket.socket(socket.AF_UNIX) as listener, contextlib.ExitStack() as clients:
        listener.bind(str(path))
        listener.listen(0)
        with contextlib.suppress(BlockingIOError):
            for _ in range(10):
                client = clients.enter_context(socket.socket(socket.AF_UNIX))
                client.setblocking(False)
                client.connect(str(path))
        with pytest.raises(StartError, match="another program listens there"):
            clear_unix_path(path)

    assert path.is_socket()


@pytest.mark.parametrize("state", ["file/state.json", "file/below/state.json", "/proc/authz/state.json"])
def test_a_state_folder_that_cannot_be_written_is_an_error_at_the_start(publisher: Publisher, state: str) -> None:
    publisher.publish()
    (publisher.folder / "file").write_text("")

    async def live() -> None:
        with pytest.raises((StartError, InputError)) as caught:
            async with running(publisher.folder, config(f"state: {state}")):
                pass
        assert str((publisher.folder / state).parent) in caught.value.message
        assert re.search("No such file or directory|Not a directory", caught.value.message)

    run(live())


def test_a_state_folder_without_rights_is_an_error_at_the_start(publisher: Publisher) -> None:
    if os.geteuid() == 0:
        pytest.skip("root may write everywhere")
    folder = publisher.folder / "locked"
    folder.mkdir(mode=0o500)

    async def live() -> None:
        with pytest.raises(StartError, match="Permission denied"):
            async with running(publisher.folder, config("state: locked/state.json")):
                pass

    run(live())


# Sends SIGHUP as soon as the process can take one, and to each child that it forks.
TOLD_AT_ONCE = """\
import os, signal
from pathlib import Path
from authz.serve import process

def told(*arguments, **named):
    os.kill(os.getpid(), signal.SIGHUP)
    return basic_config(*arguments, **named)

basic_config, process.logging.basicConfig = process.logging.basicConfig, told
os.register_at_fork(after_in_child=lambda: os.kill(os.getpid(), signal.SIGHUP))
process.serve(Path("authz.yaml"))
"""


@pytest.mark.parametrize("workers", [1, 2])
def test_sighup_while_it_starts_ends_nothing_and_is_taken_once_it_serves(publisher: Publisher, workers: int) -> None:
    publisher.publish()
    (publisher.folder / "authz.yaml").write_text(config(rest=f"workers: {workers}\n"))
    with Process([sys.executable, "-c", TOLD_AT_ONCE], cwd=publisher.folder) as process:
        process.wait_for_line("authz: (worker 2: )?serving")
        process.wait_for_line("the configuration was read again")
        assert process.popen.poll() is None


# Of a process: sends it SIGHUP as soon as it looks for a module, before it has loaded that.
TOLD_BEFORE = """\
import os, signal, sys

signal.signal(signal.SIGHUP, signal.SIG_DFL)  # who runs the tests by nohup has it ignored

class Finder:
    @staticmethod
    def find_spec(name, path=None, target=None):
        if name == os.environ["TOLD_BEFORE"]:
            os.environ["TOLD_BEFORE"] = ""
            os.kill(os.getpid(), signal.SIGHUP)

sys.meta_path.insert(0, Finder)
"""


def told_before(folder: Path, module: str, *arguments: str) -> Process:
    (folder / "sitecustomize.py").write_text(TOLD_BEFORE)
    path = os.pathsep.join(filter(None, (str(folder), os.environ.get("PYTHONPATH"))))
    env = os.environ | {"PYTHONPATH": path, "TOLD_BEFORE": module}
    return Process([sys.executable, "-m", "authz", *arguments], cwd=folder, env=env)


@pytest.mark.parametrize("workers", [1, 2])
def test_sighup_before_anything_is_loaded_is_taken_once_it_serves(publisher: Publisher, workers: int) -> None:
    """No process of the sidecar keeps it blocked."""
    publisher.publish()
    (publisher.folder / "authz.yaml").write_text(config(rest=f"workers: {workers}\n"))
    with told_before(publisher.folder, "authz.serve.process", "serve", "--config", "authz.yaml") as process:
        process.wait_for_line("authz: serving")
        process.wait_for_line("the configuration was read again")
        children = Path(f"/proc/{process.pid}/task/{process.pid}/children").read_text().split()
        assert len(children) == (0 if workers == 1 else 3)
        for pid in (process.pid, *children):
            blocked = re.findall(r"^SigBlk:\s+(\S+)$", Path(f"/proc/{pid}/status").read_text(), re.MULTILINE)
            assert not int(blocked[0], 16) & 1 << signal.SIGHUP - 1


@pytest.mark.parametrize(("command", "status"), [("serve", 0), ("keys", -signal.SIGHUP)])
def test_sighup_ends_other_commands_as_usual(tmp_path: Path, command: str, status: int) -> None:
    with told_before(tmp_path, "authz.cli.app", command, "--help") as process:
        assert process.wait() == status


# Is told to end by whoever reads its log, as soon as it says that it serves.
TOLD_AS_IT_SERVES = """\
import logging, os, signal
from pathlib import Path
from authz.serve import process

class Reader(logging.Handler):
    def emit(self, record):
        if record.getMessage().startswith("serving"):
            os.kill(os.getpid(), signal.SIGTERM)

logging.basicConfig(level="INFO", format="%(message)s", handlers=[Reader(), logging.StreamHandler()])
process.serve(Path("authz.yaml"))
"""


def test_a_sidecar_that_is_told_to_end_as_soon_as_it_serves_drains(publisher: Publisher) -> None:
    publisher.publish()
    (publisher.folder / "authz.yaml").write_text(config())
    with Process([sys.executable, "-c", TOLD_AS_IT_SERVES], cwd=publisher.folder) as process:
        process.wait_for_line("drain: not serving")
        assert process.wait() == 0
