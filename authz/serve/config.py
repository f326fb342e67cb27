"""authz.yaml: the configuration of the sidecar. Every key is described where it is declared.

Paths are relative to the folder of authz.yaml. An environment variable `AUTHZ_SECTION__KEY` takes the place of
`section.key`; its value is YAML: `AUTHZ_GRPC__LISTEN=0.0.0.0:9191`.
"""

from __future__ import annotations

import itertools
import re
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Literal

import msgspec

from authz.addresses import Network, NetworkSet, parse_networks, try_parse_address
from authz.engine.client_address import Rules
from authz.engine.settings import AttackSignal, Settings
from authz.errors import BadValue
from authz.strict_yaml import Document, Scalar, read_file
from authz.times import DURATION_EXPECTED, parse_duration

if TYPE_CHECKING:
    from collections.abc import Mapping

ENVIRONMENT_PREFIX = "AUTHZ_"
MIN_POLL = 0.01  # seconds; below, looking would be all that we do
_HOST_NAME = re.compile(r"[a-z0-9_]([a-z0-9_.-]{0,251}[a-z0-9_])?")
_HEADER = re.compile(r"[a-z0-9][a-z0-9-]{0,63}")


class Listen(msgspec.Struct, frozen=True):
    """Where to listen: a TCP address, or a unix socket, or (both None) nowhere. port 0: the system chooses."""

    host: str | None = None
    port: int = 0
    path: Path | None = None

    def __str__(self) -> str:
        if self.path is not None:
            return f"unix://{self.path}"
        if self.host is None:
            return "off"
        return f"[{self.host}]:{self.port}" if ":" in self.host else f"{self.host}:{self.port}"


def _listen(text: str) -> Listen:
    if text == "off":
        return Listen()
    if text.startswith("unix:"):
        path = text.removeprefix("unix:")
        path = path.removeprefix("//") if path.startswith("//") else path
        if not path or "\0" in path or len(path.encode()) > 100:
            raise BadValue(text, hint="a unix socket's path has 1 to 100 bytes")
        return Listen(path=Path(path))
    host, _, port = text.rpartition(":")
    bracketed = host.startswith("[") and host.endswith("]")
    address = try_parse_address(host[1:-1] if bracketed else host)
    if address is None or bracketed != (":" in host):  # ::1:80 could be an address without a port
        raise BadValue(text)
    if not re.fullmatch(r"[0-9]{1,5}", port) or int(port) > 65535:
        raise BadValue(text)
    return Listen(host=address.text, port=int(port))


def _header(text: str) -> str:
    if not _HEADER.fullmatch(text.lower()):
        raise BadValue(text)
    return text.lower()


def _host(text: str) -> str:
    if not _HOST_NAME.fullmatch(text.lower()):
        raise ValueError
    return text.lower()


def _trusted(text: str) -> tuple[Network, ...]:
    return tuple(parse_networks(text))


def _share(text: str) -> float:
    if not re.fullmatch(r"[0-9](\.[0-9]{1,9})?", text) or float(text) > 1:
        raise BadValue(text)
    return float(text)


def _count(text: str) -> int:
    if not re.fullmatch(r"[1-9][0-9]{0,8}", text):
        raise BadValue(text)
    return int(text)


def _mode(text: str) -> int:
    if not re.fullmatch(r"0?[0-7]{3}", text):
        raise BadValue(text)
    return int(text, 8)


LISTEN_EXPECTED = "ADDRESS:PORT such as 127.0.0.1:9191 or [::1]:9191, unix:///PATH, or off"
ListenOn = Annotated[Listen, Scalar(_listen, LISTEN_EXPECTED)]
Duration = Annotated[float, Scalar(parse_duration, DURATION_EXPECTED)]
HostName = Annotated[str, Scalar(_host, "the name of a host such as authz.example.com, without a port")]
HeaderName = Annotated[str, Scalar(_header, "the name of a header")]
Trusted = Annotated[tuple[Network, ...], Scalar(_trusted, "an address, a network or a range")]
Share = Annotated[float, Scalar(_share, "a share from 0.0 to 1.0")]
Count = Annotated[int, Scalar(_count, "a whole number from 1")]
Rights = Annotated[int, Scalar(_mode, "rights in octal such as 660")]


