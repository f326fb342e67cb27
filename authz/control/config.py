"""control.yaml: the configuration of the control plane. Every key is described where it is declared.

Paths are relative to the folder of control.yaml; those of what is written (`store`, `signer_state`, `layers[].file`)
and those of a policy in the store to `data`. An environment variable `AUTHZ_CONTROL_SECTION__KEY` takes the place of
`section.key`.
"""

from __future__ import annotations

import tempfile
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import msgspec

from authz.addresses import NetworkSet, parse_networks
from authz.control.access.config import PEOPLE, SignOn
from authz.control.detect.keeping.config import SinkConfig
from authz.control.detect.shared.config import Streams
from authz.control.detect.sources.config import Sources
from authz.control.lists.rules.guard import FourEyes
from authz.control.lists.rules.limits import Limits
from authz.control.lists.rules.resolved import Resolver
from authz.control.lists.rules.rules import Known, Rules
from authz.control.model.records import HOSTS, POLICY_LAYER
from authz.control.notify.config import Notify, WebUrl, check_channels
from authz.engine.model import TOKEN, ListName, total_of
from authz.errors import BadValue, InputError
from authz.serve.config.values import Listen, ListenOn, Trusted
from authz.serve.layers.config import Bits4, Bits6
from authz.serve.listeners.tls.config import Tls, check_tls
from authz.strict_yaml.document import Document, read_file
from authz.strict_yaml.fields import Scalar
from authz.strict_yaml.scalars import Duration, PositiveCount
from authz.times import parse_duration

if TYPE_CHECKING:
    from collections.abc import Mapping

ENVIRONMENT_PREFIX = "AUTHZ_CONTROL_"
_NOT_OURS = frozenset({"AUTHZ_CONTROL_URL"})  # of the command line
FOREVER = "forever"


def _longest(text: str) -> float:
    return float("inf") if text == FOREVER else parse_duration(text)


Longest = Annotated[float, Scalar(_longest, "a time such as 2h or 7d, or forever")]


class May(msgspec.Struct, frozen=True, kw_only=True):
    """`may` of a layer: what its entries can say. The sidecar's configuration should say the same."""

    lists: tuple[ListName, ...] = ("deny", "gray")
    longest: Longest = float("inf")  # from now to an entry's end
    widest_ipv4: PositiveCount = 16  # prefix bits
    widest_ipv6: PositiveCount = 32
    applications: tuple[str, ...] = ()  # patterns; none: all
    entries: PositiveCount = 2_000_000
    total_ipv4: Bits4 | None = None  # all networks together: as many addresses; None: of a /9 or widest_ipv4; 0: any
    total_ipv6: Bits6 | None = None  # of a /24 or widest_ipv6


class LayerConfig(msgspec.Struct, frozen=True, kw_only=True):
    """One of `layers`: what we publish. Only the signer reads the key."""

    name: str
    key: str  # a PEM file, or a URI of a KMS
    public_key: str | None = None  # for a KMS: the PEM file of its public half
    may: May = May()  # of every layer but `policy`
    file: str | None = None  # written there too, for sidecars on this machine and for other carriers


class FourEyesConfig(msgspec.Struct, frozen=True, kw_only=True):
    """`four_eyes`: when a change waits for a second person."""

    addresses: PositiveCount | None = None  # a denial of more addresses than this
    allow: bool = False  # any change to the allow list


def _name(text: str) -> str:
    if not TOKEN.fullmatch(text):
        raise BadValue(text)
    return text


def _lapi(text: str) -> str:
    if not text.startswith(("http://", "https://")):
        raise BadValue(text)
    return text.rstrip("/")


class CrowdSec(msgspec.Struct, frozen=True, kw_only=True):
    """One of `crowdsec`.

    Attributes:
        key_file: Has the key that `cscli bouncers add` printed.
    """

    name: Annotated[str, Scalar(_name, "letters, digits, '.', '_' and '-', at most 64")]
    url: Annotated[str, Scalar(_lapi, "the address of a LAPI, such as http://127.0.0.1:8080")]
    key_file: str
    interval: Duration = 15.0  # seconds between two questions
    applications: tuple[str, ...] = ()  # that its decisions are for; none: all


