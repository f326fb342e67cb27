"""`authz serve`: the sidecar."""

from __future__ import annotations

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
    """Serve until SIGTERM. SIGHUP reads the configuration, keys and layers again.

    Environment variables override keys of the configuration: AUTHZ_GRPC__LISTEN=0.0.0.0:9191.
    """
    from authz.serve import process

    process.serve(config, log_level)
