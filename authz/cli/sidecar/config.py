"""`authz check-config` and `authz print-config`: the sidecar's configuration, and the proxy's to match."""

from __future__ import annotations

import os
import re
import shutil
import subprocess
import sys
import time
from enum import StrEnum
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from authz.cli.common.output import print_json, visible

if TYPE_CHECKING:
    from collections.abc import Sequence

    from authz.cli.sidecar.config_check import Finding
    from authz.engine.model import Application
    from authz.serve.config.config import Config
    from authz.snapshot.signing.keys import PublicKey


class Proxy(StrEnum):
    """The proxies that a configuration can be printed for."""

    ENVOY = "envoy"
    NGINX = "nginx"
    TRAEFIK = "traefik"
    CADDY = "caddy"
    HAPROXY = "haproxy"
    APACHE = "apache"


def register(app: typer.Typer) -> None:
    """Add the commands to the application."""
    app.command(name="check-config", epilog="Example: authz check-config authz.yaml")(check_config)
    app.command(name="print-config", epilog="Example: authz print-config envoy --config authz.yaml")(print_config)


def check_config(
    file: Annotated[Path | None, typer.Argument(metavar="FILE", help="The configuration of the sidecar.")] = None,
    option: Annotated[Path | None, typer.Option("--config", help="The same, as other commands take it.")] = None,
    json: Annotated[bool, typer.Option("--json", help="Print JSON.")] = False,
) -> None:
    """Check a configuration with its keys, certificates, snapshots, ports and folders. Print all errors at once.

    Exit status 1 if the sidecar could not serve with it.
    """
    from authz.cli.sidecar import config_check as check
    from authz.errors import InputError
    from authz.serve.config.config import load_config

    config = file or option
    if config is None or (file and option):
        given = "found FILE and --config" if config else "found no file"
        raise InputError(f"{given}, expected one", hint="for example: authz check-config authz.yaml")
    checked = load_config(config, os.environ)
    findings = [*check.check_grants(checked), *check.check_listeners(checked), *check.check_files(checked)]
    findings += check.check_limits(checked)
    trusted: list[str] = []
    by_layer: dict[str, list[str]] = {}
    applications: tuple[Application, ...] = ()
    for number, layer in enumerate(checked.layers_in_order()):
        where = "snapshot" if checked.snapshot is not None else f"layers[{number}]"
        keys = _public_keys(layer.trusted_keys)
        trusted += [key.keyid for key in keys if key.keyid not in trusted]
        by_layer[layer.name] = [key.keyid for key in keys]
        findings += check.check_keys(layer, where, keys)
        path = checked.policy_file if number == 0 else Path(layer.path) if layer.path else None
        if path is not None:
            of_file, in_file = check.check_file(layer, where, path, keys)
            findings += of_file
            applications = applications or in_file
    findings += [*check.check_layers(checked, by_layer), *check.check_applications(checked, applications)]
    good = not any(finding.level == "wrong" for finding in findings)
    listens = {name: str(getattr(checked, name).listen) for name in ("grpc", "http", "admin")}
    names = {application.name: list(application.hosts) for application in applications}
    if json:
        content = {"good": good, "trusted_keys": trusted, "listen": listens, "applications": names}
        print_json({**content, "findings": [finding._asdict() for finding in findings]})
    else:
        _show(config, good, listens, by_layer, applications, findings)
    if not good:
        sys.exit(1)


def _public_keys(paths: Sequence[str]) -> list[PublicKey]:
    """Return the keys. Raises InputError with every mistake."""
    from authz.errors import InputError
    from authz.snapshot.signing.keys import load_public_key

    keys, problems = [], []
    for path in paths:
        try:
            keys.append(load_public_key(Path(path)))
        except InputError as error:
            problems.append(error)
    if problems:
        hint = "; ".join(dict.fromkeys(error.hint for error in problems if error.hint))
        raise InputError("\n".join(error.message for error in problems), hint=hint)
    return keys


def _show(
    config: Path, good: bool, listens: dict[str, str], trusted: dict[str, list[str]],
    applications: Sequence[Application], findings: Sequence[Finding],
) -> None:  # fmt: skip
    typer.echo(f"{'good' if good else 'wrong'}: {config}")
    for name, listen in listens.items():
        typer.echo(f"  {name} {'' if listen == 'off' else 'on '}{listen}")
    for layer, keys in trusted.items():
        for key in keys:
            typer.echo(f"  {f'layer {layer} ' * (len(trusted) > 1)}trusts key {key}")
    for application in applications:
        hosts = f", hosts {' '.join(application.hosts)}" if application.hosts else ""
        typer.echo(f"  application {application.name}: mode {application.mode}, default {application.default}{hosts}")
    for finding in findings:
        typer.echo(visible(f"{finding.level}: {finding.key}: {finding.text}"))


