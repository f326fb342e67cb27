"""`authz notify`: trying the channels of the control plane."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from authz.cli.common.output import print_json

app = typer.Typer(name="notify", help="Notifications of the control plane.", no_args_is_help=True)


@app.callback()
def notify() -> None:
    """Notifications of the control plane."""


@app.command("test", epilog="Example: authz notify test ops --config control/control.yaml")
def try_channel(
    channel: Annotated[str, typer.Argument(metavar="CHANNEL", help="A name of `notify.channels`.")],
    config: Annotated[Path, typer.Option("--config", help="control.yaml")],
    json: Annotated[bool, typer.Option("--json", help="Print JSON.")] = False,
) -> None:
    """Send a message to a channel now, and report whether it was accepted."""
    import os

    from authz.control.config import load_control_config
    from authz.control.notify import trial

    told = trial.try_channel(load_control_config(config, os.environ).notify, channel)
    print_json({"channel": channel, "outcome": told}) if json else typer.echo(told)
