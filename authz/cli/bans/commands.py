"""`authz ban`, `authz unban`, `authz bans`: bans that hold at once, from a file and its key on this machine."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from authz.cli.bans import local
from authz.cli.control import bans as remote_bans
from authz.cli.control.common import client as remote
from authz.cli.control.common.completion import complete_application, complete_ban
from authz.errors import InputError

app = typer.Typer(name="bans", help="List the bans of a layer, create its file, or go back to earlier bans.")

Layer = Annotated[
    Path,
    typer.Option("--layer", metavar="FILE", envvar="AUTHZ_BANS", help="The bans file; `authz bans init` creates one."),
]
Key = Annotated[str | None, typer.Option(help="Private key file or URI. Default: the key named in the bans file.")]
Json = Annotated[bool, typer.Option("--json", help="Print JSON.")]
Applications = Annotated[
    list[str] | None,
    typer.Option(
        "--application", help="Only for this application; may be repeated. Default: all.",
        autocompletion=complete_application,
    ),
]  # fmt: skip
Wait = Annotated[
    str | None,
    typer.Option(metavar="published|enforced", help="With a control plane: wait until the change is there."),
]
BANS_FILE = Path("bans.yaml")


def register(root: typer.Typer) -> None:
    """Add the commands to the application."""
    root.command(epilog="Example: authz ban 203.0.113.9 --for 2h --application shop --reason 'password guessing'")(ban)
    root.command(epilog="Example: authz unban 203.0.113.9")(unban)
    root.add_typer(app)


def ban(
    network: Annotated[str, typer.Argument(metavar="ADDRESS|NETWORK", help="The address or network to ban.")],
    period: Annotated[str, typer.Option("--for", metavar="PERIOD", help="Such as 5m, 2h, 7d, or forever.")] = "1h",
    application: Applications = None,
    on: Annotated[str, typer.Option("--list", metavar="deny|gray", help="The list for the entry.")] = "deny",
    reason: Annotated[str, typer.Option(help="The reason; shown by explain and in logs.")] = "",
    layer: Layer = BANS_FILE,
    key: Key = None,
    force: Annotated[bool, typer.Option("--force", help="With a control plane: ban even your own address.")] = False,
    wait: Wait = None,
    json: Json = False,
) -> None:
    """Ban an address or a network for a period. For an existing ban, change the end.

    If AUTHZ_CONTROL_URL is set, the control plane makes the ban; otherwise the local bans file and its key are used.
    """
    if remote.is_configured():
        remote_bans.ban(
            network, period=period, applications=application or (), list_=on, reason=reason, wait=wait, json=json,
            force=force,
        )  # fmt: skip
        return
    _refuse_wait(wait)
    local.ban(
        network, period=period, applications=application or (), on=on, reason=reason, layer=layer, key=key, json=json
    )


def unban(
    which: Annotated[
        str,
        typer.Argument(
            metavar="ADDRESS|NETWORK|ID",
            help="The banned address or network, or the id of the ban.",
            autocompletion=complete_ban,
        ),
    ],
    application: Annotated[
        str | None, typer.Option("--application", help="Only the bans that name this application.")
    ] = None,
    reason: Annotated[str, typer.Option(help="The reason; kept in the history.")] = "",
    layer: Layer = BANS_FILE,
    key: Key = None,
    wait: Wait = None,
    json: Json = False,
) -> None:
    """End the bans of an address or a network."""
    if remote.is_configured():
        remote_bans.unban(which, application=application, reason=reason, wait=wait, json=json)
        return
    _refuse_wait(wait)
    local.unban(which, application=application, reason=reason, layer=layer, key=key, json=json)


def _refuse_wait(wait: str | None) -> None:
    if wait is not None:
        hint = "with a file, see when sidecars have loaded it: /snapshot of their admin listeners"
        raise InputError("--wait: found without a control plane (AUTHZ_CONTROL_URL)", hint=hint)


def _refuse_remote(instead: str) -> None:
    """Refuse what concerns a bans file alone where the bans are those of a control plane. instead: what asks it."""
    if remote.is_configured():
        raise InputError(
            "AUTHZ_CONTROL_URL is set, and this command changes a bans file of this machine",
            hint=f"with the control plane: `{instead}`; for the file, unset AUTHZ_CONTROL_URL",
        )


@app.callback(invoke_without_command=True)
def bans(context: typer.Context, layer: Layer = BANS_FILE, json: Json = False) -> None:
    """List the active bans."""
    if context.invoked_subcommand is not None:
        return
    if remote.is_configured():
        remote_bans.bans(json=json)
        return
    local.bans(layer, json=json)


@app.command(epilog="Example: authz bans rollback 1795830000")
def rollback(
    serial: Annotated[
        int, typer.Argument(metavar="SERIAL", help="As `authz snapshot history --layer bans` lists it.", min=1)
    ],
    layer: Layer = BANS_FILE,
    key: Key = None,
    trusted_key: Annotated[
        Path | None, typer.Option(help="Public key that signed the old build. Default: the key that signs now.")
    ] = None,
    json: Json = False,
) -> None:
    """Go back to the bans of an earlier moment; those that have ended since do not come back."""
    _refuse_remote("authz rollback TIME --dry-run")
    local.rollback(serial, layer=layer, key=key, trusted_key=trusted_key, json=json)


@app.command(epilog="Example: authz bans sign --layer bans.yaml")
def sign(layer: Layer = BANS_FILE, key: Key = None, json: Json = False) -> None:
    """Sign the bans file again, after you have edited it or changed its key."""
    _refuse_remote("authz bans")
    local.sign(layer, key=key, json=json)


@app.command(epilog="Example: authz bans init bans.yaml --key keys/bans.key --snapshot bans.snapshot")
def init(
    file: Annotated[Path, typer.Argument(metavar="FILE", help="The bans file to create.")],
    key: Annotated[str, typer.Option(help="Private key file, relative to FILE, or URI.")],
    snapshot: Annotated[
        str, typer.Option(help="The signed file, relative to FILE; the sidecar reads it.")
    ] = "bans.snapshot",
    name: Annotated[str, typer.Option(help="Name of the layer, as in authz.yaml.")] = "bans",
    longest: Annotated[str, typer.Option(metavar="PERIOD", help="The longest ban, such as 7d, or forever.")] = "7d",
    policy: Annotated[
        str,
        typer.Option(metavar="FILE", help="Snapshot of the policy, relative to FILE: what it protects is not banned."),
    ] = "",
) -> None:
    """Create an empty bans file, and sign its snapshot."""
    local.init(file, key=key, snapshot=snapshot, name=name, longest=longest, policy=policy)
