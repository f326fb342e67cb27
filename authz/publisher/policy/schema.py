"""policy.yaml as it is written. What each key means is in docs/reference/policy.md.

Only the shape is here; `authz.publisher.policy.read` checks what several keys say together.
"""

from __future__ import annotations

import difflib
import re
from typing import TYPE_CHECKING, Annotated, Literal

import msgspec

from authz.addresses import NETWORKS_EXPECTED, Network, parse_networks
from authz.engine.model import (
    ANY_APPLICATION,
    MAX_DENY_BODY,
    MEDIA_TYPE,
    TOKEN,
    Action,
    Default,
    ListName,
    MatchOn,
    Mode,
    Precedence,
)
from authz.errors import AddressError, BadValue
from authz.publisher.feeds.clean.shrink_guard import MAX_SHRINK
from authz.publisher.feeds.feed import FeedOptions
from authz.publisher.feeds.fetch.presets import PRESETS, Preset
from authz.publisher.feeds.geo.asn_numbers import HIGHEST as HIGHEST_ASN
from authz.publisher.feeds.geo.place_table import EXPECTED as EXPECTED_CODES
from authz.publisher.feeds.geo.place_table import NOT_COUNTRIES, hint_of_code
from authz.publisher.feeds.geo.places import code_problem
from authz.publisher.feeds.read_feed import FORMATS
from authz.strict_yaml.fields import OneOrMany, Scalar
from authz.strict_yaml.scalars import Count, Duration, Share  # noqa: TC001  # msgspec reads annotations when it runs
from authz.times import MOMENT_EXPECTED, parse_moment

if TYPE_CHECKING:
    from collections.abc import Callable

    from authz.publisher.feeds.geo.place_table import Kind

_URL = re.compile(r"https?://[!-~]{1,2000}", re.ASCII)
_HOST = re.compile(
    r"(?=.{1,253}$)([A-Za-z0-9_]([A-Za-z0-9_-]{0,61}[A-Za-z0-9_])?\.)*[A-Za-z0-9_]([A-Za-z0-9_-]{0,61}[A-Za-z0-9_])?"
)


class WrittenNetworks(msgspec.Struct, frozen=True):
    """What one element of `networks` names.

    Attributes:
        problem: Host bits were set, which only `--lenient` takes.
    """

    networks: tuple[Network, ...]
    problem: AddressError | None = None


def _networks(text: str) -> WrittenNetworks:
    try:
        return WrittenNetworks(tuple(parse_networks(text)))
    except AddressError as error:
        try:
            return WrittenNetworks(tuple(parse_networks(text, lenient=True)), error)
        except AddressError:
            pass
        if "." in text and re.search("[A-Za-z]", text) and _HOST.fullmatch(text):
            raise BadValue(text, hint="a host name stands under `hosts`") from None
        raise


def _version(text: str) -> int:
    if text != "1":
        raise BadValue(text)
    return 1


def _token(text: str) -> str:
    if not TOKEN.fullmatch(text):
        raise BadValue(text)
    return text


def _named_application(text: str) -> str:
    if text == ANY_APPLICATION:
        raise BadValue(text, hint="leave the key out for all applications")
    return _token(text)


def _application(text: str) -> str:
    return text if text == ANY_APPLICATION else _token(text)


def _host(text: str) -> str:
    if not _HOST.fullmatch(text):
        inside = re.sub(r"^https?://|:[0-9]+(?=$|[/?#])|[/?#].*", "", text)
        if "*" in text:
            raise BadValue(text, hint="write each host by its full name; * is not supported")
        meant = inside.rstrip(".") if inside.isascii() else _punycode(inside)
        raise BadValue(text, hint=f"did you mean '{meant}'?" if _HOST.fullmatch(meant) else "")
    return text.lower()


def _punycode(name: str) -> str:
    """Return an internationalised name as it stands in requests; "" if it is none."""
    try:
        return name.encode("idna").decode("ascii")
    except UnicodeError:
        return ""


def _source(text: str) -> str:
    if not re.fullmatch(r"[a-z][a-z0-9_]{0,63}", text):
        raise BadValue(text)
    return text


def _format(text: str) -> str:
    if text not in FORMATS:
        raise BadValue(text)
    return text


def _geo_code(kind: Kind) -> Callable[[str], str]:
    def parse(text: str) -> str:
        if code_problem(kind, text) or (kind == "country" and text in NOT_COUNTRIES):
            raise BadValue(text, hint=hint_of_code(kind, text))
        return text

    return parse


def _asn(text: str) -> int:
    if not re.fullmatch(r"[1-9][0-9]{0,9}", text) or int(text) > HIGHEST_ASN:
        number = re.fullmatch(r"(?i:as) ?([1-9][0-9]{0,9})", text)
        raise BadValue(text, hint=f"did you mean {number[1]}?" if number else "")
    return int(text)


def _preset(text: str) -> str:
    if text not in PRESETS:
        near = difflib.get_close_matches(text, PRESETS, 1)
        raise BadValue(text, hint=f"did you mean '{near[0]}'?" if near else "")
    return text


def _url(text: str) -> str:
    if not _URL.fullmatch(text):
        raise BadValue(text)
    return text


def _status(text: str) -> int:
    if not re.fullmatch(r"4[0-9]{2}", text):
        raise BadValue(text)
    return int(text)


def _body(text: str) -> str:
    if len(text.encode()) > MAX_DENY_BODY:
        raise BadValue(text)
    return text


