"""`authz control serve`: the process.

It ends gracefully: what was begun is answered, what is being published is finished.
"""

from __future__ import annotations

import gc
import os
import sys
from typing import TYPE_CHECKING

import uvicorn

from authz.control.access.tls import TlsListener
from authz.control.api.app import create_app
from authz.control.api.common.log import start_log
from authz.control.config import check_folders, load_control_config
from authz.control.console.routes import console_routes, handle_missing
from authz.control.plane import ControlPlane
from authz.errors import StartError
from authz.serve.listeners.descriptors import raise_limit

if TYPE_CHECKING:
    import socket
    from collections.abc import Sequence
    from pathlib import Path

    from authz.control.api.common.log import Format
    from authz.control.config import ControlConfig

DRAIN = 5  # seconds that open requests have when we end; long polls are cut
# Seconds after which a thread lets another one have the interpreter; by default 5 ms. Each question to the store lets
# go of it, and then waits for whoever computes: a dozen times in a transaction that all other writers wait for.
SWITCH = 0.0005
# New objects after which the collector looks at the youngest; 700 by default. A batch of events alone makes thousands.
YOUNG = 5_000
CONNECTIONS = 4096  # that descriptors should do for: each sidecar waits for each of its layers


class _Server(uvicorn.Server):
    """Says where it listens, once it does; ends long polls at once."""

    def __init__(self, config: uvicorn.Config, plane: ControlPlane, tls: TlsListener | None) -> None:
        super().__init__(config)
        self._plane = plane
        self._tls = tls

    async def startup(self, sockets: list[socket.socket] | None = None) -> None:
        await super().startup(sockets)
        if self.started:
            _freeze()
            if self._tls is not None:
                self._tls.start()
            for server in self.servers:
                for listener in server.sockets:
                    name = listener.getsockname()
                    where = name if isinstance(name, str) else f"{name[0]}:{name[1]}"
                    by = "" if self._tls is None else ", with TLS"
                    print(f"control: listening on {where}{by}", file=sys.stderr, flush=True)  # noqa: T201  # what a supervisor waits for

    def _log_started_message(self, listeners: Sequence[socket.SocketType]) -> None:
        """Leave uvicorn's line out: it says http:// with TLS too, and ours has the address."""

    async def shutdown(self, sockets: list[socket.socket] | None = None) -> None:
        self._plane.offers.close()
        if self._tls is not None:
            await self._tls.stop()
        await super().shutdown(sockets)
        self._captured_signals.clear()  # uvicorn would raise them again: we ended as asked


def serve(config_file: Path, log_level: str = "info", log_format: Format = "text", *, force: bool = False) -> None:
    """Serve until SIGTERM. force: bans of what is protected end. Raises InputError, InvalidDocument and StartError."""
    start_log(log_level, log_format)
    sys.setswitchinterval(SWITCH)
    raise_limit(CONNECTIONS)
    config = load_control_config(config_file, os.environ)
    tls = None if config.tls is None else TlsListener(config.tls)
    if tls is not None:
        tls.load()
    check_folders(config)
    plane = ControlPlane.open(config, config_file.absolute(), force=force)
    server = _Server(_uvicorn_config(config, plane, tls, log_level), plane, tls)
    try:
        server.run()
    except SystemExit as error:  # uvicorn's word for a port that is taken
        raise StartError(f"listen: {config.listen}: cannot listen there") from error
    if not server.started:
        raise StartError(f"listen: {config.listen}: cannot listen there; the log says why")


def _freeze() -> None:
    """Take what is there out of all later collections.

    A full collection stops every thread. It used to look at each module, table and route, for 110 ms, several times a
    minute while events came in.
    """
    gc.collect()
    gc.freeze()
    gc.set_threshold(YOUNG)


def _uvicorn_config(
    config: ControlConfig, plane: ControlPlane, tls: TlsListener | None, log_level: str
) -> uvicorn.Config:
    listen = config.listen
    where: dict[str, object] = {"host": listen.host, "port": listen.port}
    if listen.path is not None:
        where = {"uds": str(listen.path)}
    return uvicorn.Config(
        create_app(plane, console_routes(), handle_missing), **where,  # type: ignore[arg-type]  # of mixed types
        http="httptools" if tls is None else tls.protocol,  # type: ignore[arg-type]  # a class of ours
        log_level=log_level, log_config=None, access_log=False, server_header=False, date_header=True,
        proxy_headers=False, timeout_graceful_shutdown=DRAIN, timeout_keep_alive=75, lifespan="on",
    )  # fmt: skip
