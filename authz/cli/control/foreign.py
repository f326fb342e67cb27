"""`authz import`: lists of other programs as policy.yaml, with a note for every difference in meaning."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

FORMATS = ("nginx", "envoy-rbac", "gravitee", "csv", "fail2ban")


def register(app: typer.Typer) -> None:
    """Add the command to the application."""
    app.command("import", epilog="Example: authz import nginx blocked.conf --application shop > policy.yaml")(import_)


def import_(
    form: Annotated[str, typer.Argument(metavar="FORMAT", help=f"One of {', '.join(FORMATS)}.")],
    file: Annotated[Path, typer.Argument(metavar="FILE", help="The file to read.")],
    application: Annotated[
        str | None, typer.Option(help="The application of the entries. Default: all applications.")
    ] = None,
    on: Annotated[
        str, typer.Option("--list", metavar="allow|deny|gray", help="The list for CSV rows without one.")
    ] = "deny",
) -> None:
    """Print the lists of another program as policy.yaml, and differences in meaning to standard error."""
    from authz.control.maintenance.formats.envoy import read_envoy_rbac
    from authz.control.maintenance.formats.gravitee import read_gravitee
    from authz.control.maintenance.formats.nginx import read_nginx
    from authz.control.maintenance.formats.plain import read_csv, read_fail2ban
    from authz.errors import InputError, reason_of, shorten

    readers = {"nginx": read_nginx, "envoy-rbac": read_envoy_rbac, "gravitee": read_gravitee, "fail2ban": read_fail2ban}
    if form not in FORMATS:
        raise InputError(f"FORMAT: found '{shorten(form)}', expected one of {', '.join(FORMATS)}")
    if on not in {"allow", "deny", "gray"}:
        raise InputError(f"--list: found '{shorten(on)}', expected one of allow, deny, gray")
    try:
        text = file.read_text(encoding="utf-8")
    except (OSError, UnicodeDecodeError) as error:
        raise InputError(f"{file}: cannot be read: {reason_of(error)}") from error
    try:
        imported = read_csv(text, application, on) if form == "csv" else readers[form](text, application)
    except InputError as error:
        raise InputError(f"{file}: {error.message}", hint=error.hint) from error
    for line, note in imported.notes:
        typer.echo(f"{file}:{line}: {note}" if line else f"{file}: {note}", err=True)
    if not (imported.entries or imported.settings):
        raise InputError(f"{file}: found no entry, expected a list of {form}")
    typer.echo(imported.policy(), nl=False)
