"""`notify` of control.yaml: who is notified about what. Channels are set here only: no tenant can name a host."""

from __future__ import annotations

import re
from datetime import time
from typing import TYPE_CHECKING, Annotated, Any, Final, Literal, get_args
from urllib.parse import urlsplit
from zoneinfo import ZoneInfo

import msgspec

from authz.control.notify.messenger_schemes import OWN
from authz.control.notify.template import parse_template
from authz.engine.model import TOKEN
from authz.errors import BadValue
from authz.strict_yaml.document import Document
from authz.strict_yaml.fields import Scalar
from authz.strict_yaml.scalars import Duration, PositiveCount

if TYPE_CHECKING:
    from collections.abc import Iterator

Topic = Literal["listed", "entry", "told", "warned", "breaker", "refused", "stale", "feed"]
TOPICS: Final[tuple[Topic, ...]] = get_args(Topic)
KINDS: Final = ("webhook", "apprise_file", "syslog", "splunk", "elastic")
NEED_SECRET: Final = frozenset({"webhook", "splunk"})


def _name(text: str) -> str:
    if not TOKEN.fullmatch(text):
        raise BadValue
    return text


def _url_of(*schemes: str) -> Any:
    def parse(text: str) -> str:
        try:
            url = urlsplit(text)
            port = url.port
        except ValueError:
            raise BadValue from None
        there = url.path if url.scheme == "unix" else url.hostname
        if url.scheme not in schemes or not there or port == 0:
            raise BadValue
        return text

    return parse


def _index_url(text: str) -> str:
    path = urlsplit(_url_of("http", "https")(text)).path
    if not re.fullmatch(r"(/[\w.~-]+)*/[a-z0-9][a-z0-9._-]{0,254}", path):
        raise BadValue
    return text


def _clock(text: str) -> time:
    if not re.fullmatch(r"([01][0-9]|2[0-3]):[0-5][0-9]", text):
        raise BadValue
    return time.fromisoformat(text)


def _zone(text: str) -> ZoneInfo:
    try:
        return ZoneInfo(text)
    except (KeyError, ValueError, OSError) as error:
        raise BadValue from error


def _own_scheme(text: str) -> str:
    if text not in OWN:
        raise BadValue
    return text


ChannelName = Annotated[str, Scalar(_name, "letters, digits, '.', '_' and '-', at most 64")]
WebUrl = Annotated[str, Scalar(_url_of("http", "https"), "http://HOST/PATH or https://HOST/PATH")]
SyslogUrl = Annotated[str, Scalar(_url_of("udp", "tcp", "unix"), "udp://HOST:514, tcp://HOST:514 or unix:///dev/log")]
IndexUrl = Annotated[str, Scalar(_index_url, "https://HOST:9200/INDEX")]
ClockTime = Annotated[time, Scalar(_clock, "a time such as 22:00")]
Zone = Annotated[ZoneInfo, Scalar(_zone, "a time zone such as Europe/Berlin")]
Template = Annotated[str, Scalar(parse_template, "a template of Jinja2 such as '{{ count }} by {{ topic }}'")]
OwnScheme = Annotated[str, Scalar(_own_scheme, f"one of {', '.join(sorted(OWN))}")]


class Quiet(msgspec.Struct, frozen=True, kw_only=True, rename={"from_": "from"}):
    """`quiet`: hours in which only `urgent` topics are told. What comes meanwhile is gathered until they are over."""

    from_: ClockTime
    to: ClockTime
    zone: Zone = ZoneInfo("UTC")
    urgent: tuple[Topic, ...] = ("breaker", "refused")


class Channel(msgspec.Struct, frozen=True, kw_only=True):
    """One way to tell; exactly one of `webhook`, `apprise_file`, `syslog`, `splunk` and `elastic`."""

    name: ChannelName
    webhook: WebUrl | None = None
    apprise_file: str | None = None  # URLs of messengers, one a line
    syslog: SyslogUrl | None = None
    splunk: WebUrl | None = None  # https://HOST:8088/services/collector/event
    elastic: IndexUrl | None = None
    secret_file: str | None = None  # signs a webhook's messages; token of Splunk; API key of Elastic
    topics: tuple[Topic, ...] = TOPICS
    tenant: str | None = None  # only what is of this tenant; none: all
    gather: Duration = 30.0  # what comes within this long goes into one message a topic
    at_most: PositiveCount = 60  # messages an hour; what is above waits, and is gathered
    quiet: Quiet | None = None
    text: Template | None = None  # of a message
    apprise_schemes: tuple[OwnScheme, ...] = ()  # of Notify, where a channel has to know them

    @property
    def kind(self) -> str:
        """Which of KINDS it is."""
        return next(kind for kind in KINDS if getattr(self, kind) is not None)


class Notify(msgspec.Struct, frozen=True, kw_only=True):
    """All channels."""

    channels: tuple[Channel, ...] = ()
    stale: Duration = 300.0  # notify about a sidecar that is behind, or was not seen, for this long
    apprise_schemes: tuple[OwnScheme, ...] = ()  # of messengers that reach whatever host a URL names


def check_channels(document: Document[Any], notify: Notify) -> None:
    """Note the mistakes that lie between keys."""
    for number, channel in enumerate(notify.channels):
        for key, message in _problems(channel, {earlier.name for earlier in notify.channels[:number]}):
            document.mistake(f"notify.channels[{number}]{key}", message)


def _problems(channel: Channel, before: set[str]) -> Iterator[tuple[str, str]]:
    if channel.name in before:
        yield ".name", f"found '{channel.name}' twice, expected each channel once"
    kinds = [kind for kind in KINDS if getattr(channel, kind) is not None]
    if len(kinds) != 1:
        given = f"found {' and '.join(kinds)}" if kinds else "found no receiver"
        yield "", f"{given}, expected one of the keys {', '.join(KINDS)}"
    elif kinds[0] in NEED_SECRET and channel.secret_file is None:
        yield ".secret_file", f"missing, and {kinds[0]} needs one"
    if channel.apprise_schemes:
        yield ".apprise_schemes", "found here, expected at notify.apprise_schemes"
