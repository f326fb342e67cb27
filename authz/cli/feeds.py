"""`authz feeds`: fetching the feeds of a policy, and the well-known ones by name."""

from __future__ import annotations

import time
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from authz.cli.common.output import block, count, out, print_json, visible
from authz.errors import InputError, shorten
from authz.times import format_moment

if TYPE_CHECKING:
    from authz.publisher.feeds.fetch.fetch import Fetched

app = typer.Typer(name="feeds", help="Fetch feeds of addresses from the web, and read them.", no_args_is_help=True)

MAX_SHOWN = 20  # warnings about lines of one feed

Json = Annotated[bool, typer.Option("--json", help="Print JSON.")]


@app.callback()
def feeds() -> None:
    """Fetch feeds of addresses from the web, and read them."""


@app.command(epilog="Example: authz feeds fetch policy.yaml && authz snapshot build policy.yaml ...")
def fetch(
    policy: Annotated[Path, typer.Argument(metavar="POLICY", help="The policy file.")],
    force: Annotated[bool, typer.Option("--force", help="Fetch even feeds whose copies are still fresh.")] = False,
    json: Json = False,
) -> None:
    """Fetch every feed of a policy that has a `url` or a `preset`, each into its `path`.

    A feed that is broken or has shrunk too much does not replace its last good copy. Exit status 0, or 1 if a feed
    failed.
    """
    from authz.publisher.feeds.fetch.download import make_client
    from authz.publisher.feeds.fetch.fetch import fetch_feeds
    from authz.publisher.policy.fetching import feeds_to_fetch

    wanted = feeds_to_fetch(policy, fresh=not force)
    if not wanted and not json:
        typer.echo(f"authz: warning: {policy}: no feed has a url or a preset", err=True)
    now = time.time()
    results = []
    with make_client() as client:
        for fetched in fetch_feeds(wanted, client, now=now):
            results.append(fetched)
            if not json:
                _show(fetched, policy.parent, now)
    bad = sum(bool(result.problem) for result in results)
    if json:
        print_json({"policy": str(policy), "feeds": [_as_json(result) for result in results]})
    else:
        out.print(f"{count(len(results), 'feed')}{f', {bad} with a problem' if bad else ''}")
    if bad:
        raise typer.Exit(1)


@app.command(epilog="Example: authz feeds presets --json")
def presets(json: Json = False) -> None:
    """Show the feeds that a policy can name by `preset`: content, source and terms of each."""
    from authz.publisher.feeds.fetch.presets import PRESETS

    if json:
        print_json({name: preset._asdict() for name, preset in PRESETS.items()})
        return
    for name, preset in PRESETS.items():
        filters = f", min_count {preset.min_count}" if preset.min_count else ""
        block(f"{name}: gives {preset.source}", [
            preset.url,
            f"format {preset.format}{filters}, at most every {preset.interval // 3600} hours",
            preset.licence,
        ])  # fmt: skip


@app.command(epilog="Example: authz feeds networks feeds/cloudflare.json > cdn.txt")
def networks(
    file: Annotated[Path, typer.Argument(metavar="FILE", help="The feed, in any format that a policy may name.")],
    format_: Annotated[str, typer.Option("--format", metavar="FORMAT", help="As a policy names it.")] = "auto",
    where: Annotated[
        list[str] | None, typer.Option(metavar="COLUMN=VALUE", help="Print only entries that have this value.")
    ] = None,
    json: Json = False,
) -> None:
    """Print the networks of a feed, one per line: for `trusted_proxies_files` of authz.yaml, or for other programs.

    Networks that are reserved for special purposes are left out. Errors in lines are reported on standard error.
    """
    from authz.addresses import parse_network
    from authz.publisher.feeds.read_feed import FeedOptions, read_feed

    feed = read_feed(file, FeedOptions(format_, dict(_column(each) for each in where or ())))
    for skipped in feed.skipped[:MAX_SHOWN]:
        typer.echo(f"authz: warning: {file}, line {skipped.line}: {visible(skipped.why)}", err=True)
    if len(feed.skipped) > MAX_SHOWN:
        typer.echo(f"authz: warning: {file}: and {len(feed.skipped) - MAX_SHOWN} more lines", err=True)
    everything = {4: parse_network("0.0.0.0/0"), 6: parse_network("::/0")}
    texts = [str(each) for version, all_ in everything.items() for each in feed.networks[version].overlapping(all_)]
    if json:
        print_json(texts)
    else:
        for text in texts:
            typer.echo(text)


def _column(text: str) -> tuple[str, str]:
    column, equals, value = text.partition("=")
    if not equals or not column:
        raise InputError(f"--where: found '{shorten(text)}', expected COLUMN=VALUE")
    return column, value


def _show(fetched: Fetched, folder: Path, now: float) -> None:
    path = fetched.path.relative_to(folder) if fetched.path.is_relative_to(folder) else fetched.path
    entries = count(fetched.entries, "entry", "entries")
    age = "" if fetched.changed is None else f", of {format_moment(fetched.changed)}, {_age(now - fetched.changed)} old"
    told = {
        "new": f"new, {entries}",
        "unchanged": f"unchanged, {entries}{age}",
        "fresh": f"fresh, so not asked for, {entries}{age}",
        "kept": f"PROBLEM, the last good copy stays, {entries}{age}: {fetched.problem}",
        "missing": f"PROBLEM, and there is no copy: {fetched.problem}",
    }
    out.print(visible(f"{path}: {told[fetched.outcome]}"))


def _age(seconds: float) -> str:
    hours = max(0, int(seconds)) // 3600
    return f"{hours // 24} days" if hours >= 48 else f"{hours} hours"


def _as_json(fetched: Fetched) -> dict[str, Any]:
    changed = None if fetched.changed is None else format_moment(fetched.changed)
    return {**fetched._asdict(), "path": str(fetched.path), "changed": changed}
