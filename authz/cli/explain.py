"""`authz explain`: why a request is allowed or denied, step by step."""

from __future__ import annotations

import time
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, NamedTuple

import orjson
import typer

from authz.cli.common.ask_admin import get_admin
from authz.cli.common.failure import fail
from authz.cli.common.open_decider import AsOf, SnapshotFile, open_decider, parse_past, parse_time
from authz.cli.common.output import out, print_json, table, visible
from authz.cli.control import explaining
from authz.cli.control.common import client
from authz.errors import AddressError, InputError, SnapshotRefused

if TYPE_CHECKING:
    from authz.addresses import Address


class _Question(NamedTuple):
    """What is asked: as the options say."""

    client: Address
    peer: str | None
    headers: list[tuple[str, str]]
    application: str | None
    metadata: list[str]
    at: str | None


def register(app: typer.Typer) -> None:
    """Add the command to the application."""
    app.command(epilog="Example: authz explain 203.0.113.9 --application shop --peer 10.0.0.1 --config authz.yaml")(
        explain
    )


def explain(
    address: Annotated[str, typer.Argument(metavar="ADDRESS", help="The client's address.")],
    config: Annotated[Path | None, typer.Option("--config", help="The configuration of the sidecar.")] = None,
    snapshot: SnapshotFile = None,
    application: Annotated[str | None, typer.Option(help="The application, as the proxy names it.")] = None,
    peer: Annotated[
        str | None, typer.Option(help="The address that connects to the proxy, or unix:. Default: ADDRESS.")
    ] = None,
    header: Annotated[
        list[str] | None,
        typer.Option(help="A header, 'Name: value'; may be repeated. Default with --peer: ADDRESS as forwarded."),
    ] = None,
    metadata: Annotated[
        list[str] | None,
        typer.Option(metavar="NAMESPACE:KEY=VALUE", help="A value of Envoy's metadata; may be repeated."),
    ] = None,
    at: Annotated[str | None, typer.Option(metavar="TIME", help="The time of the decision. Default: now.")] = None,
    as_of: Annotated[
        str | None, typer.Option("--as-of", metavar="TIME", help="Decide with the build that was used at this time.")
    ] = None,
    archive: Annotated[
        Path | None,
        typer.Option(metavar="DIR", help="The folder of kept builds. Default: archive, beside the snapshot."),
    ] = None,
    policy: Annotated[
        Path | None, typer.Option(help="The policy; with it, the feed and line of each network are shown.")
    ] = None,
    live: Annotated[bool, typer.Option("--live", help="Ask the running sidecar instead of reading a file.")] = False,
    json: Annotated[bool, typer.Option("--json", help="Print JSON.")] = False,
) -> None:
    """Show the client, each entry that covers the address, and the decision.

    Without --config, if AUTHZ_CONTROL_URL is set, the control plane answers, with author and reason of each entry.
    """
    if config is None:
        if not client.is_configured():
            raise InputError("--config: missing, expected the configuration of the sidecar",
                             hint=f"or set {client.URL}, and a control plane is asked")  # fmt: skip
        explaining.explain(address, application=application, at=as_of or at, json=json)
        return
    files = {"--live": live, "--snapshot": snapshot is not None, "--as-of": as_of is not None}
    if sum(files.values()) > 1:
        raise InputError(f"found {' and '.join(name for name, given in files.items() if given)}, expected one of them")
    headers = [_header(text) for text in header or ()]
    question = _Question(_client(address), peer, headers, application, metadata or [], at)
    past = None if as_of is None else AsOf(parse_past(as_of, "--as-of"), archive)
    content = _ask(config, question) if live else _explain_file(config, snapshot, question, past)
    if policy is not None:
        _add_origins(content, policy)
    _add_note(content, question.client)
    if json:
        print_json(content)
    else:
        _show(content)


def _client(text: str) -> Address:
    from authz.addresses import parse_address

    try:
        return parse_address(text)
    except AddressError as error:
        hint = "for a network: authz snapshot search FILE NETWORK" if "/" in text else error.hint
        raise InputError(f"ADDRESS: {error.message}", hint=hint) from None


def _add_note(content: dict[str, Any], asked: Address) -> None:
    """Say so if the decision is about another client than was asked for."""
    seen = content["decision"]["client"]
    if seen not in {None, asked.text}:
        content["note"] = f"the client is {seen}, not {asked.text}"


