"""`authz notify`: trying the channels of the control plane."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

app = typer.Typer(name="notify", help="Notifications of the control plane.", no_args_is_help=True)


@app.callback()
def notify() -> None:
    """Notifications of the control plane."""


@app.command("test", epilog="Example: authz notify test ops --config control/control.yaml")
def try_channel(
    channel: Annotated[str, typer.Argument(metavar="CHANNEL", help="A name of `notify.channels`.")],
    config: Annotated[Path, typer.Option("--config", help="control.yaml")],
) -> None:
    """Send a message to a channel now, and report whether it was accepted."""
    import os

    from authz.control.config import load_control_config
    from authz.control.notify import trial

    typer.echo(trial.try_channel(load_control_config(config, os.environ).notify, channel))
