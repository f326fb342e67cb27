"""Bans at a control plane: what `authz ban`, `authz unban` and `authz bans` do where AUTHZ_CONTROL_URL is set."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from authz.addresses import parse_network
from authz.cli.common.output import print_json, warn
from authz.cli.control.common.client import all_pages, ask, segment
from authz.cli.control.common.shown import print_entries, print_entry, reached
from authz.control.model.problems import Refused
from authz.engine.entries.opened_snapshot import POLICY_LAYER
from authz.errors import InputError

if TYPE_CHECKING:
    from collections.abc import Sequence

    from authz.addresses import Network


def ban(
    address: str, *, period: str, applications: Sequence[str], list_: str, reason: str, wait: str | None, json: bool,
    force: bool = False,
) -> None:  # fmt: skip
    """Ban an address or network; one that is banned already ends at the new time. force: even one's own address."""
    body = {"address": address, "period": period, "applications": list(applications), "list": list_, "reason": reason,
            "force": force}  # fmt: skip
    what = "banned"
    new = "" if json else _new_applications(applications)
    try:
        made = ask("POST", "/v1/bans", body, wait=wait)
    except Refused as refused:
        if refused.code != "exists":
            raise
        change = {"period": period, "reason": reason} if reason else {"period": period}
        path = f"/v1/entries/{segment(refused.problem['id'])}"
        before = ask("GET", path)["expires"]
        made = ask("PATCH", path, change, headers={"If-Match": "*"}, wait=wait)
        made["address"], what = address, f"was banned already, until {before or 'forever'}: {moved(before, made)} now"
    if json:
        print_json(made)
    elif "approval" in made:
        print_entry("waits for a second person", [("approval", made["approval"]), ("why", made["detail"])])
    else:
        print_entry(what, [("address", made["address"]), *_rows(made), *reached(made)])
        if new:
            warn(new)
        _warn_of_allowed(made)


def _new_applications(names: Sequence[str]) -> str:
    """Return a warning if the policy does not name applications so far, for it does with the ban; else ""."""
    known = sorted(application["name"] for application in _asked("/v1/applications") or ()) if names else []
    new = sorted({*names}.difference(known))
    if not new:
        return ""
    return f"{', '.join(new)}: new, the policy names it with this ban (before: {', '.join(known) or 'none'})"


def _asked(path: str, *, address: str | None = None, application: str | None = None) -> Any:
    """Return what is beside the point of a command; None if it is refused, which stops nothing."""
    try:
        return ask("GET", path, address=address, application=application)
    except Refused:
        return None


def _warn_of_allowed(made: dict[str, Any]) -> None:
    """Say if an entry of the allow list wins over a new ban of one address: then it denies nobody."""
    if "/" in made["address"] or made["list"] != "deny":
        return
    application = made["applications"][0] if made["applications"] else None
    answer = _asked("/v1/explain", address=made["address"], application=application)
    if answer is not None and answer["reason"] == "allowlisted":
        of = f" for {application}" if application else ""
        by = f"by {answer['entry']}, which wins (precedence {answer['settings']['precedence']})"
        warn(f"{made['address']} is allowed{of} {by}: the ban has no effect")


def moved(before: str | None, made: dict[str, Any]) -> str:
    """Return what became of the end of a ban; times are RFC 3339 in UTC, None is for ever."""
    after = made.get("expires", before)
    if after == before:
        return "it ends when it did"
    return "it ends EARLIER" if after is not None and (before is None or after < before) else "it ends later"


def unban(which: str, *, application: str | None, reason: str, wait: str | None, json: bool) -> None:
    """End the bans of an address or network, or the one with this id."""
    ended = [
        ask("DELETE", f"/v1/bans/{segment(entry)}", reason=reason or None, wait=wait)
        for entry in _meant(which, application)
    ]
    if json:
        print_json({"ended": ended})
        return
    for entry in ended:
        print_entry("ended a ban", [("address", ", ".join(entry["networks"])), ("id", entry["id"]), *reached(entry)])
    address = ended[0]["networks"][0]
    for left in _bans_over(address, application):
        of = f" for {', '.join(left['applications'])}" if left["applications"] else ""
        by = f"by {', '.join(left['networks'])}: `authz unban {left['id']}` ends that"
        warn(f"{address} is still banned{of}, {by}")


def bans(*, json: bool) -> None:
    """List the bans that hold."""
    entries = all_pages("/v1/bans")
    if json:
        print_json({"bans": entries})
    else:
        print_entries(entries, "no bans")


def _meant(which: str, application: str | None) -> list[str]:
    if ":" not in which and "." not in which and "/" not in which:
        return [which]
    entries = _bans_over(which, application)
    same = [entry["id"] for entry in entries if entry["networks"] == [which.removesuffix("/32").removesuffix("/128")]]
    if same:
        return same
    if entries:
        wider = entries[0]
        raise InputError(
            f"{which} has no ban of its own; it is banned by {', '.join(wider['networks'])}",
            hint=f"`authz unban {wider['id']}` ends that",
        )
    raise InputError(f"found no ban of '{which[:64]}', expected one", hint="`authz bans` lists them")


def _bans_over(which: str, application: str | None) -> list[dict[str, Any]]:
    """Return the bans that cover a network. What the lists say of it beside them, such as an allow entry, is no ban."""
    network = parse_network(which)
    covering = [
        entry
        for entry in all_pages("/v1/entries", address=which, application=application)
        if entry["list"] != "allow" and any(_covers(parse_network(named), network) for named in entry["networks"])
    ]
    apart = [entry for entry in covering if entry["layer"] != POLICY_LAYER]
    return apart or covering  # with a single layer, bans are in the policy


def _covers(wide: Network, narrow: Network) -> bool:
    return wide.version == narrow.version and wide.value <= narrow.value and narrow.last <= wide.last


def _rows(made: dict[str, Any]) -> list[tuple[str, object]]:
    return [
        ("id", made["id"]),
        ("list", made["list"]),
        ("applications", ", ".join(made["applications"]) or "all"),
        ("until", made["expires"] or "forever"),
        *([("reason", made["reason"])] if made["reason"] else []),
        ("serial", made["serial"]),
    ]