class ControlConfig(msgspec.Struct, frozen=True, kw_only=True):
    """The whole of control.yaml."""

    layers: tuple[LayerConfig, ...]
    listen: ListenOn = Listen(host="127.0.0.1", port=9194)
    data: str = "."  # folder of what is written: fetched feeds, answers for host names, and see above
    store: str = "sqlite:///control.sqlite"  # or postgresql://USER:PASSWORD@HOST/DATABASE
    tls: Tls | None = None
    public_url: WebUrl | None = None  # as browsers reach it; with https their cookies are Secure
    sign_on: SignOn = SignOn()  # of people
    signer: str | None = None  # unix socket of a signer that somebody else runs; none: we start one
    signer_state: str = "state/signer.json"  # what was signed last: serials and chains
    anonymous_layers: bool = True  # signed files are given to whoever asks; otherwise to tokens only
    trusted_proxies: tuple[Trusted, ...] = ()  # whose X-Forwarded-For we believe
    protected: tuple[Trusted, ...] = ()  # what no entry may deny, beside the policy's own
    four_eyes: FourEyesConfig = FourEyesConfig()
    sources: Sources = Sources()  # of events, besides POST /v1/events
    sinks: tuple[SinkConfig, ...] = ()  # databases that events go to, beside the store
    streams: Streams = Streams()  # by which several control planes share the counting of events
    notify: Notify = Notify()  # who is notified about what
    hosts: Duration = 300.0  # how often host names of entries are asked for again
    crowdsec: tuple[CrowdSec, ...] = ()  # LAPIs whose decisions are taken over
    policy_files: tuple[str, ...] = ("feeds", "geo")  # folders with files that a policy by API may name
    triggers: str | None = None  # triggers.yaml: whom to list automatically
    refresh: Duration = 6 * 3600.0  # a layer is signed again after this long, so that it is never stale
    rate: PositiveCount = 200  # requests a second of one token
    events: Duration = 7 * 86400.0  # how long events are kept
    history: Duration = 400 * 86400.0  # how long changes are kept
    folder: str = ""

    def limits(self, policy: Mapping[str, int] | None = None) -> dict[str, Limits]:
        """Return what each layer may say.

        Args:
            policy: `limits` of the policy, for the first layer.
        """
        return {layer.name: _limits(layer, policy or {}) for layer in self.layers}

    def rules(self, settings: Mapping[str, Any] | None = None) -> Rules:
        """Return the rules that the use cases apply.

        Args:
            settings: Of the policy, if the store has them.
        """
        settings = settings or {}
        own = tuple(network for networks in self.protected for network in networks)
        own += tuple(network for text in settings.get("protected", ()) for network in parse_networks(text))
        eyes = FourEyes(addresses=self.four_eyes.addresses, allow=self.four_eyes.allow)
        bans = next((layer.name for layer in self.layers if layer.name != POLICY_LAYER), POLICY_LAYER)
        resolver = Resolver(settings, Path(self.data))
        return Rules(self.limits(settings.get("limits")), own, eyes, bans, Known.of(settings), resolver)

    def proxies(self) -> NetworkSet:
        """Return whose X-Forwarded-For is believed."""
        return NetworkSet(network for networks in self.trusted_proxies for network in networks)


def _limits(layer: LayerConfig, policy: Mapping[str, int]) -> Limits:
    if layer.name == POLICY_LAYER:
        default = Limits()
        return Limits(
            widest_ipv4=policy.get("widest_ipv4", default.widest_ipv4),
            widest_ipv6=policy.get("widest_ipv6", default.widest_ipv6),
        )
    may = layer.may
    longest = None if may.longest == float("inf") else may.longest
    return Limits(
        lists=may.lists, longest=longest, widest_ipv4=may.widest_ipv4, widest_ipv6=may.widest_ipv6,
        applications=may.applications, subjects=("networks",), networks=1, entries=may.entries,
        total_ipv4=total_of(may.total_ipv4, 4, may.widest_ipv4),
        total_ipv6=total_of(may.total_ipv6, 6, may.widest_ipv6),
    )  # fmt: skip


def load_control_config(path: Path, environment: Mapping[str, str]) -> ControlConfig:
    """Read and check control.yaml. Its paths become absolute.

    Args:
        path: The file.
        environment: The variables that may replace keys, such as `os.environ`.

    Raises:
        InputError: The file cannot be read.
        InvalidDocument: The file has mistakes; the error has all of them.
    """
    prefix = len(ENVIRONMENT_PREFIX)
    overrides = {
        name[prefix:]: value
        for name, value in environment.items()
        if name.startswith(ENVIRONMENT_PREFIX) and name not in _NOT_OURS
    }
    document = read_file(ControlConfig, path, overrides)
    if document.content is not None:
        _check_together(document, document.content)
    return _absolute(document.checked(), path.absolute().parent)


