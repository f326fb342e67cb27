"""A PostgreSQL server of the tests' own: on a unix socket, as an unprivileged user, ended with the tests."""

from __future__ import annotations

import contextlib
import os
import shutil
import signal
import subprocess
import tempfile
from pathlib import Path
from typing import TYPE_CHECKING
from urllib.parse import quote

import psycopg

from support.processes import wait_for

if TYPE_CHECKING:
    from collections.abc import Iterator

USER = "postgres"  # Debian's; root may not run the server


def binaries() -> Path | None:
    """Return the folder of Debian's newest server; None: there is none."""
    path = sorted(Path("/usr/lib/postgresql").glob("*/bin/initdb"))
    return path[-1].parent if path else None


def missing() -> str:
    """Return why no server can be started; empty: it can."""
    if binaries() is None:
        return "no PostgreSQL (apt-get install postgresql)"
    if os.geteuid() == 0 and shutil.which("runuser") is None:
        return "root cannot start PostgreSQL without runuser"
    return ""


@contextlib.contextmanager
def server(data: Path | None = None, *, durable: bool = False, log: Path | None = None) -> Iterator[str]:
    """Give the folder of a running server's socket.

    data: where its data are and stay; None: they go with it. durable: whether it syncs what is committed, for who
    measures: no test takes the machine's power. log: a file for what it says; None: nowhere.
    """
    programs = binaries()
    assert programs is not None
    folder = Path(tempfile.mkdtemp(prefix="pg-", dir="/tmp"))  # its own: a socket's path has 107 bytes at most
    as_user = ["runuser", "-u", USER, "--"] if os.geteuid() == 0 else []
    if as_user:
        shutil.chown(folder, USER)
    kept = data or folder / "data"
    if data is not None and as_user and not data.exists():
        data.mkdir()
        shutil.chown(data, USER)
    try:
        init = [
            *as_user,
            str(programs / "initdb"),
            "-D",
            str(kept),
            "-U",
            USER,
            "-A",
            "trust",
            "--no-sync",
            "-E",
            "UTF8",
        ]
        if not (kept / "PG_VERSION").exists():
            subprocess.run([*init, "--locale=C"], check=True, capture_output=True, cwd="/")
        settings = ["-c", "listen_addresses=", "-c", f"unix_socket_directories={folder}", "-c", "max_connections=200"]
        settings += [] if durable else ["-c", "fsync=off", "-c", "full_page_writes=off"]
        with (log or Path(os.devnull)).open("a") as said:
            process = subprocess.Popen(
                [*as_user, programs / "postgres", "-D", kept, *settings], stdout=said, stderr=said, cwd="/"
            )
        try:
            wait_for(lambda: _answers(folder), "PostgreSQL answers")
            yield str(folder)
        finally:
            pid = int((kept / "postmaster.pid").read_text().splitlines()[0])
            os.kill(pid, signal.SIGINT)  # fast: does not wait for connections
            process.wait(60)
    finally:
        shutil.rmtree(folder, ignore_errors=True)


def new_database(folder: str, name: str, template: str = "template1") -> str:
    """Make a database as a copy of another to which nobody is connected, and return its URL."""
    with psycopg.connect(host=folder, user=USER, dbname="postgres", autocommit=True) as connection:
        connection.execute(f'CREATE DATABASE "{name}" TEMPLATE "{template}"'.encode())
    return url_of(folder, name)


def url_of(folder: str, name: str) -> str:
    """Return the URL of a database of the server whose socket is in this folder."""
    return f"postgresql://{USER}@/{name}?host={quote(folder, safe='')}"


def drop_database(folder: str, name: str) -> None:
    with psycopg.connect(host=folder, user=USER, dbname="postgres", autocommit=True) as connection:
        connection.execute(f'DROP DATABASE "{name}" WITH (FORCE)'.encode())


def _answers(folder: Path) -> bool:
    try:
        psycopg.connect(host=str(folder), user=USER, dbname="postgres").close()
    except psycopg.OperationalError:
        return False
    return True
