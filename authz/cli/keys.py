"""`authz keys`: making key pairs."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from authz.cli.common.output import print_json, table

app = typer.Typer(name="keys", help="Generate the keys that sign snapshots.", no_args_is_help=True)


@app.callback()
def keys() -> None:
    """Generate the keys that sign snapshots."""


@app.command(epilog="Example: authz keys generate keys --name 2026")
def generate(
    folder: Annotated[Path, typer.Argument(metavar="DIR", help="Folder for the two files; created if missing.")],
    name: Annotated[str, typer.Option(help="Name of the files.")],
    json: Annotated[bool, typer.Option("--json", help="Print JSON.")] = False,
) -> None:
    """Write a new ed25519 key pair: DIR/NAME.key (private, mode 0600) and DIR/NAME.pub."""
    from authz.engine.model import TOKEN
    from authz.errors import InputError
    from authz.snapshot.signing.keys import load_public_key
    from authz.snapshot.signing.signers import generate_keys

    if not TOKEN.fullmatch(name):
        raise InputError(f"--name: found '{name[:64]}', expected letters, digits, '.', '_' and '-'")
    private, public = generate_keys(folder, name)
    keyid = load_public_key(public).keyid
    if json:
        print_json({"private": str(private), "public": str(public), "keyid": keyid})
        return
    table(
        "made a key pair",
        [("private", f"{private}  (the publisher's: keep it secret)"), ("public", public), ("key id", keyid)],
    )
