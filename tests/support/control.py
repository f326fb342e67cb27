"""A control plane for tests: in process with a test client, or as a real process."""

from __future__ import annotations

import contextlib
import json
import os
import subprocess
import sys
from typing import TYPE_CHECKING, Any

import httpx
from litestar.testing import TestClient

from authz.control.api.app import create_routes, put_plane
from authz.control.config import load_control_config
from authz.control.console.routes import console_routes, handle_missing
from authz.control.maintenance.init import Made, make_folder
from authz.control.plane import ControlPlane
from authz.control.publish.signer import SignerState
from authz.control.store.access.tokens import add_token, put_tenant
from authz.control.store.database import open_store
from authz.serve.config.values import Listen
from support.processes import Process, free_port
from support.servers.stores import new_sqlite

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from litestar import Litestar

    from authz.control.access.roles import Role
    from authz.control.publish.order import Answer, Attest, Order

_FREE_APPS: list[Litestar] = []  # making one takes as long as a small test: they are used again


class SignerInProcess:
    """The signer, without a process of its own."""

    def __init__(self, state: SignerState) -> None:
        self._state = state

    def ask(self, order: Order | Attest) -> Answer:
        return self._state.answer(order)

    def close(self) -> None:
        pass


class Clock:
    """A clock that tests turn."""

    def __init__(self, now: float = 1_800_000_000.0) -> None:
        self.now = now

    def __call__(self) -> float:
        return self.now


def patient(path: str) -> str:
    """Have a call wait for what it asks for, however long a loaded machine takes: by default it is 10 s."""
    waits = "wait=published" in path or "wait=enforced" in path
    return f"{path}&timeout=60" if waits and "timeout=" not in path else path


class Control:
    """A control plane in process, with a client that has an administrator's token."""

    def __init__(self, folder: Path, plane: ControlPlane, client: TestClient[Any], token: str) -> None:
        self.folder = folder
        self.plane = plane
        self.client = client
        self.token = token

    def ask(
        self, method: str, path: str, body: object = None, *, token: str | None = None, **headers: str
    ) -> httpx.Response:
        """Ask the API. headers: with `_` for `-`."""
        sent = {name.replace("_", "-"): value for name, value in headers.items()}
        sent.setdefault("Authorization", f"Bearer {token or self.token}")
        content = None if body is None else json.dumps(body).encode()
        if content is not None:
            sent.setdefault("Content-Type", "application/json")
        return self.client.request(method, path, content=content, headers=sent)

    def ok(self, method: str, path: str, body: object = None, **more: Any) -> Any:
        """Ask the API for something that it gives."""
        answer = self.ask(method, patient(path), body, **more)
        assert answer.is_success, answer.text
        return answer.json()

    def token_of(self, role: Role, tenant: str = "main", applications: tuple[str, ...] = ("*",), **more: Any) -> str:
        """Return a new token; makes its tenant, too."""
        store = self.plane.store
        with store.writing() as tx:
            put_tenant(tx, tenant, applications, store.now())
            return add_token(tx, tenant=tenant, name=f"{tenant}-{role}", role=role, now=store.now(), **more)[1]


@contextlib.contextmanager
def control(
    folder: Path, *, store: str = "sqlite:///control.sqlite", extra: str = "", clock: Any = None, signer: Any = None
) -> Iterator[Control]:
    """Give a control plane with a new store.

    extra: more of control.yaml. clock: of the store and the signer. signer: a class in the place of SignerInProcess.
    """
    made = _made(folder, Listen("127.0.0.1", 9194), store=store)
    with made.config.open("a") as file:
        file.write(extra)
    with opened(folder, made.token, clock=clock, signer=signer) as running:
        yield running


@contextlib.contextmanager
def opened(folder: Path, token: str, *, clock: Any = None, signer: Any = None) -> Iterator[Control]:
    """Give a control plane over the store of a folder."""
    config = load_control_config(folder / "control.yaml", {})
    more = {} if clock is None else {"clock": clock}
    asked = (signer or SignerInProcess)(SignerState(config, **more))
    plane = ControlPlane(config, open_store(config.store, **more), lambda _layer: asked)
    app = _FREE_APPS.pop() if _FREE_APPS else create_routes(console_routes(), handle_missing)
    put_plane(app, plane)
    try:
        with TestClient(app, raise_server_exceptions=False) as client:
            yield Control(folder, plane, client, token)
    finally:
        _FREE_APPS.append(app)


class ControlProcess(Process):
    """A real `authz control serve` over a folder of `authz control init`."""

    def __init__(self, folder: Path) -> None:
        command = [sys.executable, "-m", "authz", "control", "serve", "--config", "control.yaml"]
        super().__init__(command, cwd=folder)
        try:
            self.wait_for_line(r"control: listening on")
        except AssertionError:
            self.end()
            raise


def init(folder: Path, **options: Any) -> tuple[str, str]:
    """Run what `authz control init` does, on a free port; return URL and token."""
    made = _made(folder, Listen("127.0.0.1", free_port()), **options)
    return made.url, made.token


def _made(folder: Path, listen: Listen, *, store: str = "sqlite:///control.sqlite") -> Made:
    if store == "sqlite:///control.sqlite":
        new_sqlite(folder / "control.sqlite")
    return make_folder(folder, listen, store=store)


class Running:
    """A control plane that runs, and a client with its token."""

    def __init__(self, folder: Path, *, extra: str = "", **options: Any) -> None:
        """Make and start it. extra: more of control.yaml."""
        self.folder = folder
        self.url, self.token = init(folder, **options)
        with (folder / "control.yaml").open("a") as file:
            file.write(extra)
        self.process = ControlProcess(folder)
        self.client = httpx.Client(base_url=self.url, headers={"Authorization": f"Bearer {self.token}"}, timeout=90)

    def ok(self, method: str, path: str, body: object = None, **headers: str) -> Any:
        answer = self.client.request(method, patient(path), json=body, headers=headers)
        assert answer.is_success, answer.text
        return answer.json()

    def restart(self) -> None:
        """Kill it with -9, and start it again."""
        self.process.popen.kill()
        self.process.end()
        self.process = ControlProcess(self.folder)

    def end(self) -> None:
        self.client.close()
        self.process.end()


class Shell:
    """The command line, against a control plane."""

    def __init__(self, running: Running, token: str = "") -> None:
        self.running = running
        self._token = token or running.token

    def with_token(self, token: str) -> Shell:
        return Shell(self.running, token)

    def run(self, *arguments: str, status: int = 0) -> str:
        env = os.environ | {"AUTHZ_CONTROL_URL": self.running.url, "AUTHZ_TOKEN": self._token}
        command = [sys.executable, "-m", "authz", *arguments]
        done = subprocess.run(command, env=env, capture_output=True, text=True, timeout=60, check=False)
        assert done.returncode == status, done.stdout + done.stderr
        return done.stdout if status == 0 else done.stdout + done.stderr

    def json(self, *arguments: str) -> Any:
        return json.loads(self.run(*arguments, "--json"))

    def api(self, method: str, path: str, body: object = None, **headers: str) -> Any:
        return self.running.ok(method, path, body, **headers)