def _content_type(text: str) -> str:
    if not MEDIA_TYPE.fullmatch(text):
        raise BadValue(text)
    return text


Networks = Annotated[WrittenNetworks, Scalar(_networks, NETWORKS_EXPECTED)]
_NAME_EXPECTED = "letters, digits, '.', '_' and '-', at most 64, the first a letter or digit"
Token = Annotated[str, Scalar(_token, _NAME_EXPECTED)]
NamedApplication = Annotated[str, Scalar(_named_application, _NAME_EXPECTED)]
Time = Annotated[int, Scalar(parse_moment, MOMENT_EXPECTED)]
Host = Annotated[str, Scalar(_host, "a host name such as shop.example.com")]
Source = Annotated[str, Scalar(_source, "a source type such as tor: small letters, digits and '_'")]
Format = Annotated[str, Scalar(_format, f"one of {', '.join(FORMATS)}")]
Country = Annotated[str, Scalar(_geo_code("country"), EXPECTED_CODES["country"])]
Region = Annotated[str, Scalar(_geo_code("region"), EXPECTED_CODES["region"])]
Continent = Annotated[str, Scalar(_geo_code("continent"), EXPECTED_CODES["continent"])]
Asn = Annotated[int, Scalar(_asn, f"an AS number from 1 to {HIGHEST_ASN}")]
PresetName = Annotated[str, Scalar(_preset, f"one of {', '.join(PRESETS)}")]
Url = Annotated[str, Scalar(_url, "an address such as https://example.com/list.txt")]


class Deny(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """`deny`: what a denied client is shown."""

    status: Annotated[int, Scalar(_status, "a status from 400 to 499")] = 403
    body: Annotated[str, Scalar(_body, f"at most {MAX_DENY_BODY} bytes")] = ""
    content_type: Annotated[str, Scalar(_content_type, "a media type such as text/plain")] = "text/plain"


class ApplicationSettings(msgspec.Struct, frozen=True):
    """One of `applications`; what is None comes from `"*"`."""

    mode: Mode | None = None
    default: Default | None = None
    precedence: Precedence | None = None
    match: MatchOn | None = None
    dry_run: bool | None = None
    denylist_in_monitoring: bool | None = None
    hosts: tuple[Host, ...] = ()
    deny: Deny | None = None


class WrittenEntry(msgspec.Struct, frozen=True):
    """One of `entries`."""

    list: ListName
    id: Token | None = None
    networks: tuple[Networks, ...] = ()
    except_: tuple[Networks, ...] = msgspec.field(default=(), name="except")
    hosts: tuple[Host, ...] = ()
    countries: tuple[Country, ...] = ()
    regions: tuple[Region, ...] = ()
    continents: tuple[Continent, ...] = ()
    asns: tuple[Asn, ...] = ()
    sources: tuple[Source, ...] = ()
    applications: tuple[NamedApplication, ...] | None = None
    action: Action = "block"
    starts: Time | None = None
    expires: Time | None = None
    reason: str = ""
    author: str = ""


class WrittenFeed(msgspec.Struct, frozen=True):
    """One of `feeds`. What it does not say comes from its preset, if it names one.

    Attributes:
        source: "" where it is missing, which is a mistake.
        path: Relative to the policy file; the same.
        url: Where `authz feeds fetch` gets it; "" for a file that somebody else brings.
        interval: Seconds between two fetches.
    """

    source: Source = ""
    path: str = ""
    preset: PresetName | None = None
    url: Url = ""
    interval: Duration | None = None
    format: Format | None = None
    where: dict[str, str] = {}
    min_count: Count | None = None
    bogons: Literal["drop", "keep"] = "drop"
    max_shrink: Share = MAX_SHRINK
    on_broken: Literal["fail", "keep"] = "fail"

    @property
    def known(self) -> Preset | None:
        """The preset."""
        return None if self.preset is None else PRESETS[self.preset]

    @property
    def options(self) -> FeedOptions:
        """How it is read."""
        return FeedOptions(self.format or "auto", self.where, self.min_count or 0, self.bogons)

    def __post_init__(self) -> None:
        """Fill in what the preset says."""
        if self.known is not None:
            from_preset = {
                "source": self.known.source, "path": f"feeds/{self.known.file}", "url": self.known.url,
                "interval": self.known.interval, "format": self.known.format, "min_count": self.known.min_count,
            }  # fmt: skip
            for name, value in from_preset.items():
                if getattr(self, name) in {"", None}:
                    msgspec.structs.force_setattr(self, name, value)


class Geo(msgspec.Struct, frozen=True):
    """`geo`: the databases of countries and ASNs; each is one path or several that are read as one."""

    country: Annotated[tuple[str, ...], OneOrMany] = ()
    asn: Annotated[tuple[str, ...], OneOrMany] = ()


class PolicyLimits(msgspec.Struct, frozen=True):
    """`limits`: the widest networks that an entry may name, in prefix bits."""

    widest_ipv4: int = 12
    widest_ipv6: int = 32


class PolicyDocument(msgspec.Struct, frozen=True):
    """The whole of policy.yaml."""

    version: Annotated[int, Scalar(_version, "1")]
    applications: dict[str, ApplicationSettings] = {}
    entries: tuple[WrittenEntry, ...] = ()
    feeds: tuple[WrittenFeed, ...] = ()
    geo: Geo = Geo()
    limits: PolicyLimits = PolicyLimits()
    protected: tuple[Networks, ...] = ()
