"""What `authz check-config` finds in a configuration that is well written: files, ports, and what is granted.

A finding is `wrong` where the sidecar would not start or never decide, `warning` where it grants more than one might
think, and `note` for what is good to know. Files are read and ports tried; nothing is changed.
"""

from __future__ import annotations

import errno
import socket
import stat
import time
from collections import Counter
from pathlib import Path
from typing import TYPE_CHECKING, Final, Literal, NamedTuple

from authz.addresses import parse_address
from authz.engine.entries.opened_snapshot import OpenedSnapshot
from authz.engine.request.client_address import MAX_ELEMENTS
from authz.errors import SnapshotRefused, StartError
from authz.serve.admin.token import read_token
from authz.serve.config.config import MAX_CACHE
from authz.serve.config.own_files import files_read
from authz.serve.listeners.bind import NOT_A_SOCKET, bind_problem
from authz.serve.listeners.tls.clients import read_clients
from authz.serve.listeners.tls.context import make_context
from authz.serve.listeners.tls.pairs import concerns
from authz.snapshot.read import read_snapshot
from authz.times import format_duration

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping, Sequence

    from authz.engine.model import Application
    from authz.serve.config.config import Config
    from authz.serve.config.values import Listen
    from authz.serve.layers.config import LayerConfig
    from authz.snapshot.signing.keys import PublicKey

WIDE: Final = {4: 8, 6: 16}  # prefix bits; networks of trusted proxies that are wider are asked about


class Finding(NamedTuple):
    """One thing that was found.

    Attributes:
        key: Of the configuration.
    """

    level: Literal["wrong", "warning", "note"]
    key: str
    text: str


def check_keys(layer: LayerConfig, where: str, keys: Sequence[PublicKey]) -> Iterator[Finding]:
    """Yield what is wrong with the keys of a layer: the same twice, or too few for the threshold."""
    different = {key.keyid for key in keys}
    for keyid, times in Counter(key.keyid for key in keys).items():
        if times > 1:
            yield Finding("warning", f"{where}.trusted_keys", f"found the key {keyid} {times} times: it counts once")
    if len(different) < layer.threshold:
        text = f"found {layer.threshold}, expected at most {len(different)}, the number of different trusted_keys"
        yield Finding("wrong", f"{where}.threshold", text)


def check_file(layer: LayerConfig, where: str, path: Path, keys: Sequence[PublicKey]) -> tuple[
    list[Finding], tuple[Application, ...]
]:  # fmt: skip
    """Return what is wrong with the snapshot of a layer, and its applications."""
    if not path.exists():
        missing = layer.when_missing or "deny"
        if layer.url is not None:
            text = f"no file of it was loaded here yet; until there is one, when_missing applies: {missing}"
            return [Finding("warning", f"{where}.url", text)], ()
        text = f"{path}: found no file; until there is one, when_missing applies: {missing}"
        return [Finding("warning", f"{where}.path", text)], ()
    try:
        snapshot = read_snapshot(path, keys, layer.threshold, now=time.time(), most=layer.max_size, layer=layer.name)
        opened = OpenedSnapshot(snapshot)
    except SnapshotRefused as error:
        text = f"{path}: the sidecar would refuse it: {error.code}: {error.message}"
        return [Finding("wrong", f"{where}.path", text)], ()
    age = time.time() - opened.created
    findings = []
    if age > layer.max_age:
        most = f"max_age, {layer.max_age / 3600:.1f} hours"
        text = f"{path}: found a file made {age / 3600:.1f} hours ago, expected at most {most}: it is stale"
        text += f", and when_stale applies: {layer.when_stale}"
        findings.append(Finding("warning", f"{where}.path", text))
    return findings, opened.applications


def check_listeners(config: Config) -> Iterator[Finding]:
    """Yield what is wrong with the places to listen: in use, absent, or open to more than one may think."""
    for front in ("grpc", "http", "admin"):
        settings = getattr(config, front)
        listen: Listen = settings.listen
        key = f"{front}.listen"
        if listen.path is not None:
            if not listen.path.parent.is_dir():
                yield Finding("wrong", key, f"{listen.path.parent}: no such folder")
            elif listen.path.exists() and not listen.path.is_socket():
                yield Finding("wrong", key, f"{listen.path}: {NOT_A_SOCKET}")
            if settings.unix_mode & stat.S_IWOTH:
                text = f"found {settings.unix_mode:o}: every user of this machine can ask"
                yield Finding("warning", f"{front}.unix_mode", text)
        elif listen.host is not None:
            problem = _bind_problem(listen)
            if problem:
                yield Finding("warning", key, f"{listen}: {problem}")
            if not _is_loopback(listen.host):
                yield from _open_to_others(config, front, key, listen)