def print_config(
    proxy: Annotated[Proxy, typer.Argument(help="The proxy.")],
    config: Annotated[Path, typer.Option("--config", help="The configuration of the sidecar.")],
    policy: Annotated[
        Path | None, typer.Option(help="The policy: its applications, hosts and deny answers are printed.")
    ] = None,
    snapshot: Annotated[
        Path | None,
        typer.Option(help="A snapshot, instead of a policy. Default: that of the configuration, if it exists."),
    ] = None,
    part: Annotated[str, typer.Option(help="The file to print, for a proxy that needs several.")] = "main",
    cache: Annotated[
        str, typer.Option(help="nginx: cache answers for this period, such as 1s; http.cache must be equal.")
    ] = "",
    ca: Annotated[
        Path | None,
        typer.Option(help="Envoy, nginx: the CA of the sidecar's certificates. Default: trust the present one."),
    ] = None,
) -> None:
    """Print a configuration for the proxy that uses this sidecar, ready to be adapted."""
    from authz.cli.sidecar.proxy_config import parts_of, render, warnings_of
    from authz.errors import InputError
    from authz.serve.config.config import load_config

    if policy is not None and snapshot is not None:
        raise InputError("--policy: found beside --snapshot, expected one of the two")
    if part not in parts_of(proxy.value):
        raise InputError(
            f"--part: found '{part}', expected one of {', '.join(parts_of(proxy.value))} for {proxy.value}"
        )
    sidecar = load_config(config, os.environ)
    if cache:
        sidecar = _with_cache(sidecar, proxy, cache)
    authority = None if ca is None else str(ca.absolute())
    typer.echo(render(proxy.value, sidecar, _applications(sidecar, policy, snapshot), part, authority), nl=False)
    for warning in warnings_of(proxy.value, sidecar, authority):
        typer.echo(f"authz: warning: {warning}", err=True)
    if proxy is Proxy.ENVOY:
        _warn_of_old_envoy()


def _with_cache(sidecar: Config, proxy: Proxy, cache: str) -> Config:
    """Return the configuration with `http.cache`. Raises InputError if the proxy keeps no answers."""
    from msgspec.structs import replace

    from authz.errors import BadValue, InputError
    from authz.times import DURATION_EXPECTED, format_duration, parse_duration

    if proxy is not Proxy.NGINX:
        raise InputError(f"--cache: found with {proxy.value}, expected it with nginx, the only proxy that caches")
    try:
        seconds = parse_duration(cache)
    except BadValue as error:
        raise InputError(f"--cache: found '{cache[:40]}', expected {DURATION_EXPECTED}") from error
    own = sidecar.http.cache
    if own not in {0.0, seconds}:  # nginx keeps an answer for as long as the sidecar says, whatever this page says
        raise InputError(
            f"--cache: found {cache}, expected {format_duration(own)}, which http.cache in the configuration has",
            hint="leave --cache out, or change http.cache",
        )
    if own != seconds:
        typer.echo(f"authz: note: set http.cache: {cache} in authz.yaml, or nginx keeps no answer", err=True)
    return replace(sidecar, http=replace(sidecar.http, cache=seconds))


def _applications(config: Config, policy: Path | None, snapshot: Path | None) -> tuple[Application, ...] | None:
    """Return the applications of a policy or of a snapshot; None if there is neither."""
    if policy is not None:
        from authz.publisher.policy.read import read_applications

        return read_applications(policy)
    return snapshot_applications(config, snapshot)


def snapshot_applications(config: Config, snapshot: Path | None) -> tuple[Application, ...] | None:
    """Return the applications of a snapshot; None if none is named and that of the configuration is absent.

    Raises InputError and SnapshotRefused.
    """
    from authz.engine.entries.manifest import applications_of
    from authz.errors import SnapshotRefused
    from authz.snapshot.read import read_snapshot
    from authz.snapshot.signing.keys import load_public_key

    path = snapshot or config.policy_file
    if snapshot is None and not path.exists():
        return None
    keys = [load_public_key(Path(key)) for key in config.policy.trusted_keys]
    try:
        return applications_of(read_snapshot(path, keys, config.policy.threshold, now=time.time()).manifest)
    except SnapshotRefused as error:
        raise error.copy(path) from error


def _warn_of_old_envoy() -> None:
    """Say so where the Envoy of this machine is too old for what is printed."""
    from authz.cli.sidecar.proxy_config.envoy import OLDEST_ENVOY

    envoy = shutil.which("envoy")
    if envoy is None:
        return
    done = subprocess.run([envoy, "--version"], capture_output=True, text=True, timeout=10, check=False)  # noqa: S603  # of PATH
    match = re.search(r"/(\d+)\.(\d+)\.\d+/", done.stdout)
    if match and (int(match[1]), int(match[2])) < OLDEST_ENVOY:
        expected = ".".join(map(str, OLDEST_ENVOY))
        typer.echo(f"warning: {envoy}: found Envoy {match[1]}.{match[2]}, expected {expected} or newer: an older one "
                   "takes 'cannot decide' for a denial", err=True)  # fmt: skip
