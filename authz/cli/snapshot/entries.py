"""`authz snapshot show` and `search`: the networks of an entry, and the entries of an address, a network or a text."""

from __future__ import annotations

import difflib
import time
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from authz.cli.common.failure import fail
from authz.cli.common.output import block, count, out, print_json, visible
from authz.cli.snapshot.entry_text import entry_as_json, entry_lines
from authz.errors import InputError, SnapshotRefused, shorten
from authz.times import format_moment

if TYPE_CHECKING:
    from collections.abc import Sequence

    from authz.addresses import Network
    from authz.engine.entries.opened_snapshot import OpenedSnapshot

File = Annotated[Path, typer.Argument(metavar="FILE", help="The snapshot file.")]
PolicyFile = Annotated[
    Path | None, typer.Option("--policy", help="The policy; with it, the feed and line of each network are shown.")
]
Json = Annotated[bool, typer.Option("--json", help="Print JSON.")]

MAX_NETWORKS = 50  # that a person is shown of an entry; --json has all


def register(app: typer.Typer) -> None:
    """Add the commands to `authz snapshot`."""
    app.command(epilog="Example: authz snapshot show lists.snapshot office")(show)
    app.command(epilog="Example: authz snapshot search lists.snapshot 203.0.113.0/24 --policy policy.yaml")(search)


def show(
    file: File,
    entry: Annotated[str, typer.Argument(metavar="ENTRY", help="The id of the entry.")],
    policy: PolicyFile = None,
    json: Json = False,
) -> None:
    """Show one entry: its networks, exceptions, window, reason, and how many addresses it covers."""
    from authz.analysis.coverage import Tally
    from authz.analysis.entry_pieces import EntryPieces
    from authz.analysis.listing import list_networks

    opened = _open(file)
    number = _number_of(opened, entry)
    listing = list_networks(opened.index, number)
    pieces = EntryPieces(opened)
    tally = Tally.of(pieces.ranges(pieces.sets_of(number).tolist()))
    content = {
        **_about(file, opened),
        "entry": entry_as_json(opened.entries[number]),
        "addresses": {"ipv4": tally.ipv4, "ipv6": str(tally.ipv6), "ipv6_64s": str(tally.ipv6_64s)},
        "networks": _with_origins(listing.networks, opened.entries[number].subjects, policy),
        "exceptions": [str(network) for network in listing.exceptions],
    }
    if json:
        print_json(content)
        return
    title, *lines = entry_lines(content["entry"])
    block(title, [*lines, f"covers {tally}"])
    _show_networks("networks", content["networks"])
    _show_networks("except", [{"network": network} for network in content["exceptions"]])


def search(
    file: File,
    text: Annotated[
        str, typer.Argument(metavar="ADDRESS|NETWORK|TEXT", help="An address, a network, a range, or a text.")
    ],
    policy: PolicyFile = None,
    json: Json = False,
) -> None:
    """Find entries that cover an address, overlap a network, or have a text in id, reason, author or names.

    Exit status 0, or 1 if there is none.
    """
    from authz.analysis.search import search as search_entries

    opened = _open(file)
    results = search_entries(opened, text)
    hits = [
        {**entry_as_json(hit.entry), "networks": _with_origins(hit.networks, hit.entry.subjects, policy)}
        for hit in results.hits
    ]
    if json:
        print_json({**_about(file, opened), "searched": text, "kind": results.kind, "entries": hits})
    else:
        for hit in hits:
            title, *lines = entry_lines(hit)
            block(title, lines)
            _show_networks("networks", hit["networks"])
        what = {"address": f"cover {text}", "network": f"have an address of {text}", "text": f"say '{shorten(text)}'"}
        out.print(visible(f"{count(len(hits), 'entry', 'entries')} of {len(opened.entries):,}: those that "
                          f"{what[results.kind]}"))  # fmt: skip
    if not hits:
        raise typer.Exit(1)


def _open(file: Path) -> OpenedSnapshot:
    from authz.publisher.whole_layer import open_whole

    try:
        return open_whole(file, now=time.time())
    except SnapshotRefused as error:
        fail(error.copy(file), status=1)


def _number_of(opened: OpenedSnapshot, wanted: str) -> int:
    ids = [entry.id for entry in opened.entries]
    if wanted in ids:
        return ids.index(wanted)
    near = difflib.get_close_matches(wanted, ids, 1)
    hint = f"did you mean '{near[0]}'?" if near else "authz snapshot search FILE TEXT finds entries by what they say"
    raise InputError(f"ENTRY: found '{shorten(wanted)}', expected the id of one of {len(ids):,} entries", hint=hint)


def _about(file: Path, opened: OpenedSnapshot) -> dict[str, Any]:
    return {"file": str(file), "serial": opened.serial, "created": format_moment(opened.created)}


def _with_origins(networks: Sequence[Network], subjects: Sequence[str], policy: Path | None) -> list[dict[str, Any]]:
    """Return the networks, each with the lines of feeds that it came from if there is a policy."""
    if policy is None:
        return [{"network": str(network)} for network in networks]
    from authz.publisher.policy.origin import SourceFeeds

    feeds = SourceFeeds(
        policy, {subject.removeprefix("source ") for subject in subjects if subject.startswith("source ")}
    )
    return [
        {"network": str(network), "origins": [{"feed": o.path, "line": o.line} for o in feeds.lines_of(network)]}
        for network in networks
    ]


def _show_networks(title: str, networks: list[dict[str, Any]]) -> None:
    if not networks:
        return
    out.print(f"  {title} ({len(networks):,})")
    for row in networks[:MAX_NETWORKS]:
        lines = ", ".join(f"{origin['feed']}:{origin['line']}" for origin in row.get("origins", ()))
        out.print(visible(f"    {row['network']}{f'  {lines}' if lines else ''}"))
    if len(networks) > MAX_NETWORKS:
        out.print(f"    ... and {len(networks) - MAX_NETWORKS:,} more; --json has all")