def _open_to_others(config: Config, front: str, key: str, listen: Listen) -> Iterator[Finding]:
    if front == "admin":
        text = f"{listen} is not loopback: whoever reaches it can read entries, reasons and decisions"
    elif front == "grpc" and config.grpc.tls and config.grpc.tls.client_ca:
        return
    else:
        text = f"{listen} is not loopback: whoever reaches it can ask, and name any client if client_address trusts it"
    yield Finding("warning", key, text)


def _bind_problem(listen: Listen) -> str:
    """Return why nobody could listen there now; "" where one could."""
    if listen.port == 0:
        return ""
    family = socket.AF_INET6 if ":" in (listen.host or "") else socket.AF_INET
    with socket.socket(family) as probe:
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            probe.bind((listen.host, listen.port))
        except OSError as error:
            problem, hint = bind_problem(error)
            hint = "perhaps the sidecar already runs" if error.errno == errno.EADDRINUSE else hint
            return f"{problem}: {hint}" if hint else problem
    return ""


def _is_loopback(host: str) -> bool:
    return host == "::1" or host.startswith("127.")


def check_files(config: Config) -> Iterator[Finding]:
    """Yield files that are missing, or cannot be used, and folders where no file can be written."""
    log = config.decision_log.path
    if log not in {"-", "off"} and not Path(log).parent.is_dir():
        yield Finding("wrong", "decision_log.path", f"{Path(log).parent}: no such folder")
    state = "state" if config.snapshot is None else "snapshot.state"
    for key, path in (("decision_log.path", Path(log)), (state, config.state_file)):
        if path.is_dir():
            yield Finding("wrong", key, f"{path}: found a folder, expected a file")
    for key, name in files_read(config):
        elsewhere = key.endswith((".path", ".trusted_keys", "_files"))
        if not elsewhere and not Path(name).is_file():
            yield Finding("wrong", key, f"{name}: no such file")
    yield from _about_secrets(config)


def _about_secrets(config: Config) -> Iterator[Finding]:
    """Yield certificates, keys and tokens that would stop the sidecar when it starts, or serve it badly."""
    yield from (Finding("warning", key, text) for key, text in concerns(files_read(config), time.time()))
    for front, protocol in (("grpc", "h2"), ("http", "http/1.1")):
        tls = getattr(config, front).tls
        if tls is not None and all(Path(name).is_file() for name in tls.files().values()):
            try:
                make_context(tls, [protocol], f"{front}.tls")
                if getattr(getattr(config, front), "engine", "native") != "grpcio":  # which has rules of its own
                    read_clients(tls, f"{front}.tls", time.time())
            except StartError as error:
                yield Finding("wrong", f"{front}.tls", str(error).removeprefix(f"{front}.tls: "))
    token = config.admin.token_file
    if token is not None and Path(token).is_file():
        try:
            read_token(token)
        except StartError as error:
            yield Finding("wrong", "admin.token_file", str(error).removeprefix("admin.token_file: "))


def check_limits(config: Config) -> Iterator[Finding]:
    """Yield limits under which requests of ordinary clients are denied, or a ban does not hold."""
    for key, limit, least, what in (
        ("http.max_header", config.http.max_header, 4096, "a request with longer headers is denied"),
        ("grpc.max_message", config.grpc.max_message, 61440, "Envoy's larger requests are denied"),
        ("http.header_timeout", config.http.header_timeout, 1.0, "a request that takes longer is not answered"),
    ):
        if limit < least:
            yield Finding("warning", key, f"found {limit:g}, expected at least {least:g}: {what}")
    if (config.client_address.trusted_hops or 0) > MAX_ELEMENTS:
        text = f"found {config.client_address.trusted_hops}, expected at most {MAX_ELEMENTS}: every request is denied"
        yield Finding("wrong", "client_address.trusted_hops", text)
    if config.http.cache > MAX_CACHE:
        period, most = format_duration(config.http.cache), format_duration(MAX_CACHE)
        text = f"found {period}, expected at most {most}: a new ban does not hold before"
        yield Finding("warning", "http.cache", text)


