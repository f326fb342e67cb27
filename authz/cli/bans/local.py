"""Bans of a file on this machine: what `authz ban`, `unban` and `bans` do if there is no control plane.

A plain `authz ban` holds soon after it was typed, so this loads neither typer nor rich nor numpy, and no protobuf or
YAML where none is needed.
"""

from __future__ import annotations

import time
from typing import TYPE_CHECKING, Any, Final

from authz.cli.common.output import print_json, say, table, visible, warn
from authz.errors import AddressError, BadValue, InputError
from authz.times import format_moment

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence
    from pathlib import Path

    from authz.addresses import Network
    from authz.publisher.bans.contents import BansDocument
    from authz.publisher.bans.file import Changed
    from authz.publisher.bans.record import Ban
    from authz.snapshot.signing.envelope import Signer
    from authz.snapshot.signing.keys import PublicKey


MAX_REASON: Final = 1000  # characters, as for a control plane: each decision by the ban reads it


def ban(
    network: str,
    *,
    period: str,
    applications: Sequence[str],
    on: str,
    reason: str,
    layer: Path,
    key: str | None,
    json: bool,
) -> None:
    """Ban a network, or change the period of its ban. See `authz.cli.bans.commands.ban`."""
    from authz.publisher.bans.file import like
    from authz.publisher.bans.limits import check_all, check_new, unknown_applications

    now = int(time.time())
    made = _new_ban(network, period, applications, on, reason, now)
    known: list[Ban] = []
    warning = ""

    def change(document: BansDocument, bans: list[Ban]) -> list[Ban]:
        nonlocal made, warning
        before = like(bans, made)
        if before is not None:
            known.append(before)
            made = made._replace(id=before.id, added=before.added, reason=reason or before.reason)
        changed = [*(ban for ban in bans if ban != before), made]
        check_new(document, made, now)
        check_all(layer, document, changed, now, made=made)
        warning = unknown_applications(layer, document, made)
        return changed

    changed = _change(layer, change, key, now, lambda: _said("changed the ban" if known else "banned", [made], reason))
    if warning:
        warn(warning)
    result = {**_shown(made), "changed": bool(known), "serial": changed.serial, "snapshot": str(changed.snapshot)}
    if json:
        print_json(result)
        return
    title = f"changed a ban, {_moved(known[0].expires, made.expires)}" if known else "banned"
    what = "address" if made.network.length == (32 if made.network.version == 4 else 128) else "network"
    table(title, [(what, result["network"]), *_rows(result), ("serial", changed.serial)])


def _new_ban(network: str, period: str, applications: Sequence[str], on: str, reason: str, now: int) -> Ban:
    """Return the ban that the command line asks for. now: seconds since 1970. Raises InputError."""
    from authz.publisher.bans.contents import parse_period
    from authz.publisher.bans.record import Ban, new_ban_id
    from authz.publisher.builder import builder_name

    wanted = _network(network)
    if on not in {"deny", "gray"}:
        raise InputError(f"--list: found '{on}', expected deny or gray")
    try:
        seconds = parse_period(period)
    except BadValue as error:
        raise InputError(f"--for: {error.message}") from None
    expires = None if seconds is None else now + seconds
    names = frozenset(map(application_name, applications))
    if len(reason) > MAX_REASON:
        raise InputError(f"--reason: found {len(reason)} characters, expected at most {MAX_REASON}")
    return Ban(new_ban_id(), wanted, on, names, "block", reason, builder_name(), None, expires, now)  # type: ignore[arg-type]  # checked above


def _moved(before: int | None, after: int | None) -> str:
    """Return what became of the end of a ban. before, after: seconds since 1970, None for ever."""
    if before == after:
        return "which ends when it did"
    earlier = after is not None and (before is None or after < before)
    return f"which ends {'EARLIER' if earlier else 'later'} now: it was {format_moment(before, 'without an end')}"


