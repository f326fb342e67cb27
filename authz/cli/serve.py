"""`authz serve`: the sidecar."""

from __future__ import annotations

import asyncio
import logging
import os
from pathlib import Path
from typing import Annotated

import typer


def register(app: typer.Typer) -> None:
    """Add the command to the application."""
    app.command(epilog="Example: authz serve --config authz.yaml")(serve)


def serve(
    config: Annotated[Path, typer.Option(help="The configuration of the sidecar.")],
    log_level: Annotated[str, typer.Option(help="debug, info, warning or error.")] = "info",
) -> None:
    """Serve until SIGTERM. SIGHUP loads the snapshot again.

    Every key of the configuration can be given by the environment: AUTHZ_GRPC__LISTEN=0.0.0.0:9191.
    """
    import uvloop

    from authz.errors import InputError
    from authz.serve.config import load_config

    if log_level not in {"debug", "info", "warning", "error"}:
        raise InputError(f"--log-level: found '{log_level}', expected debug, info, warning or error")
    logging.basicConfig(level=log_level.upper(), format="%(asctime)s %(levelname)s %(name)s: %(message)s")
    logging.getLogger("watchfiles").setLevel(logging.WARNING)
    checked = load_config(config, os.environ)

    async def live() -> None:
        from authz.serve.sidecar import Sidecar

        sidecar = Sidecar(checked)
        await sidecar.start()
        await sidecar.run_until_signal()

    with asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner:
        runner.run(live())