def check_layers(config: Config, keys: Mapping[str, Sequence[str]]) -> Iterator[Finding]:
    """Yield what a later layer may do that one might not think.

    Args:
        config: The configuration.
        keys: Of each layer, by its name, the ids of the keys that it trusts.
    """
    policy = config.policy.name
    for number, layer in list(enumerate(config.layers_in_order()))[1:]:
        shared = sorted({*keys[layer.name]} & {*keys[policy]})
        if shared:
            text = f"found {shared[0]}, which '{policy}' trusts too: whoever signs this layer can sign the policy"
            yield Finding("warning", f"layers[{number}].trusted_keys", text)
        if layer.may is not None and "allow" in layer.may.lists:
            text = "allow: whoever signs this layer can let anybody in"
            yield Finding("warning", f"layers[{number}].may.lists", text)


def check_grants(config: Config) -> Iterator[Finding]:
    """Yield what is granted to more than one may think."""
    client = config.client_address
    for network in (network for proxy in client.trusted_proxies for network in proxy):
        if network.length == 0:
            text = f"{network}: everybody can name any client: expected only the networks of your proxies"
            yield Finding("wrong", "client_address.trusted_proxies", text)
        elif network.length < WIDE[network.version]:
            text = (
                f"{network}: expected /{WIDE[network.version]} or longer: whoever connects from it can name any client"
            )
            yield Finding("warning", "client_address.trusted_proxies", text)
    if client.missing == "peer":
        text = "peer: without a forwarding header a trusted proxy itself is the client, and may be on an allow list"
        yield Finding("warning", "client_address.missing", text)
    if client.trusted_hops:
        text = f"{client.trusted_hops}: every peer can name any client: let only your proxies reach the fronts"
        yield Finding("warning", "client_address.trusted_hops", text)
    if config.application.http == "header" and config.http.listen.host:
        text = f"header: a client can choose its application, unless the proxy always sets {config.application.header}"
        yield Finding("warning", "application.http", text)
    for key in ("when_missing", "when_stale"):
        if getattr(config.policy, key) == "allow":
            text = f"allow: every request is allowed while the snapshot is {key.removeprefix('when_')}"
            yield Finding("warning", f"{config.policy.name}.{key}", text)
    yield from _about_nobody_trusted(config)
    yield from _about_envoy(config)


def _about_nobody_trusted(config: Config) -> Iterator[Finding]:
    client = config.client_address
    if config.http.listen.host is not None and not client.trusted_hops and not client.trusted_proxies:
        yield Finding(
            "warning",
            "client_address.trusted_proxies",
            f"nobody is trusted: a proxy that asks at {config.http.listen} (http.listen) is taken for the client of "
            "all its requests, and no list holds for anybody behind it. Name it; if only Envoy asks, by gRPC, set "
            "http.listen: off",
        )


def _about_envoy(config: Config) -> Iterator[Finding]:
    client = config.client_address
    on = config.grpc.listen.host is not None or config.grpc.listen.path is not None
    trusted = client.rules().trusted_proxies
    if on and client.header == "x-forwarded-for" and any(parse_address(a) in trusted for a in ("127.0.0.1", "::1")):
        yield Finding(
            "note",
            "client_address.trusted_proxies",
            "loopback is trusted: for peers on its own machine, Envoy with use_remote_address appends its own address "
            "to X-Forwarded-For, which would be the client: set skip_xff_append, or use `authz print-config envoy`",
        )


def check_applications(config: Config, applications: Sequence[Application]) -> Iterator[Finding]:
    """Yield what the applications of the policy grant."""
    for application in applications:
        if application.dry_run:
            yield Finding("warning", f"application {application.name}", "dry_run: every request is allowed")
        elif application.mode in {"off", "monitoring"} and not application.denylist_in_monitoring:
            text = f"mode {application.mode}, denylist_in_monitoring false: entries of the deny list deny nobody"
            yield Finding("warning", f"application {application.name}", text)
    if len(applications) > 1 and config.application.unknown == "default" and applications[0].default == "allow":
        text = 'default: an application that the policy does not name gets the settings of "*", whose default is allow'
        yield Finding("note", "application.unknown", text)
