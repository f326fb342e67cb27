"""`streams` of control.yaml: a Valkey or Redis by which several control planes share the counting."""

from __future__ import annotations

import re
from typing import Annotated
from urllib.parse import urlsplit

import msgspec

from authz.errors import BadValue
from authz.strict_yaml.fields import Scalar
from authz.strict_yaml.scalars import Duration, PositiveCount

_SCHEMES = {"valkey", "valkeys", "redis", "rediss", "unix"}


def _url(text: str) -> str:
    try:
        url = urlsplit(text)
        port = url.port
    except ValueError:
        raise BadValue from None
    if url.scheme not in _SCHEMES or not (url.hostname or url.path) or port == 0 or url.password:
        raise BadValue
    return text


def _prefix(text: str) -> str:
    if not re.fullmatch(r"[A-Za-z0-9_.-]{1,64}", text):
        raise BadValue
    return text


StreamsUrl = Annotated[
    str, Scalar(_url, "valkey://HOST:6379/0, valkeys://HOST or unix:///PATH, without a password (password_file)")
]
Prefix = Annotated[str, Scalar(_prefix, "letters, digits, '.', '_' and '-', at most 64")]


class Streams(msgspec.Struct, frozen=True, kw_only=True):
    """`streams`. All control planes of a store have to say the same, but for files."""

    url: StreamsUrl | None = None  # none: this process counts alone
    username: str | None = None
    password_file: str | None = None
    prefix: Prefix = "authz"  # of all keys
    partitions: PositiveCount = 16  # at least as many as control planes; changing it loses what is being counted
    keep: Duration = 900.0  # what was counted stays for as long as the longest window, at most this long