def _add_origins(content: dict[str, Any], policy: Path) -> None:
    """Say for each covering entry which lines of which feeds cover the address."""
    from authz.addresses import network_of, parse_address, parse_network
    from authz.publisher.policy.origin import SourceFeeds

    for step in content["covering"]:
        sources = {subject.removeprefix("source ") for subject in step["subjects"] if subject.startswith("source ")}
        network = parse_network(step["network"])
        client = parse_address(content["decision"]["client"])  # there is one, for something covers it
        inside = client.version == network.version and network_of(client, network.length) == network
        address = client if inside else parse_address(step["network"].partition("/")[0])
        origins = SourceFeeds(policy, sources).covering(address)
        step["origins"] = [{"feed": o.path, "line": o.line, "network": str(o.network)} for o in origins]


def _header(text: str) -> tuple[str, str]:
    name, colon, value = text.partition(":")
    if not colon or not name.strip():
        raise InputError(f"--header: found '{text[:64]}', expected 'Name: value'")
    return name.strip(), value.strip()


def _explain_file(config: Path, snapshot: Path | None, asked: _Question, past: AsOf | None) -> dict[str, Any]:
    from authz.engine.decision.explain import explain as explain_request
    from authz.engine.request.request import WrittenReader, parse_metadata

    try:
        _, decider = open_decider(config, snapshot, past)
    except SnapshotRefused as error:
        fail(error, status=1)
    reader = WrittenReader(decider.settings)
    metadata = parse_metadata(asked.metadata)
    request = reader.read_from_client(asked.client, asked.peer, asked.headers, asked.application, metadata)
    now = past.moment if past else time.time()
    return explain_request(decider, request, now if asked.at is None else parse_time(asked.at, "--at"))


def _ask(config: Path, asked: _Question) -> dict[str, Any]:
    """Ask the admin listener of the configuration."""
    import os
    from urllib.parse import urlencode

    from authz.serve.config.config import load_config

    admin = load_config(config, os.environ).admin
    query = [("address", asked.client.text), *(("header", f"{name}: {value}") for name, value in asked.headers)]
    query += [("metadata", text) for text in asked.metadata]
    rest = ("peer", asked.peer), ("application", asked.application), ("at", asked.at)
    query += [(name, value) for name, value in rest if value]
    status, body = get_admin(admin, f"/explain?{urlencode(query)}")
    content: dict[str, Any] = orjson.loads(body)
    if status != 200:
        raise InputError(f"{admin.listen}: {content.get('error', status)}")
    return content


def _show(content: dict[str, Any]) -> None:
    decision = content["decision"]
    _show_layers(content["layers"])
    out.print("who is the client", style="bold")
    for step in content["walk"]:
        out.print(visible(f"  {step['element'] or '(nothing)'}: {step['verdict']}"))
    _show_application(content)
    out.print("entries that cover it", style="bold")
    for covering in content["covering"]:
        _show_covering(covering)
    if not content["covering"]:
        out.print("  none")
    if "note" in content:
        out.print(f"note: {content['note']}")
    colour = "green" if decision["decision"] == "allow" else "red"
    table(
        decision["decision"], [(name.replace("_", " "), _said(value)) for name, value in decision.items()], style=colour
    )


def _show_layers(layers: list[dict[str, Any]]) -> None:
    out.print("the layers", style="bold")
    for layer in layers:
        where = "missing" if layer["serial"] is None else f"serial {layer['serial']}, made {layer['created']}"
        lapse = "" if layer["lapse"] is None else f"  {layer['lapse']}"
        out.print(visible(f"  {layer['layer']}: {where}{lapse}"))


def _show_application(content: dict[str, Any]) -> None:
    if content["application"] is None:
        return
    out.print("the application", style="bold")
    if content["unknown_application"] is not None:
        known = ", ".join(name for name in content["applications"] if name != "*") or "none"
        out.print(visible(f"  unknown: {content['unknown_application']}; the policy has {known}"))
    settings = ", ".join(f"{name.replace('_', ' ')} {_said(value)}" for name, value in content["application"].items())
    out.print(f"  {settings}")


def _show_covering(covering: dict[str, Any]) -> None:
    names = ", ".join(covering["applications"]) or "all applications"
    by = f"  {covering['reason']}  {covering['author']}".rstrip()
    layer = "" if covering["layer"] == "policy" else f" in {covering['layer']}"
    what = f"{covering['entry']}{layer}: {covering['list']} {covering['network']}"
    out.print(visible(f"  {what}, {names}, {covering['window']}{by}"))
    if covering["subjects"]:
        out.print(visible(f"    names {', '.join(covering['subjects'])}"))
    for origin in covering.get("origins", ()):
        out.print(visible(f"    {origin['feed']}:{origin['line']}: {origin['network']}"))
    out.print(f"    {covering['verdict']}")


def _said(value: object) -> str:
    """Return a value of JSON for people."""
    if isinstance(value, bool):
        return "yes" if value else "no"
    if isinstance(value, list):
        return ", ".join(map(str, value)) or "none"
    return "none" if value is None else str(value)
