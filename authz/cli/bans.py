"""`authz ban`, `authz unban`, `authz bans`: bans that hold at once, from a file and its key on this machine."""

from __future__ import annotations

import time
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from authz.cli.common.output import out, print_json, table, visible
from authz.cli.control import bans as remote_bans
from authz.cli.control import client as remote
from authz.errors import AddressError, BadValue, InputError
from authz.times import format_moment

if TYPE_CHECKING:
    from authz.addresses import Network
    from authz.publisher.bans.file import BansDocument, Changed
    from authz.publisher.bans.record import Ban

app = typer.Typer(name="bans", help="List the bans of a layer, or make its file.")

Layer = Annotated[
    Path, typer.Option("--layer", metavar="FILE", envvar="AUTHZ_BANS", help="The bans file; authz bans init makes one.")
]
Key = Annotated[str | None, typer.Option(help="Private key file or URI. Default: the one that the bans file names.")]
Json = Annotated[bool, typer.Option("--json", help="Print JSON.")]
Applications = Annotated[
    list[str] | None, typer.Option("--application", help="Only for this application; may be repeated. Default: all.")
]
Wait = Annotated[
    str | None,
    typer.Option(metavar="published|enforced", help="With a control plane: return when it is there."),
]
BANS_FILE = Path("bans.yaml")


def register(root: typer.Typer) -> None:
    """Add the commands to the application."""
    root.command(epilog="Example: authz ban 203.0.113.9 --for 2h --application shop --reason 'password guessing'")(ban)
    root.command(epilog="Example: authz unban 203.0.113.9")(unban)
    root.add_typer(app)


def ban(
    network: Annotated[str, typer.Argument(metavar="ADDRESS|NETWORK", help="Whom to ban.")],
    period: Annotated[str, typer.Option("--for", metavar="PERIOD", help="Such as 5m, 2h, 7d, or forever.")] = "1h",
    application: Applications = None,
    on: Annotated[str, typer.Option("--list", metavar="deny|gray", help="The list to put it on.")] = "deny",
    reason: Annotated[str, typer.Option(help="Why; shown by explain and in logs.")] = "",
    layer: Layer = BANS_FILE,
    key: Key = None,
    wait: Wait = None,
    json: Json = False,
) -> None:
    """Ban an address or a network for a time. Banned already: the time is changed.

    Where AUTHZ_CONTROL_URL is set, the control plane is asked; otherwise the bans file and its key on this machine.
    """
    if remote.is_configured():
        remote_bans.ban(
            network, period=period, applications=application or (), list_=on, reason=reason, wait=wait, json=json
        )
        return
    from authz.publisher.bans.file import check_limits, like, parse_period
    from authz.publisher.bans.record import Ban, new_ban_id
    from authz.publisher.builder import builder_name

    wanted = _network(network)
    if on not in {"deny", "gray"}:
        raise InputError(f"--list: found '{on}', expected deny or gray")
    try:
        seconds = parse_period(period)
    except BadValue as error:
        raise InputError(f"--for: {error.message}") from None
    now = int(time.time())
    expires = None if seconds is None else now + seconds
    names = frozenset(map(_application, application or ()))
    made = Ban(new_ban_id(), wanted, on, names, "block", reason, builder_name(), None, expires, now)  # type: ignore[arg-type]  # checked above
    known: list[Ban] = []

    def change(document: BansDocument, bans: list[Ban]) -> list[Ban]:
        nonlocal made
        check_limits(document, made, now)
        before = like(bans, made)
        if before is not None:
            known.append(before)
            made = made._replace(id=before.id, added=before.added, reason=reason or before.reason)
        return [*(one for one in bans if one != before), made]

    changed = _change(layer, change, key, now)
    result = {**_shown(made), "changed": bool(known), "serial": changed.serial, "snapshot": str(changed.snapshot)}
    if json:
        print_json(result)
        return
    title = "changed a ban" if known else "banned"
    table(title, [("address" if wanted.length in {32, 128} else "network", result["network"]), *_rows(result)])


def unban(
    which: Annotated[str, typer.Argument(metavar="ADDRESS|NETWORK|ID", help="What was banned, or the id of the ban.")],
    application: Annotated[
        str | None, typer.Option("--application", help="Only the bans that name this application.")
    ] = None,
    reason: Annotated[str, typer.Option(help="Why; kept in the history of a control plane.")] = "",
    layer: Layer = BANS_FILE,
    key: Key = None,
    wait: Wait = None,
    json: Json = False,
) -> None:
    """End the bans of an address or a network."""
    if remote.is_configured():
        remote_bans.unban(which, application=application, reason=reason, wait=wait, json=json)
        return
    ended: list[Ban] = []

    def change(_: BansDocument, bans: list[Ban]) -> list[Ban]:
        ended.extend(_named(bans, which, application))
        return [one for one in bans if one not in ended]

    changed = _change(layer, change, key, int(time.time()))
    if json:
        ids = [_shown(one) for one in ended]
        print_json({"ended": ids, "serial": changed.serial, "snapshot": str(changed.snapshot)})
        return
    for one in ended:
        out.print(visible(f"ended the ban {one.id} of {_text(one.network)}"))