class SnapshotConfig(msgspec.Struct, frozen=True, kw_only=True):
    """`snapshot`: what is loaded, and whom it must be signed by."""

    path: str  # the snapshot file; replaced while we run
    trusted_keys: tuple[str, ...]  # PEM files of public keys
    threshold: Count = 1  # how many of them must have signed
    max_size: Count = 256 << 20  # bytes; a larger file is refused before it is copied into memory
    state: str = "state/authz.json"  # keeps the highest serial accepted; its folder must be ours to write
    max_age: Duration = 24 * 3600.0  # older than this since it was made: stale
    when_missing: Literal["deny", "allow"] = "deny"  # until the first good snapshot
    when_stale: Literal["keep", "deny", "allow"] = "keep"
    poll: Duration = 10.0  # how often to look, should the system not tell us of a change


class Tls(msgspec.Struct, frozen=True, kw_only=True):
    """`grpc.tls`: PEM files. client_ca: clients must show a certificate of it."""

    certificate: str
    key: str
    client_ca: str | None = None


class GrpcConfig(msgspec.Struct, frozen=True, kw_only=True):
    """`grpc`: the front for Envoy's ext_authz."""

    listen: ListenOn = Listen(host="127.0.0.1", port=9191)
    engine: Literal["auto", "native", "grpcio"] = "auto"  # auto: native where there is no tls
    tls: Tls | None = None  # for the engine grpcio
    unix_mode: Rights = 0o660  # rights of a unix socket
    reuse_port: bool = False  # SO_REUSEPORT: a new process may start before the old one ends


class HttpConfig(msgspec.Struct, frozen=True, kw_only=True):
    """`http`: the front for auth_request and its like."""

    listen: ListenOn = Listen(host="127.0.0.1", port=9192)
    unix_mode: Rights = 0o660
    reuse_port: bool = False
    max_header: Count = 65536  # bytes of request line and headers; more: 431
    idle_timeout: Duration = 75.0  # a connection without a request is closed; longer than the proxy's keep-alive
    header_timeout: Duration = 10.0  # from the first byte of a request to the end of its headers; longer: 408
    max_connections: Count = 4096  # more are closed at once


class AdminConfig(msgspec.Struct, frozen=True, kw_only=True):
    """`admin`: /livez, /readyz, /metrics, /snapshot."""

    listen: ListenOn = Listen(host="127.0.0.1", port=9193)
    unix_mode: Rights = 0o660
    hosts: tuple[HostName, ...] = ()  # names by which it may be asked, beside its addresses and localhost


class ClientAddressConfig(msgspec.Struct, frozen=True, kw_only=True):
    """`client_address`: who is the client. See authz.engine.client_address."""

    trusted_proxies: tuple[Trusted, ...] = ()  # whose headers are believed
    header: HeaderName = "x-forwarded-for"  # or forwarded, or a header with one address
    missing: Literal["deny", "peer"] = "deny"  # a trusted peer without the header
    trust_unix: bool = False  # believe a peer on a unix socket
    trusted_hops: Count | None = None  # instead of trusted_proxies: the Nth element from the right is the client

    def rules(self) -> Rules:
        """Return these settings as the walk takes them."""
        proxies = NetworkSet(network for one in self.trusted_proxies for network in one)
        return Rules(proxies, self.header, self.missing, self.trust_unix, self.trusted_hops or 0)


class ApplicationConfig(msgspec.Struct, frozen=True, kw_only=True):
    """`application`: where the proxy says which application is asked for."""

    context_key: str = "application"  # of Envoy's context_extensions
    http: Literal["path", "header"] = "path"  # for HTTP callers: /v1/auth/<application>, or `header`
    header: HeaderName = "x-authz-application"  # must be set by the proxy on every request, or a client can
    unknown: Literal["auto", "default", "deny"] = "default"  # default: the settings of "*"


class MetadataKey(msgspec.Struct, frozen=True, kw_only=True):
    """`attack_signal.metadata`: a key of Envoy's dynamic metadata."""

    namespace: str
    key: str


class AttackSignalConfig(msgspec.Struct, frozen=True, kw_only=True):
    """`attack_signal`: what a WAF before us sets. Empty, `0` and `false` are no signal."""

    header: HeaderName | None = None
    metadata: MetadataKey | None = None


class DecisionLogConfig(msgspec.Struct, frozen=True, kw_only=True):
    """`decision_log`: one JSON object a line. path: `-` is standard output, `off` nowhere."""

    path: str = "-"
    denied: Share = 1.0  # share of the denied requests that is written
    warned: Share = 1.0  # share of those let through that a warn entry, a dry run or the like speaks against
    allowed: Share = 0.0
    queue: Count = 10000  # lines that wait for a slow disk; more are dropped, and counted


