"""`authz check-config` and `authz print-config`: the sidecar's configuration, and the proxy's to match."""

from __future__ import annotations

import os
from enum import StrEnum
from pathlib import Path
from typing import Annotated

import typer

from authz.cli.output import print_json


class Proxy(StrEnum):
    """The proxies that a configuration can be printed for."""

    ENVOY = "envoy"
    NGINX = "nginx"


def register(app: typer.Typer) -> None:
    """Add the commands to the application."""
    app.command(name="check-config", epilog="Example: authz check-config authz.yaml")(check_config)
    app.command(name="print-config", epilog="Example: authz print-config envoy --config authz.yaml")(print_config)


def check_config(
    config: Annotated[Path, typer.Argument(metavar="FILE", help="The configuration of the sidecar.")],
    json: Annotated[bool, typer.Option("--json", help="Print JSON.")] = False,
) -> None:
    """Check a configuration and the keys that it names. All mistakes are printed at once."""
    from authz.errors import InputError
    from authz.serve.config import load_config
    from authz.snapshot.keys import load_public_key

    checked = load_config(config, os.environ)
    keys, problems = [], []
    for path in checked.snapshot.trusted_keys:
        try:
            keys.append(load_public_key(Path(path)).keyid)
        except InputError as error:
            problems.append(error)
    if problems:
        hint = "; ".join(dict.fromkeys(error.hint for error in problems if error.hint))
        raise InputError("\n".join(error.message for error in problems), hint=hint)
    listens = {name: str(getattr(checked, name).listen) for name in ("grpc", "http", "admin")}
    if json:
        print_json({"good": True, "trusted_keys": keys, "listen": listens})
        return
    typer.echo(f"good: {config}")
    for name, listen in listens.items():
        typer.echo(f"  {name} on {listen}")
    for key in keys:
        typer.echo(f"  trusts key {key}")


def print_config(
    proxy: Annotated[Proxy, typer.Argument(help="Which proxy.")],
    config: Annotated[Path, typer.Option("--config", help="The configuration of the sidecar.")],
) -> None:
    """Print a configuration of the proxy that asks this sidecar, ready to be adapted."""
    from authz.cli.proxy_config import render
    from authz.serve.config import load_config

    typer.echo(render(proxy.value, load_config(config, os.environ)), nl=False)
