"""`authz control`: the control plane."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, get_args

import typer

from authz.cli.common.output import print_json
from authz.cli.control.admin import administration, detection, events, records, settings, store

app = typer.Typer(
    name="control", help="Run the control plane: lists with history, an API, tenants.", no_args_is_help=True,
    epilog="What is on the lists: authz ban, unban, bans, entries, history, explain, undo, rollback.",
)  # fmt: skip

ConfigOption = Annotated[Path, typer.Option("--config", help="The configuration of the control plane.")]


@app.command(epilog="Example: authz control init control && authz control serve --config control/control.yaml")
def init(
    folder: Annotated[Path, typer.Argument(metavar="DIR", help="The folder to create.")],
    listen: Annotated[str, typer.Option(help="The address on which the control plane will listen.")] = "127.0.0.1:9194",
    store_url: Annotated[
        str, typer.Option("--store", help="sqlite:///FILE, or postgresql://USER:PASSWORD@HOST/DATABASE.")
    ] = ("sqlite:///control.sqlite"),
    json: Annotated[bool, typer.Option("--json", help="Print JSON.")] = False,
) -> None:
    """Create a folder with control.yaml, store, keys, authz.yaml for a sidecar, and a token."""
    from authz.control.maintenance.init import make_folder
    from authz.errors import BadValue, InputError, shorten
    from authz.serve.config.values import LISTEN_EXPECTED, ListenOn

    try:
        where = get_args(ListenOn)[1].parse(listen)
    except BadValue:
        raise InputError(f"--listen: found '{shorten(listen)}', expected {LISTEN_EXPECTED}") from None
    made = make_folder(folder, where, store=store_url)
    if json:
        print_json({"url": made.url, "token": made.token, "config": str(made.config),
                    "sidecar_config": str(made.sidecar_config)})  # fmt: skip
        return
    # Lines to be copied: nothing beside them, and no wrapping.
    typer.echo(f"""made a control plane; the token is an administrator's, and shown only now

  # each in a terminal of its own; {made.url} is for browsers, too
  authz control serve --config {made.config}
  authz serve --config {made.sidecar_config}

  # in a third one
  export AUTHZ_CONTROL_URL={made.url}
  export AUTHZ_TOKEN={made.token}
  authz ban 203.0.113.9 --for 2h --reason 'why'""")


@app.command(epilog="Example: authz control prepare --config control.yaml --token-file first-token")
def prepare(
    config: ConfigOption,
    token_file: Annotated[
        Path, typer.Option(metavar="FILE", help="File for an administrator's token, written if the store is new.")
    ],
    json: Annotated[bool, typer.Option("--json", help="Print JSON.")] = False,
) -> None:
    """Create the store of a control.yaml if it is empty, or migrate an older one; then serve.

    For unattended starts, as in Kubernetes. First stop all control planes of the store.
    """
    import os

    from authz.control.config import load_control_config
    from authz.control.maintenance.init import prepare_store
    from authz.durable import replace_file
    from authz.errors import InputError

    if not os.access(token_file.absolute().parent, os.W_OK):  # else the token would be made, and lost
        raise InputError(f"--token-file: {token_file}: its folder cannot be written to, expected one that can")
    token = prepare_store(load_control_config(config, os.environ))
    if token is not None:
        replace_file(token_file, lambda file: file.write(f"{token}\n".encode()), mode=0o600)
    if json:
        print_json({"made": token is not None, "token_file": None if token is None else str(token_file)})
    elif token is None:
        typer.echo("the store is there, and of this version")
    else:
        typer.echo(f"made the store; the token of an administrator is in {token_file}: keep it elsewhere")


@app.command(epilog="Example: authz control serve --config control/control.yaml")
def serve(
    config: ConfigOption,
    log_level: Annotated[str, typer.Option(help="debug, info, warning or error.")] = "info",
    log_format: Annotated[str, typer.Option(help="text, or json: an object for each line.")] = "text",
    force: Annotated[
        bool, typer.Option("--force", help="End bans of networks that control.yaml protects, instead of refusing.")
    ] = False,
) -> None:
    """Serve until SIGTERM."""
    from authz.control import process
    from authz.errors import InputError, shorten

    if log_format not in {"text", "json"}:
        raise InputError(f"--log-format: found '{shorten(log_format)}', expected text or json")
    process.serve(config, log_level, "json" if log_format == "json" else "text", force=force)


@app.command(epilog="Example: authz control sign --config control/control.yaml")
def sign(config: ConfigOption) -> None:
    """Run the signer as a separate service, on the unix socket of `signer`."""
    from authz.control.publish import signer

    signer.listen(config)


for part in (store, administration, settings, records, detection, events):
    part.register(app)
