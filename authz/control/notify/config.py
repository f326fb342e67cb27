"""`notify` of control.yaml: who is told of what. Channels come from here only: no tenant can make us call a host."""

from __future__ import annotations

from typing import Annotated, Literal, get_args
from urllib.parse import urlsplit

import msgspec

from authz.engine.model import TOKEN
from authz.errors import BadValue
from authz.scalars import Duration
from authz.strict_yaml import Scalar

Topic = Literal["listed", "entry", "told", "breaker", "warned", "refused", "stale", "shrunk"]


def _name(text: str) -> str:
    if not TOKEN.fullmatch(text):
        raise BadValue
    return text


def _url(text: str) -> str:
    try:
        found = urlsplit(text)
        port = found.port
    except ValueError:
        raise BadValue from None
    if found.scheme not in {"http", "https"} or not found.hostname or port == 0:
        raise BadValue
    return text


ChannelName = Annotated[str, Scalar(_name, "letters, digits, '.', '_' and '-', at most 64")]
WebUrl = Annotated[str, Scalar(_url, "http://HOST/PATH or https://HOST/PATH")]


class Channel(msgspec.Struct, frozen=True, kw_only=True):
    """A webhook. topics: `listed`: by a trigger; `entry`: what people and tokens add, change and delete."""

    name: ChannelName
    webhook: WebUrl
    secret_file: str  # signs each message
    topics: tuple[Topic, ...] = get_args(Topic)
    gather: Duration = 30.0  # what comes within this long goes into one message: at most one a topic in this time


class Notify(msgspec.Struct, frozen=True, kw_only=True):
    """All channels."""

    channels: tuple[Channel, ...] = ()
