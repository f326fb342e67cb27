"""authz.yaml: the configuration of the sidecar. Every key is described where it is declared.

Paths are relative to the folder of authz.yaml. An environment variable `AUTHZ_SECTION__KEY` takes the place of
`section.key`; its value is YAML: `AUTHZ_GRPC__LISTEN=0.0.0.0:9191`.
"""

from __future__ import annotations

import itertools
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

import msgspec

from authz.addresses import NetworkSet
from authz.engine.entries.opened_snapshot import POLICY_LAYER
from authz.engine.request.client_address import Rules
from authz.engine.settings import AttackSignal, LayerSettings, Settings
from authz.serve.config.fronts import check_front
from authz.serve.config.own_files import overwritten
from authz.serve.config.trusted_files import read_trusted
from authz.serve.config.values import (
    EventsUrl,
    HeaderName,
    HostName,
    Listen,
    ListenOn,
    Rights,
    TracesUrl,
    Trusted,
    Workers,
)
from authz.serve.layers.config import LayerConfig, last_good_path, mistakes
from authz.serve.listeners.tls.config import Tls  # noqa: TC001  # msgspec reads annotations when it runs
from authz.strict_yaml.document import Document, read_file
from authz.strict_yaml.scalars import Duration, PositiveCount, Share  # noqa: TC001  # msgspec reads annotations when it runs

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Mapping

ENVIRONMENT_PREFIX = "AUTHZ_"
MAX_CACHE = 60.0  # seconds for which nginx may keep an answer; longer ones are warned of
_LAYER_FILES = ("path", "token", "ca", "certificate", "key")
_SENDER_FILES = ("token_file", "ca", "certificate", "key")  # of `events` and `traces`


class SnapshotConfig(msgspec.Struct, frozen=True, kw_only=True):
    """`snapshot`: what is loaded, and whom it must be signed by."""

    path: str  # the snapshot file; replaced while we run
    trusted_keys: tuple[str, ...]  # PEM files of public keys
    threshold: PositiveCount = 1  # how many of them must have signed
    max_size: PositiveCount = 256 << 20  # bytes; a larger file is refused before it is copied into memory
    state: str = "state/authz.json"  # keeps the highest serial accepted; its folder must be ours to write
    max_age: Duration = 24 * 3600.0  # older than this since it was made: stale
    when_missing: Literal["deny", "allow"] = "deny"  # until the first good snapshot
    when_stale: Literal["keep", "deny", "allow"] = "keep"
    poll: Duration = 10.0  # how often to look, should the system not tell us of a change