def unban(which: str, *, application: str | None, reason: str, layer: Path, key: str | None, json: bool) -> None:
    """End the bans of a network, or the one of an id. See `authz.cli.bans.commands.unban`."""
    from authz.publisher.bans.limits import check_all

    ended: list[Ban] = []
    now = int(time.time())
    wrong: list[InputError] = []

    def change(document: BansDocument, bans: list[Ban]) -> list[Ban]:
        ended.extend(_named(bans, which, application))
        left = [ban for ban in bans if ban not in ended]
        try:
            check_all(layer, document, left, now)
        except InputError as error:  # several may be wrong: they are ended one after the other
            wrong.append(error)
        return left

    changed = _change(layer, change, key, now, lambda: _said("ended the ban", ended, reason))
    for error in wrong:
        warn(f"{error.message}; {error.hint}")
    if json:
        ids = [_shown(ban) for ban in ended]
        print_json({"ended": ids, "serial": changed.serial, "snapshot": str(changed.snapshot)})
        return
    for ban in ended:
        say(visible(f"ended the ban {ban.id} of {_text(ban.network)}"))
    for left in _still(changed.bans, ended[0], time.time()):
        of = f" for {', '.join(sorted(left.applications))}" if left.applications else ""
        by = f"by {_text(left.network)}: `authz unban {left.id}` ends that"
        warn(f"{_text(ended[0].network)} is still banned{of}, {by}")


def _still(bans: Iterable[Ban], ended: Ban, now: float) -> list[Ban]:
    """Return the bans that cover a network whose ban was ended."""
    return [ban for ban in bans if ban.live(now) and _covers(ban.network, ended.network)]


def bans(layer: Path, *, json: bool) -> None:
    """List the bans that are live."""
    from authz.publisher.bans.document import read_bans_file

    now = time.time()
    document = read_bans_file(layer)
    listed = sorted((ban for ban in document.bans if ban.live(now)), key=_by_network)
    if json:
        print_json({"file": str(layer), "serial": document.serial, "bans": [_shown(ban) for ban in listed]})
        return
    say(f"{layer}: {len(listed) or 'no'} ban{'' if len(listed) == 1 else 's'}, serial {document.serial}")
    for ban in listed:
        shown = _shown(ban)
        say("")
        table(shown["network"], [("id", ban.id), *_rows(shown)])


def rollback(serial: int, *, layer: Path, key: str | None, trusted_key: Path | None, json: bool) -> None:
    """Go back to the bans of an archived build, under a higher serial. See `authz.cli.bans.commands.rollback`."""
    from authz.publisher.bans.file import bans_of_build
    from authz.publisher.bans.limits import check_all
    from authz.snapshot.signing.keys import load_public_key
    from authz.snapshot.signing.signers import FileSigner, load_signer

    def public(named: str) -> PublicKey:
        if trusted_key is not None:
            return load_public_key(trusted_key)
        signer = load_signer(key or named)
        if not isinstance(signer, FileSigner):
            raise InputError(
                "--key: found a URI, expected a file: it must have signed the build that comes back",
                hint="name its public half: --trusted-key FILE",
            )
        return signer.public

    now, back = int(time.time()), bans_of_build(layer, serial, public)

    def change(document: BansDocument, bans: list[Ban]) -> list[Ban]:
        before = [ban for ban in back(document, bans) if ban.live(now)]
        check_all(layer, document, before, now)
        return before

    changed = _change(layer, change, key, now, rollback_of=serial)
    if json:
        shown = [_shown(ban) for ban in changed.bans]
        print_json({"rollback_of": serial, "bans": shown, "serial": changed.serial, "snapshot": str(changed.snapshot)})
        return
    rows = [("content of", serial), ("serial", changed.serial), ("bans", len(changed.bans))]
    table(f"rolled back {layer}", rows)


def sign(layer: Path, *, key: str | None, json: bool) -> None:
    """Sign the bans of a file as they are, under a higher serial."""
    from authz.publisher.bans.limits import check_all

    now = int(time.time())

    def change(document: BansDocument, bans: list[Ban]) -> list[Ban]:
        check_all(layer, document, bans, now)
        return bans

    changed = _change(layer, change, key, now, lambda: "signed anew")
    if json:
        bans = [_shown(ban) for ban in changed.bans]
        print_json({"bans": bans, "serial": changed.serial, "snapshot": str(changed.snapshot)})
        return
    table(f"signed {layer}", [("snapshot", changed.snapshot), ("serial", changed.serial), ("bans", len(changed.bans))])


