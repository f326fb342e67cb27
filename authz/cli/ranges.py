"""`authz ranges`: ranges and networks, one into the other."""

from __future__ import annotations

from typing import Annotated

import typer

from authz.cli.common.output import print_json


def register(app: typer.Typer) -> None:
    """Add the command to the application."""
    app.command(epilog="Example: authz ranges 10.0.0.1-10.0.0.10")(ranges)


def ranges(
    subjects: Annotated[list[str], typer.Argument(metavar="RANGE...", help="Addresses, networks or ranges.")],
    lenient: Annotated[bool, typer.Option(help="Accept host bits: 10.0.0.2/10 means 10.0.0.0/10.")] = False,
    json: Annotated[bool, typer.Option("--json", help="Print JSON.")] = False,
) -> None:
    """Print the fewest networks that cover each range, one per line."""
    from authz.addresses import parse_networks

    by_subject = {
        subject: [str(network) for network in parse_networks(subject, lenient=lenient)] for subject in subjects
    }
    if json:
        print_json(by_subject)
        return
    for networks in by_subject.values():
        for network in networks:
            typer.echo(network)