@app.callback(invoke_without_command=True)
def bans(context: typer.Context, layer: Layer = BANS_FILE, json: Json = False) -> None:
    """List the bans that are live."""
    from authz.publisher.bans.file import read_bans_file

    if context.invoked_subcommand is not None:
        return
    if remote.is_configured():
        remote_bans.bans(json=json)
        return
    now = time.time()
    found = sorted((ban for ban in (one.ban() for one in read_bans_file(layer).bans) if ban.live(now)), key=_by_network)
    if json:
        print_json({"file": str(layer), "bans": [_shown(one) for one in found]})
        return
    out.print(f"{layer}: {len(found)} bans" if found else f"{layer}: no bans")
    for one in found:
        shown = _shown(one)
        out.print()
        table(shown["network"], [("id", one.id), *_rows(shown)])


@app.command(epilog="Example: authz bans init bans.yaml --key keys/bans.key --snapshot bans.snapshot")
def init(
    file: Annotated[Path, typer.Argument(metavar="FILE", help="The bans file to make.")],
    key: Annotated[str, typer.Option(help="Private key file, relative to FILE, or URI.")],
    snapshot: Annotated[
        str, typer.Option(help="The signed file, relative to FILE; the sidecar reads it.")
    ] = "bans.snapshot",
    name: Annotated[str, typer.Option(help="Name of the layer, as in authz.yaml.")] = "bans",
    longest: Annotated[str, typer.Option(metavar="PERIOD", help="The longest ban, such as 7d, or forever.")] = "7d",
) -> None:
    """Make a bans file and sign its snapshot, without bans yet."""
    from authz.publisher.bans.file import Limits, create_bans_file, parse_period

    try:
        may = Limits(longest=parse_period(longest))
    except BadValue as error:
        raise InputError(f"--longest: {error.message}") from None
    create_bans_file(file, layer=_application(name, "--name"), snapshot=snapshot, key=key, may=may)
    try:
        changed = _change(file, lambda _, bans: bans, None, int(time.time()))
    except InputError:
        file.unlink(missing_ok=True)
        raise
    table(f"made {file}", [("layer", name), ("snapshot", changed.snapshot), ("serial", changed.serial)])


def _change(layer: Path, change: Any, key: str | None, now: int) -> Changed:
    from authz.publisher.bans.file import change_bans
    from authz.publisher.builder import builder_name
    from authz.snapshot.signers import load_signer

    return change_bans(layer, change, lambda named: load_signer(key or named), now=now, by=builder_name())


def _network(text: str) -> Network:
    from authz.addresses import parse_network

    try:
        return parse_network(text)
    except AddressError as error:
        raise InputError(error.message, hint=error.hint) from None


def _application(text: str, option: str = "--application") -> str:
    from authz.engine.model import TOKEN

    if not TOKEN.fullmatch(text):
        raise InputError(f"{option}: found '{text[:64]}', expected letters, digits, '.', '_' and '-'")
    return text


def _named(bans: list[Ban], which: str, application: str | None) -> list[Ban]:
    """Return the bans that are meant. Raises InputError where there is none, and says which wider one there is."""
    concerned = [ban for ban in bans if application is None or application in ban.applications]
    found = [ban for ban in concerned if ban.id == which]
    if not found:
        network = _network(which)
        found = [ban for ban in concerned if ban.network == network]
        wider = [ban for ban in concerned if ban.network.length < network.length and _covers(ban.network, network)]
        if not found and wider:
            raise InputError(
                f"{_text(network)} is not banned by itself, but by {_text(wider[0].network)}",
                hint=f"`authz unban {wider[0].id}` ends that; to spare one address, allow it in the policy",
            )
    if not found:
        raise InputError(f"found no ban of '{which[:64]}', expected one", hint="`authz bans` lists them")
    return found


def _covers(wide: Network, narrow: Network) -> bool:
    return wide.version == narrow.version and wide.value <= narrow.value and narrow.last <= wide.last


def _by_network(ban: Ban) -> tuple[Network, str]:
    return ban.network, ban.id


def _text(network: Network) -> str:
    return str(network).removesuffix("/32" if network.version == 4 else "/128")


def _shown(ban: Ban) -> dict[str, Any]:
    return {
        "id": ban.id,
        "network": _text(ban.network),
        "list": ban.list,
        "applications": sorted(ban.applications),
        "reason": ban.reason,
        "author": ban.author,
        "added": format_moment(ban.added),
        "expires": format_moment(ban.expires),
    }


def _rows(shown: dict[str, Any]) -> list[tuple[str, object]]:
    return [
        ("list", shown["list"]),
        ("applications", ", ".join(shown["applications"]) or "all"),
        ("until", shown["expires"]),
        ("since", shown["added"]),
        ("by", shown["author"]),
        *([("reason", shown["reason"])] if shown["reason"] else []),
    ]
