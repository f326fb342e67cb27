"""All commands of `authz` as one application of typer."""

from __future__ import annotations

import sys
from typing import TYPE_CHECKING, Annotated, Final

import typer
from typer.core import TyperGroup

from authz import __version__
from authz.cli import control, explain, feeds, keys, ranges, replay, snapshot, triggers
from authz.cli.bans import commands as bans
from authz.cli.control import foreign, lists, notify
from authz.cli.sidecar import config, doctor, serve
from authz.errors import InputError

if TYPE_CHECKING:
    from collections.abc import Mapping

# How `authz --help` shows the commands: those first that are needed first.
PANELS: Final[Mapping[str, tuple[str, ...]]] = {
    "Policies and snapshots": ("keys", "snapshot", "feeds", "import", "ranges"),
    "The sidecar": ("serve", "check-config", "print-config", "explain", "doctor", "replay"),
    "Bans, with or without a control plane": ("ban", "unban", "bans"),
    "The control plane": ("control", "entries", "history", "undo", "rollback", "triggers", "notify"),
}
_PANEL_OF: Final = {name: panel for panel, names in PANELS.items() for name in names}


class _InOrder(TyperGroup):
    """The commands in the order of their panels."""

    def list_commands(self, ctx: typer.Context) -> list[str]:  # type: ignore[override]  # typer's own kind of context
        return sorted(super().list_commands(ctx), key=list(_PANEL_OF).index)


app = typer.Typer(
    name="authz",
    cls=_InOrder,
    help="External-authorization sidecar for Envoy and NGINX: allow or deny by client address and application.",
    epilog="First steps: authz keys generate keys --name 2026, then authz snapshot build policy.yaml "
    "-o lists.snapshot --key keys/2026.key, then authz serve --config authz.yaml",
    no_args_is_help=True,
    pretty_exceptions_enable=False,
    rich_markup_mode="rich",
    context_settings={"help_option_names": ["-h", "--help"]},
)


def _version(wanted: bool) -> None:
    if wanted:
        typer.echo(f"authz {__version__}")
        raise typer.Exit


@app.callback()
def main(
    version: Annotated[
        bool, typer.Option("--version", callback=_version, is_eager=True, help="Print the version and exit.")
    ] = False,
) -> None:
    """Take the options of all commands."""


app.add_typer(keys.app)
app.add_typer(control.app)
lists.register(app)
foreign.register(app)
app.add_typer(triggers.app)
app.add_typer(notify.app)
app.add_typer(feeds.app)
app.add_typer(snapshot.app)
serve.register(app)
bans.register(app)
explain.register(app)
doctor.register(app)
replay.register(app)
ranges.register(app)
config.register(app)
for command in app.registered_commands:
    command.rich_help_panel = _PANEL_OF[str(command.name or getattr(command.callback, "__name__", ""))]
for group in app.registered_groups:
    if group.typer_instance is not None:
        group.rich_help_panel = _PANEL_OF[str(group.typer_instance.info.name)]


def run_commands() -> None:
    """Run the command of this process. With --json, a wrong flag is answered in JSON too, not in a box for people."""
    if "--json" not in sys.argv:
        app()
    try:
        status = app(standalone_mode=False)
    except typer.Abort:
        status = 1
    except Exception as error:
        message = getattr(error, "format_message", None)  # typer has a copy of click's errors, older ones click's own
        if message is None:
            raise
        raise InputError(message(), hint="--help shows options and arguments", code="bad_usage") from error
    sys.exit(status if isinstance(status, int) else 0)
