"""`authz snapshot`: everything about snapshot files.

build      from a policy to a signed file
inspect    verify and inspect: is it good, and what is in it
entries    show and search: the networks of an entry, the entries of an address
history    history, rollback and push: what was published, going back to it, and where it goes
analysis   diff, lint and map: what a file would do, before it does it
"""

from __future__ import annotations

import typer

from authz.cli.snapshot import analysis, build, entries, history, inspect

app = typer.Typer(name="snapshot", help="Build, check and inspect snapshot files.", no_args_is_help=True)


@app.callback()
def snapshot() -> None:
    """Build, check and inspect snapshot files."""


for part in (build, inspect, entries, analysis, history):
    part.register(app)
