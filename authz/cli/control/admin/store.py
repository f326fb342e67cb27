"""`authz control import|export|backup|restore|check|migrate|forget|recover`: the store, without a control plane."""

from __future__ import annotations

import getpass
import os
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from authz.cli.common.output import print_json, table

if TYPE_CHECKING:
    from authz.control.config import ControlConfig
    from authz.control.model.records import Actor
    from authz.control.store.database import Store

ConfigOption = Annotated[Path, typer.Option("--config", help="The configuration of the control plane.")]
Json = Annotated[bool, typer.Option("--json", help="Print JSON.")]


def register(app: typer.Typer) -> None:
    """Add the commands to the application."""
    app.command("import", epilog="Example: authz control import policy.yaml --config control/control.yaml")(import_)
    app.command(epilog="Example: authz control export --config control/control.yaml > policy.yaml")(export)
    app.command(epilog="Example: authz control backup store.backup --config control/control.yaml")(backup)
    app.command(epilog="Example: authz control restore store.backup --config control/control.yaml")(restore)
    app.command(epilog="Example: authz control check --config control/control.yaml")(check)
    app.command(epilog="Example: authz control migrate --config control/control.yaml")(migrate)
    app.command(epilog="Example: authz control recover --config control/control.yaml")(recover)
    app.command(epilog="Example: authz control forget --older 400d --config control/control.yaml")(forget)


def _open(config: Path) -> tuple[ControlConfig, Store]:
    from authz.control.config import load_control_config
    from authz.control.store.database import open_store

    loaded = load_control_config(config, os.environ)
    return loaded, open_store(loaded.store)


def _actor() -> Actor:
    from authz.control.model.records import MAIN_TENANT, Actor

    return Actor(MAIN_TENANT, getpass.getuser(), "import", "import")


def import_(
    policy: Annotated[Path, typer.Argument(metavar="POLICY.yaml", help="The policy to import.")],
    config: ConfigOption,
    name: Annotated[str | None, typer.Option(help="Name of the import. Default: the name of the file.")] = None,
    force: Annotated[
        bool, typer.Option("--force", help="Also if entries deny what is protected; bans of that are ended.")
    ] = False,
    json: Json = False,
) -> None:
    """Import a policy into the store. Entries of an earlier import of this name that are gone now are deleted."""
    from authz.control.maintenance.transfer import foresee, import_policy, read_policy_file
    from authz.control.model.records import MAIN_TENANT
    from authz.control.store.access.tokens import get_tenant
    from authz.errors import InputError

    content = read_policy_file(policy)
    loaded, store = _open(config)
    foresee(loaded, content)
    with store.writing() as tx:
        tenant = get_tenant(tx, MAIN_TENANT)
        if tenant is None:
            raise InputError(f"the store has no tenant '{MAIN_TENANT}'", hint="`authz control init DIR` makes a store")
        done = import_policy(tx, loaded, _actor(), tenant, store.now(), content, name or policy.name, force=force)
    store.close()
    if json:
        print_json(done._asdict())
        return
    table(f"imported {policy}", [(key, value) for key, value in done._asdict().items() if key != "skipped"])
    table("skipped", done.skipped)


def export(
    config: ConfigOption,
    bans: Annotated[bool, typer.Option("--bans", help="Also export the entries of the other layers.")] = False,
    json: Json = False,
) -> None:
    """Print the content of the store as policy.yaml. With --json the same as JSON, which is YAML as well."""
    from authz.control.maintenance.transfer import as_yaml, exported_policy

    _, store = _open(config)
    with store.reading() as tx:
        content = exported_policy(tx, bans=bans)
    store.close()
    print_json(content) if json else typer.echo(as_yaml(content), nl=False)


def backup(
    file: Annotated[Path, typer.Argument(metavar="FILE", help="The file to write.")],
    config: ConfigOption,
    json: Json = False,
) -> None:
    """Write the whole store to a file. The control plane may run meanwhile."""
    from authz.control.maintenance.backup import back_up

    _, store = _open(config)
    rows = back_up(store, file)
    store.close()
    if json:
        print_json({"file": str(file), "rows": rows, "bytes": file.stat().st_size})
    else:
        table(f"wrote {file}", [("rows", rows), ("bytes", file.stat().st_size)])


def restore(
    file: Annotated[Path, typer.Argument(metavar="FILE", help="A backup.")], config: ConfigOption, json: Json = False
) -> None:
    """Restore a backup into the configured store, which must be new. Both databases can restore backups of either."""
    from authz.control.config import load_control_config
    from authz.control.maintenance.backup import restore as restore_store
    from authz.control.store.database import create_store

    store = create_store(load_control_config(config, os.environ).store)
    rows = restore_store(store, file)
    store.close()
    if json:
        print_json({"file": str(file), "rows": rows})
    else:
        table(f"restored {file}", [("rows", rows)])


def check(
    config: ConfigOption,
    checkpoints: Annotated[
        Path | None,
        typer.Option(metavar="FILE", help="An earlier answer of GET /v1/checkpoints, to compare history with."),
    ] = None,
    json: Json = False,
) -> None:
    """Check the chain of history, and the entries against it. Exit status 1 if they do not match."""
    from authz.control.maintenance.check import check_store, compare_checkpoints

    loaded, store = _open(config)
    with store.reading() as tx:
        checked = check_store(tx)
        if checkpoints is not None:
            checked.problems.extend(compare_checkpoints(tx, loaded, checkpoints))
    store.close()
    if json:
        print_json({"changes": checked.changes, "problems": checked.problems})
    else:
        table("history is whole" if not checked.problems else "history is broken",
              [("changes", checked.changes), *(("problem", problem) for problem in checked.problems)])  # fmt: skip
    if checked.problems:
        raise typer.Exit(1)


def migrate(
    config: ConfigOption,
    to: Annotated[str, typer.Option(metavar="REVISION", help="head, base, or a revision.")] = "head",
    json: Json = False,
) -> None:
    """Migrate the tables to this version, or to an older one before a downgrade."""
    from authz.control.config import load_control_config
    from authz.control.store.database import migrate as migrate_store

    migrate_store(load_control_config(config, os.environ).store, to)
    print_json({"revision": to}) if json else typer.echo(f"the store is at {to}")


def recover(
    config: ConfigOption,
    name: Annotated[str, typer.Option(help="The holder of the token; shown in history.")] = "recovered",
    json: Json = False,
) -> None:
    """Create an administrator's token directly in the store, if nobody has one any more. It is shown only once.

    Anybody who can write to the store can do this; `GET /v1/audit` records who did. Revoke the lost token afterwards.
    """
    from authz.control.maintenance.init import recover_token

    _, store = _open(config)
    token, secret = recover_token(store, name, getpass.getuser())
    store.close()
    if json:
        print_json({"id": token.id, "name": token.name, "token": secret})
    else:
        table("the token is shown only now", [("id", token.id), ("token", secret)])


def forget(
    config: ConfigOption,
    older: Annotated[
        str | None, typer.Option(metavar="PERIOD", help="Default: `history` of the configuration.")
    ] = None,
    json: Json = False,
) -> None:
    """Delete history that is older than a period. Active entries are kept."""
    from authz.control.maintenance.retention import forget_before
    from authz.times import parse_duration

    loaded, store = _open(config)
    seconds = loaded.history if older is None else parse_duration(older)
    with store.writing() as tx:
        gone = forget_before(tx, store.now() - int(seconds * 1_000_000), store.now())
    store.close()
    if json:
        print_json({"changes": gone})
    else:
        table("forgot", [("changes", gone)])