def _check_together(document: Document[ControlConfig], config: ControlConfig) -> None:
    if not config.layers:
        document.mistake("layers", "found none, expected one or more")
    _check_once(document, "layers", [layer.name for layer in config.layers], "layer")
    _check_once(document, "crowdsec", [lapi.name for lapi in config.crowdsec], "LAPI")
    check_channels(document, config.notify)
    _check_oidc(document, config)
    if config.listen == Listen():
        document.mistake("listen", "found 'off', expected ADDRESS:PORT or unix:///PATH")
    if config.tls is not None:
        check_tls(document, "tls", config.tls)


def _check_once(document: Document[ControlConfig], key: str, names: list[str], what: str) -> None:
    for number, name in enumerate(names):
        if name in names[:number]:
            document.mistake(f"{key}[{number}].name", f"found '{name}' twice, expected each {what} once")


def _check_oidc(document: Document[ControlConfig], config: ControlConfig) -> None:
    oidc = config.sign_on.oidc
    if oidc is None:
        return
    if config.public_url is None:
        document.mistake("public_url", "missing, expected it with sign_on.oidc: people are sent back there")
    for number, rule in enumerate(oidc.roles):
        if rule.role not in PEOPLE:
            expected = f"expected a role of people: {', '.join(PEOPLE)}"
            document.mistake(f"sign_on.oidc.roles[{number}].role", f"found '{rule.role}', {expected}")


def _absolute(config: ControlConfig, folder: Path) -> ControlConfig:
    data = folder / config.data

    def at(path: str | None, base: Path = folder) -> str | None:
        return None if path is None else str(base / path)

    def key(text: str) -> str:
        scheme, colon, _ = text.partition(":")
        return text if colon and scheme.isalpha() else str(folder / text)

    store = config.store
    if store.startswith("sqlite:///") and not store.startswith("sqlite:////"):
        store = f"sqlite:///{data / store.removeprefix('sqlite:///')}"
    layers = tuple(
        msgspec.structs.replace(layer, key=key(layer.key), public_key=at(layer.public_key), file=at(layer.file, data))
        for layer in config.layers
    )
    tls = config.tls and config.tls.at(lambda path: str(folder / path))
    notify = msgspec.structs.replace(
        config.notify,
        channels=tuple(
            msgspec.structs.replace(
                channel, secret_file=at(channel.secret_file), apprise_file=at(channel.apprise_file),
                apprise_schemes=config.notify.apprise_schemes,
            )
            for channel in config.notify.channels
        ),
    )  # fmt: skip
    sinks = tuple(msgspec.structs.replace(sink, password_file=at(sink.password_file)) for sink in config.sinks)
    crowdsec = tuple(msgspec.structs.replace(lapi, key_file=str(folder / lapi.key_file)) for lapi in config.crowdsec)
    sign_on = config.sign_on
    if sign_on.oidc is not None:
        oidc = msgspec.structs.replace(sign_on.oidc, client_secret_file=at(sign_on.oidc.client_secret_file))
        sign_on = msgspec.structs.replace(sign_on, oidc=oidc)
    streams = msgspec.structs.replace(config.streams, password_file=at(config.streams.password_file))
    return msgspec.structs.replace(
        config, sign_on=sign_on, crowdsec=crowdsec, notify=notify, streams=streams, layers=layers, store=store, tls=tls,
        signer=at(config.signer), triggers=at(config.triggers), signer_state=str(data / config.signer_state),
        sinks=sinks, data=str(data), folder=str(folder),
    )  # fmt: skip


def check_folders(config: ControlConfig) -> None:
    """Check the folders that `authz control serve` writes to: now, not at the first ban. Raises InputError."""
    if any(layer.name == POLICY_LAYER for layer in config.layers):  # with feeds and host names
        check_writable("data", Path(config.data))
        check_writable("data", Path(config.data, HOSTS).parent)
    for number, layer in enumerate(config.layers):
        if layer.file is not None:
            check_writable(f"layers[{number}].file", Path(layer.file).parent)
    store = Path(config.store.removeprefix("sqlite:///")).parent
    if config.store.startswith("sqlite:////") and store.is_dir():  # opening it says what to do where it is missing
        check_writable("store", store)
    if config.signer is None:  # its process is ours
        check_writable("signer_state", Path(config.signer_state).parent)


def check_writable(key: str, folder: Path) -> None:
    """Make a folder where it is missing, and write there.

    Args:
        key: Names it in control.yaml.
        folder: An absolute path.

    Raises:
        InputError: That cannot be done.

    """
    try:
        folder.mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryFile(dir=folder):
            pass
    except OSError as error:
        expected = "expected a folder where this process may write"
        hint = "`data` of control.yaml is the folder of all that has a relative path and is written"
        raise InputError(f"{key}: {folder}: cannot be written: {error.strerror}, {expected}", hint=hint) from error