def _most_of(connections: int) -> int:
    """Return how many connections one address may have: some places are left for others."""
    return -(-3 * connections // 4)


class GrpcConfig(msgspec.Struct, frozen=True, kw_only=True):
    """`grpc`: the front for Envoy's ext_authz."""

    listen: ListenOn = Listen(host="127.0.0.1", port=9191)
    engine: Literal["auto", "native", "grpcio"] = "auto"  # auto: native
    tls: Tls | None = None
    unix_mode: Rights = 0o660  # rights of a unix socket
    # Bytes of a CheckRequest, as it came and unpacked; a larger one is denied as request_too_large. Envoy sends at most
    # 61 KiB; raise it by max_request_bytes where Envoy has with_request_body, or with its max_request_headers_kb.
    max_message: PositiveCount = 131072
    max_connections: PositiveCount = 1024  # of the engine native; one more takes the place of an idle one, or is closed
    max_connections_per_peer: PositiveCount | None = None  # of one address; None: three quarters of max_connections
    idle_timeout: Duration = 300.0  # of the engine native: a connection without calls is ended after it
    max_connection_age: Duration = 0.0  # a connection is told to leave at 0.9 to 1.1 times this age; 0: never

    @property
    def of_a_peer(self) -> int:
        """How many connections one address may have."""
        return self.max_connections_per_peer or _most_of(self.max_connections)


class HttpConfig(msgspec.Struct, frozen=True, kw_only=True):
    """`http`: the front for auth_request and similar callers."""

    listen: ListenOn = Listen(host="127.0.0.1", port=9192)
    tls: Tls | None = None
    unix_mode: Rights = 0o660
    max_header: PositiveCount = 65536  # bytes of request line and headers; more: 431
    idle_timeout: Duration = 75.0  # a connection without a request is closed; longer than the proxy's keep-alive
    cache: Duration = 0.0  # seconds for which nginx may keep an answer, where it is told to; 0: not at all
    header_timeout: Duration = 10.0  # from the first byte of a request to the end of its headers; longer: 408
    max_connections: PositiveCount = 4096  # one more takes the place of an idle one, or is closed
    max_connections_per_peer: PositiveCount | None = None  # of one address; None: three quarters of max_connections

    @property
    def of_a_peer(self) -> int:
        """How many connections one address may have."""
        return self.max_connections_per_peer or _most_of(self.max_connections)


class AdminConfig(msgspec.Struct, frozen=True, kw_only=True):
    """`admin`: /livez, /readyz, /metrics, /snapshot."""

    listen: ListenOn = Listen(host="127.0.0.1", port=9193)
    unix_mode: Rights = 0o660
    token_file: str | None = None  # holds a token that whoever asks must show, but for /livez and /readyz
    hosts: tuple[HostName, ...] = ()  # names by which it may be asked, beside its addresses and localhost


class ClientAddressConfig(msgspec.Struct, frozen=True, kw_only=True):
    """`client_address`: who is the client. See authz.engine.request.client_address."""

    trusted_proxies: tuple[Trusted, ...] = ()  # whose headers are believed; `load_config` adds those of the files
    trusted_proxies_files: tuple[str, ...] = ()  # networks that a CDN publishes
    header: HeaderName = "x-forwarded-for"  # or forwarded, or a header with one address
    missing: Literal["deny", "peer"] = "deny"  # a trusted peer without the header
    trust_unix: bool = False  # believe a peer on a unix socket
    trusted_hops: PositiveCount | None = None  # instead of trusted_proxies: the Nth element from the right

    def rules(self) -> Rules:
        """Return these settings as the walk takes them."""
        proxies = NetworkSet(network for proxy in self.trusted_proxies for network in proxy)
        return Rules(proxies, self.header, self.missing, self.trust_unix, self.trusted_hops or 0)


class ApplicationConfig(msgspec.Struct, frozen=True, kw_only=True):
    """`application`: where the proxy says which application is asked for."""

    context_key: str = "application"  # of Envoy's context_extensions
    http: Literal["path", "header"] = "path"  # for HTTP callers: /v1/auth/<application>, or `header`
    header: HeaderName = "x-authz-application"  # must be set by the proxy on every request, or a client can
    unknown: Literal["auto", "default", "deny"] = "auto"  # default: the settings of "*"; auto: see decision 0020


class MetadataKey(msgspec.Struct, frozen=True, kw_only=True):
    """`attack_signal.metadata`: a key of Envoy's dynamic metadata."""

    namespace: str
    key: str


class AttackSignalConfig(msgspec.Struct, frozen=True, kw_only=True):
    """`attack_signal`: what a WAF before us sets. Empty, `0` and `false` are no signal."""

    header: HeaderName | None = None
    metadata: MetadataKey | None = None


class DecisionLogConfig(msgspec.Struct, frozen=True, kw_only=True):
    """`decision_log`: one JSON object a line.

    Attributes:
        path: `-` is standard output, `off` nowhere.
    """

    path: str = "-"
    denied: Share = 1.0  # share of the denied requests that is written
    warned: Share = 1.0  # share of those let through that a warn entry, a dry run or the like speaks against
    allowed: Share = 0.0
    queue: PositiveCount = 10000  # lines that wait for a slow disk; more are dropped, and counted


class EventsConfig(msgspec.Struct, frozen=True, kw_only=True):
    """`events`: decisions sent to a control plane, which counts them for its triggers. No url: none are sent."""

    url: EventsUrl | None = None  # https://HOST/v1/events
    token_file: str | None = None  # holds a token of the role `sidecar`
    ca: str | None = None  # PEM file of the authority of an https server; none: those of the system
    certificate: str | None = None  # PEM file of the certificate that we show an https server
    key: str | None = None  # PEM file of its key
    denied: Share = 1.0  # share of the denied requests that is sent
    warned: Share = 1.0  # share of those let through that a warn entry, a dry run or the like speaks against
    allowed: Share = 0.01
    queue: PositiveCount = 20000  # events that wait; more are dropped, and counted


class TracesConfig(msgspec.Struct, frozen=True, kw_only=True):
    """`traces`: spans of checks of sampled traces, sent to a collector of OpenTelemetry. No url: none are sent."""

    url: TracesUrl | None = None  # OTLP over HTTP: http://COLLECTOR:4318/v1/traces
    token_file: str | None = None  # holds a bearer token for the collector
    ca: str | None = None  # PEM file of the authority of an https server; none: those of the system
    certificate: str | None = None  # PEM file of the certificate that we show an https server
    key: str | None = None  # PEM file of its key
    share: Share = 0.1  # share of all checks whose `traceparent` is looked at; a client can write it
    queue: PositiveCount = 2000  # spans that wait; more are dropped, and counted


class Config(msgspec.Struct, frozen=True, kw_only=True):
    """The whole of authz.yaml."""

    snapshot: SnapshotConfig | None = None  # or
    layers: tuple[LayerConfig, ...] = ()
    state: str = "state/authz.json"  # with layers: highest serials; the last good copies are beside it
    grpc: GrpcConfig = GrpcConfig()
    http: HttpConfig = HttpConfig()
    admin: AdminConfig = AdminConfig()
    client_address: ClientAddressConfig = ClientAddressConfig()
    application: ApplicationConfig = ApplicationConfig()
    attack_signal: AttackSignalConfig = AttackSignalConfig()
    decision_log: DecisionLogConfig = DecisionLogConfig()
    events: EventsConfig = EventsConfig()
    traces: TracesConfig = TracesConfig()
    workers: Workers = 1  # processes that answer; auto (0): one for each CPU that we may use
    overlap: bool = False  # a new process of this configuration may start before the old one ends
    drain: Duration = 5.0  # after SIGTERM: say NOT_SERVING, and serve on for this long

    def layers_in_order(self) -> tuple[LayerConfig, ...]:
        """Return the layers, the policy first; of the short form `snapshot` the one that it stands for."""
        if self.snapshot is None:
            return self.layers
        short = self.snapshot
        return (
            LayerConfig(
                name=POLICY_LAYER, path=short.path, trusted_keys=short.trusted_keys, threshold=short.threshold,
                max_size=short.max_size, max_age=short.max_age, when_missing=short.when_missing,
                when_stale=short.when_stale, poll=short.poll,
            ),
        )  # fmt: skip

    @property
    def policy(self) -> LayerConfig:
        """The first layer."""
        return self.layers_in_order()[0]

    @property
    def policy_file(self) -> Path:
        """Where the policy's file stands on this machine: its path or, where it is fetched, the last good copy."""
        path = self.policy.path
        return Path(path) if path is not None else last_good_path(self.state_file, self.policy.name)

    @property
    def state_file(self) -> Path:
        """Where the highest serials are kept."""
        return Path(self.state if self.snapshot is None else self.snapshot.state)

    def decision_settings(self) -> Settings:
        """Return what of the configuration counts for a decision."""
        policy, signal = self.policy, self.attack_signal
        metadata = None if signal.metadata is None else (signal.metadata.namespace, signal.metadata.key)
        return Settings(
            rules=self.client_address.rules(),
            unknown=self.application.unknown,
            when_missing="allow" if policy.when_missing == "allow" else "deny",
            when_stale="keep" if policy.when_stale == "ignore" else policy.when_stale,
            max_age=policy.max_age,
            attack_signal=AttackSignal(signal.header, metadata),
            layers=tuple(
                LayerSettings(
                    name=layer.name,
                    when_missing="deny" if layer.when_missing == "deny" else "ignore",
                    when_stale="keep" if layer.when_stale == "allow" else layer.when_stale,
                    max_age=layer.max_age,
                )
                for layer in self.layers_in_order()[1:]
            ),
        )


# Variables with one underscore where two would be: `AUTHZ_GRPC_LISTEN` would change nothing.
_MISWRITTEN = {
    f"{ENVIRONMENT_PREFIX}{section}_{key}".upper(): f"{ENVIRONMENT_PREFIX}{section}__{key}".upper()
    for section, struct in {
        "snapshot": SnapshotConfig, "grpc": GrpcConfig, "http": HttpConfig, "admin": AdminConfig,
        "client_address": ClientAddressConfig, "application": ApplicationConfig, "decision_log": DecisionLogConfig,
        "events": EventsConfig, "traces": TracesConfig,
    }.items()
    for key in struct.__struct_fields__
}  # fmt: skip


def load_config(path: Path, environment: Mapping[str, str]) -> Config:
    """Read and check authz.yaml. Its paths become absolute.

    Args:
        path: The file.
        environment: The variables that may replace keys, such as `os.environ`.

    Raises:
        InputError: The file, or one of `trusted_proxies_files`, cannot be read.
        InvalidDocument: The file has mistakes; the error has all of them.
    """
    prefix = len(ENVIRONMENT_PREFIX)
    overrides = {
        name[prefix:]: value
        for name, value in environment.items()
        if name.startswith(ENVIRONMENT_PREFIX) and ("__" in name or name[prefix:].lower() in Config.__struct_fields__)
    }
    document = read_file(Config, path, overrides)
    for name in environment.keys() & _MISWRITTEN.keys():
        document.mistake("environment", f"found the variable {name}, expected {_MISWRITTEN[name]}")
    if document.content is not None:
        _check_together(document, document.content)
    config = _absolute(document.checked(), path.absolute().parent)
    for key, problem in overwritten(config, path.absolute()):
        document.mistake(key, problem)
    document.checked()
    return msgspec.structs.replace(config, client_address=_with_files(config.client_address))


def _with_files(client: ClientAddressConfig) -> ClientAddressConfig:
    read = tuple(read_trusted(Path(name)) for name in client.trusted_proxies_files)
    return msgspec.structs.replace(client, trusted_proxies=client.trusted_proxies + read)


def _check_together(document: Document[Config], config: Config) -> None:
    """Note the mistakes that lie between keys."""
    _check_layers(document, config)
    client = config.client_address
    if client.trusted_hops and (client.trusted_proxies or client.trusted_proxies_files):
        document.mistake("client_address.trusted_hops", "found beside trusted_proxies, expected one of the two")
    check_front(document, "grpc", config.grpc)
    check_front(document, "http", config.http)
    _check_senders(document, config)
    if config.workers != 1 and config.grpc.engine == "grpcio":
        document.mistake("workers", "found more than one with grpc.engine grpcio, expected the engine native or auto")
    listens = {"grpc": config.grpc.listen, "http": config.http.listen, "admin": config.admin.listen}
    for (one, listen), (other, same) in itertools.combinations(listens.items(), 2):
        if listen == same and (listen.path is not None or listen.port):
            document.mistake(f"{other}.listen", f"found {listen}, where {one} listens already")
    if config.grpc.listen == config.http.listen == Listen():
        document.mistake("grpc.listen", "found 'off' here and at http.listen, expected at most one of them off")


def _check_layers(document: Document[Config], config: Config) -> None:
    if config.snapshot is not None and config.layers:
        document.mistake("layers", "found beside snapshot, expected one of the two")
    elif config.snapshot is not None and document.mentions("state"):
        document.mistake("state", "found beside snapshot, expected snapshot.state")
    elif config.snapshot is None and not config.layers and not document.mentions("snapshot"):
        document.mistake("snapshot", "missing, expected snapshot or layers: nothing says what to decide by")
    for number, key, message in mistakes(config.layers_in_order()):
        part, where = config.snapshot or config.layers[number], "snapshot" if config.snapshot else f"layers[{number}]"
        if not document.spoiled(part):
            document.mistake(f"{where}.{key}", message)


def _check_senders(document: Document[Config], config: Config) -> None:
    for name, sender in (("events", config.events), ("traces", config.traces)):
        if (sender.certificate is None) != (sender.key is None):
            document.mistake(f"{name}.certificate", "found certificate or key alone, expected both or none")


def _absolute(config: Config, folder: Path) -> Config:
    def at(path: str) -> str:
        return str(folder / path)

    replace, client, log = msgspec.structs.replace, config.client_address, config.decision_log
    return replace(
        config,
        state=at(config.state),
        snapshot=config.snapshot and _snapshot_at(config.snapshot, at),
        layers=tuple(_layer_at(layer, at, first=not number) for number, layer in enumerate(config.layers)),
        grpc=replace(config.grpc, listen=_listen_at(config.grpc.listen, folder), tls=_tls_at(config.grpc.tls, at)),
        http=replace(config.http, listen=_listen_at(config.http.listen, folder), tls=_tls_at(config.http.tls, at)),
        admin=replace(
            config.admin, listen=_listen_at(config.admin.listen, folder), **_files(config.admin, ("token_file",), at)
        ),
        client_address=replace(client, trusted_proxies_files=tuple(map(at, client.trusted_proxies_files))),
        events=replace(config.events, **_files(config.events, _SENDER_FILES, at)),
        traces=replace(config.traces, **_files(config.traces, _SENDER_FILES, at)),
        decision_log=log if log.path in {"-", "off"} else replace(log, path=at(log.path)),
    )


def _snapshot_at(snapshot: SnapshotConfig, at: Callable[[str], str]) -> SnapshotConfig:
    keys = tuple(map(at, snapshot.trusted_keys))
    return msgspec.structs.replace(snapshot, path=at(snapshot.path), trusted_keys=keys, state=at(snapshot.state))


def _layer_at(layer: LayerConfig, at: Callable[[str], str], *, first: bool) -> LayerConfig:
    missing = layer.when_missing or ("deny" if first else "ignore")
    keys = tuple(map(at, layer.trusted_keys))
    files = _files(layer, _LAYER_FILES, at)
    return msgspec.structs.replace(layer, trusted_keys=keys, when_missing=missing, **files)


def _listen_at(listen: Listen, folder: Path) -> Listen:
    return listen if listen.path is None else Listen(path=folder / listen.path)


def _tls_at(tls: Tls | None, at: Callable[[str], str]) -> Tls | None:
    return tls and tls.at(at)


def _files(section: object, keys: Iterable[str], at: Callable[[str], str]) -> dict[str, Any]:
    """Return where the files of a section are, of those keys that it has."""
    return {key: at(name) for key in keys if (name := getattr(section, key)) is not None}
