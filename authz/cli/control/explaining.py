"""`authz explain` of a control plane: what it decides for an address, now or as of a time, and who made each entry."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from authz.cli.common.output import print_json
from authz.cli.control.common.client import ask
from authz.cli.control.common.shown import print_entry, print_rows

if TYPE_CHECKING:
    from collections.abc import Mapping


def explain(address: str, *, application: str | None, at: str | None, json: bool) -> None:
    """Ask the control plane why an address is allowed or denied."""
    answer = ask("GET", "/v1/explain", address=address, application=application, at=at)
    if json:
        print_json(answer)
        return
    rows = []
    for match in answer["covering"]:
        change = match.get("change") or {}
        rows.append((match["id"], match["list"], match["network"], match["verdict"], change.get("actor", ""),
                     change.get("time", ""), _end_of(match), change.get("reason", "")))  # fmt: skip
    print_rows(("entry", "list", "network", "is", "by", "since", "until", "why"), rows, "nothing covers it")
    said = [("address", answer["address"]), ("application", answer["application"]), ("at", answer["at"]),
            ("reason", answer["reason"]), ("entry", answer["entry"] or "none")]  # fmt: skip
    print_entry(answer["decision"], said)


def _end_of(match: Mapping[str, Any]) -> str:
    """Return until when an entry holds; "" for what is of the signed file alone."""
    entry = match.get("entry")
    return (entry["expires"] or "forever") if entry else ""
