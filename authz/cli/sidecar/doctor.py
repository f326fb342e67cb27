"""`authz doctor`: a few requests through the real proxy, what the sidecar saw of each, and what that means."""

from __future__ import annotations

import os
import secrets
import sys
import time
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any
from urllib.parse import urlsplit

import orjson
import typer

from authz.cli.common.ask_admin import get_admin
from authz.cli.common.output import out, print_json, visible

if TYPE_CHECKING:
    from authz.analysis.doctor import Finding, Probe
    from authz.engine.model import Application
    from authz.serve.config.config import Config

_TIMEOUT = 5.0  # seconds for the proxy to answer
_LATE = 2.0  # seconds for a decision to show


def register(app: typer.Typer) -> None:
    """Add the command to the application."""
    example = "authz doctor --config authz.yaml --proxy http://127.0.0.1:8080"
    app.command(epilog=f"Example: {example}")(doctor)


def doctor(
    config: Annotated[Path, typer.Option("--config", help="The configuration of the running sidecar.")],
    proxy: Annotated[str, typer.Option(metavar="URL", help="The proxy's URL for clients: http://HOST:PORT")],
    json: Annotated[bool, typer.Option("--json", help="Print JSON.")] = False,
) -> None:
    """Send requests through the proxy and show what the sidecar saw: client, application, reason.

    Exit status 1 if something is wrong.
    """
    from authz.analysis.doctor import Finding, judge
    from authz.cli.sidecar.config import snapshot_applications
    from authz.serve.config.config import load_config
    from authz.serve.config.own_files import files_read
    from authz.serve.listeners.tls.pairs import concerns

    checked = load_config(config, os.environ)
    probes = _send(checked, proxy, snapshot_applications(checked, None))
    findings = judge(probes, checked.client_address.rules().trusted_proxies)
    findings += [Finding(False, f"{key}: {text}") for key, text in concerns(files_read(checked), time.time())]
    if json:
        print_json({"requests": [probe._asdict() for probe in probes], "findings": [f._asdict() for f in findings]})
    else:
        _show(probes, findings)
    sys.exit(1 if any(finding.bad for finding in findings) else 0)


def _send(config: Config, proxy: str, applications: tuple[Application, ...] | None) -> list[Probe]:
    """Send the requests, and return them with what the sidecar saw. Raises InputError."""
    from authz.analysis.doctor import FORGED, Probe
    from authz.errors import InputError

    url = urlsplit(proxy)
    if url.scheme not in {"http", "https"} or not url.hostname:
        raise InputError(f"--proxy: found '{proxy[:80]}', expected a URL such as http://127.0.0.1:8080")
    _decisions(config)  # from now on they are kept
    mark = f"authz-doctor-{secrets.token_hex(8)}"
    wanted: list[tuple[str, str, str, str | None, str | None]] = [
        ("plain", "", "", None, None),
        ("forwarded", "", "", FORGED, None),
    ]
    for application in (applications or ())[1:]:
        host = application.hosts[0] if application.hosts else ""
        path = "" if host else f"/{application.name}"
        wanted.append((f"application {application.name}", path, host, FORGED, application.name))
    sent = []
    for number, (name, prefix, host, forwarded, application_name) in enumerate(wanted):
        path = f"{prefix}/{mark}-{number}"
        status, source = _request(proxy, path, host, forwarded)
        sent.append(Probe(name, path, host, forwarded, application_name, status, source, None))
    seen = _seen(config, mark, len(sent))
    return [probe._replace(seen=seen.get(probe.path)) for probe in sent]


def _seen(config: Config, mark: str, count: int) -> dict[str, dict[str, Any]]:
    """Return the decisions about our requests by path, once all are there or it is late."""
    by_path: dict[str, dict[str, Any]] = {}
    end = time.monotonic() + _LATE
    while len(by_path) < count and time.monotonic() < end:
        by_path |= {decision["path"]: decision for decision in _decisions(config) if mark in decision["path"]}
        time.sleep(0.05)
    return by_path


def _decisions(config: Config) -> list[dict[str, Any]]:
    from authz.errors import InputError

    status, body = get_admin(config.admin, "/decisions")
    if status != 200:
        raise InputError(f"admin.listen: {config.admin.listen}: found {status} for /decisions, expected 200")
    decisions: list[dict[str, Any]] = orjson.loads(body)["decisions"]
    return decisions


def _request(proxy: str, path: str, host: str, forwarded: str | None) -> tuple[int | None, str]:
    """Ask the proxy. Returns its status, None if it did not answer, and the address that we ask from."""
    import http.client

    url = urlsplit(proxy)
    kind = http.client.HTTPSConnection if url.scheme == "https" else http.client.HTTPConnection
    connection = kind(url.hostname or "", url.port, timeout=_TIMEOUT)
    headers = {"User-Agent": "authz-doctor"} | ({"Host": host} if host else {})
    if forwarded:
        headers["X-Forwarded-For"] = forwarded
    source = ""
    try:
        connection.connect()
        source = str(connection.sock.getsockname()[0])
        connection.request("GET", path, headers=headers)
        return connection.getresponse().status, source
    except (OSError, http.client.HTTPException):
        return None, source
    finally:
        connection.close()


def _show(probes: list[Probe], findings: list[Finding]) -> None:
    for probe in probes:
        asked = f"{probe.name}: GET {probe.path.partition('/authz-doctor')[0] or '/'}"
        asked += f" host {probe.host}" if probe.host else ""
        asked += f" from {probe.forwarded}, it says" if probe.forwarded else ""
        out.print(visible(f"{asked} -> {probe.status or 'no answer'}"), style="bold")
        seen = probe.seen
        if seen is None:
            out.print("  the sidecar was not asked")
        else:
            out.print(visible(
                f"  client {seen['client'] or 'unknown'}, peer {seen['peer']}, application {seen['application']}, "
                f"{seen['decision']}: {seen['reason']}"
            ))  # fmt: skip
    out.print("what that means", style="bold")
    for finding in findings or ():
        out.print(visible(f"  {'wrong: ' if finding.bad else 'note: '}{finding.text}"))
    if not any(finding.bad for finding in findings):
        out.print("  nothing is wrong")