def init(file: Path, *, key: str, snapshot: str, name: str, longest: str, policy: str) -> None:
    """Make a bans file and sign its snapshot."""
    from authz.publisher.bans.contents import BanLimits, parse_period
    from authz.publisher.bans.document import create_bans_file

    try:
        may = BanLimits(longest=parse_period(longest))
    except BadValue as error:
        raise InputError(f"--longest: {error.message}") from None
    create_bans_file(file, layer=application_name(name, "--name"), snapshot=snapshot, key=key, may=may,
                     policy=policy)  # fmt: skip
    try:
        changed = _change(file, lambda _, bans: bans, None, int(time.time()))
    except InputError:
        file.unlink(missing_ok=True)
        file.with_name(f".{file.name}.lock").unlink(missing_ok=True)
        raise
    if policy and not (file.parent / policy).exists():
        warn(f"{file.parent / policy}: no such file: until there is one, a ban may touch what the policy protects")
    table(f"made {file}", [("layer", name), ("snapshot", changed.snapshot), ("serial", changed.serial)])


def _change(layer: Path, change: Any, key: str | None, now: int, what: Any = str, rollback_of: int = 0) -> Changed:
    from authz.publisher.bans.file import change_bans
    from authz.publisher.builder import builder_name

    changed = change_bans(
        layer, change, lambda named: _signer(key or named), now=now, by=builder_name(), what=what,
        rollback_of=rollback_of,
    )  # fmt: skip
    for warning in changed.warnings:
        warn(warning)
    return changed


def _said(what: str, bans: Sequence[Ban], reason: str) -> str:
    """Return what `authz snapshot history` says of a change: `banned 203.0.113.9 for shop: password guessing`."""
    several = ", ".join(" for ".join(filter(None, (_text(b.network), " ".join(sorted(b.applications))))) for b in bans)
    return ": ".join(filter(None, (f"{what} {several}" if what == "banned" else f"{what} of {several}", reason)))


def _signer(key: str) -> Signer:
    from authz.publisher.bans.quick_key import ed25519_signer

    signer = ed25519_signer(key)
    if signer is None:
        from authz.snapshot.signing.signers import load_signer

        signer = load_signer(key)
    return signer


def _network(text: str) -> Network:
    from authz.addresses import parse_network

    try:
        return parse_network(text)
    except AddressError as error:
        raise InputError(error.message, hint=error.hint) from None


def _network_or_id(text: str) -> Network:
    """Return the network that is meant, where no ban has this id. Raises InputError."""
    from authz.addresses import try_parse_address

    if try_parse_address(text.partition("/")[0]) is None:
        expected = "an address, a network, or the id of a ban"
        raise InputError(f"found '{text[:64]}', expected {expected}", hint="`authz bans` lists the bans")
    return _network(text)


def application_name(text: str, option: str = "--application") -> str:
    """Return a name as it was given. Raises InputError, which names the option."""
    from authz.engine.model import TOKEN

    if not TOKEN.fullmatch(text):
        raise InputError(f"{option}: found '{text[:64]}', expected letters, digits, '.', '_' and '-'")
    return text


def _named(bans: list[Ban], which: str, application: str | None) -> list[Ban]:
    """Return the bans that are meant. Raises InputError if there is none, and says which wider one there is."""
    concerned = [ban for ban in bans if application is None or application in ban.applications]
    matching = [ban for ban in concerned if ban.id == which]
    if not matching:
        network = _network_or_id(which)
        matching = [ban for ban in concerned if ban.network == network]
        wider = [ban for ban in concerned if ban.network.length < network.length and _covers(ban.network, network)]
        if not matching and wider:
            raise InputError(
                f"{_text(network)} has no ban of its own; it is banned by {_text(wider[0].network)}",
                hint=f"`authz unban {wider[0].id}` ends that; to spare one address, allow it in the policy",
            )
    if not matching:
        raise InputError(f"found no ban of '{which[:64]}', expected one", hint="`authz bans` lists them")
    return matching


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