class Config(msgspec.Struct, frozen=True, kw_only=True):
    """The whole of authz.yaml."""

    snapshot: SnapshotConfig
    grpc: GrpcConfig = GrpcConfig()
    http: HttpConfig = HttpConfig()
    admin: AdminConfig = AdminConfig()
    client_address: ClientAddressConfig = ClientAddressConfig()
    application: ApplicationConfig = ApplicationConfig()
    attack_signal: AttackSignalConfig = AttackSignalConfig()
    decision_log: DecisionLogConfig = DecisionLogConfig()
    drain: Duration = 5.0  # after SIGTERM: say NOT_SERVING, and serve on for this long

    def decision_settings(self) -> Settings:
        """Return what of the configuration counts for a decision."""
        snapshot, signal = self.snapshot, self.attack_signal
        metadata = None if signal.metadata is None else (signal.metadata.namespace, signal.metadata.key)
        return Settings(
            rules=self.client_address.rules(),
            unknown=self.application.unknown,
            when_missing=snapshot.when_missing,
            when_stale=snapshot.when_stale,
            max_age=snapshot.max_age,
            attack_signal=AttackSignal(signal.header, metadata),
        )


def load_config(path: Path, environment: Mapping[str, str]) -> Config:
    """Read and check authz.yaml; its paths become absolute. Raises InputError and InvalidDocument."""
    prefix = len(ENVIRONMENT_PREFIX)
    overrides = {
        name[prefix:]: value
        for name, value in environment.items()
        if name.startswith(ENVIRONMENT_PREFIX) and ("__" in name or name[prefix:].lower() in Config.__struct_fields__)
    }
    document = read_file(Config, path, overrides)
    if document.content is not None:
        _check_together(document, document.content)
    return _absolute(document.checked(), path.absolute().parent)


def _check_together(document: Document[Config], config: Config) -> None:
    """Note the mistakes that lie between keys."""
    keys, threshold = len(config.snapshot.trusted_keys), config.snapshot.threshold
    if not document.spoiled(config.snapshot) and not keys:
        document.mistake("snapshot.trusted_keys", "found an empty list, expected one or more files of public keys")
    elif not document.spoiled(config.snapshot) and keys < threshold:
        document.mistake("snapshot.threshold", f"found {threshold}, expected at most {keys}, as many as trusted_keys")
    if config.snapshot.poll < MIN_POLL:
        document.mistake("snapshot.poll", f"found {config.snapshot.poll:g} seconds, expected {MIN_POLL:g} or more")
    if config.client_address.trusted_hops and config.client_address.trusted_proxies:
        document.mistake("client_address.trusted_hops", "found beside trusted_proxies, expected one of the two")
    if config.grpc.tls and config.grpc.engine == "native":
        document.mistake("grpc.engine", "found 'native' with tls, expected 'grpcio' or 'auto'")
    listens = {"grpc": config.grpc.listen, "http": config.http.listen, "admin": config.admin.listen}
    for (one, listen), (other, same) in itertools.combinations(listens.items(), 2):
        if listen == same and (listen.path is not None or listen.port):
            document.mistake(f"{other}.listen", f"found {listen}, where {one} listens already")
    if config.grpc.listen == config.http.listen == Listen():
        document.mistake("grpc.listen", "found 'off' here and at http.listen, expected at most one of them off")


def _absolute(config: Config, folder: Path) -> Config:
    def at(path: str) -> str:
        return str(folder / path)

    def listen(on: Listen) -> Listen:
        return on if on.path is None else Listen(path=folder / on.path)

    replace = msgspec.structs.replace
    snapshot = config.snapshot
    tls = config.grpc.tls
    if tls is not None:
        tls = Tls(certificate=at(tls.certificate), key=at(tls.key), client_ca=tls.client_ca and at(tls.client_ca))
    log = config.decision_log
    return replace(
        config,
        snapshot=replace(
            snapshot,
            path=at(snapshot.path),
            trusted_keys=tuple(at(key) for key in snapshot.trusted_keys),
            state=at(snapshot.state),
        ),
        grpc=replace(config.grpc, listen=listen(config.grpc.listen), tls=tls),
        http=replace(config.http, listen=listen(config.http.listen)),
        admin=replace(config.admin, listen=listen(config.admin.listen)),
        decision_log=log if log.path in {"-", "off"} else replace(log, path=at(log.path)),
    )
