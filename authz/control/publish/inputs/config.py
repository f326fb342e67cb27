"""`crowdsec` of control.yaml: LAPIs whose decisions are taken over."""

from __future__ import annotations

from typing import Annotated

import msgspec

from authz.engine.model import TOKEN
from authz.errors import BadValue
from authz.scalars import Duration
from authz.strict_yaml import Scalar


def _name(text: str) -> str:
    if not TOKEN.fullmatch(text):
        raise BadValue(text)
    return text


def _url(text: str) -> str:
    if not text.startswith(("http://", "https://")):
        raise BadValue(text)
    return text.rstrip("/")


class CrowdSec(msgspec.Struct, frozen=True, kw_only=True):
    """One of `crowdsec`. key_file: has the key that `cscli bouncers add` printed."""

    name: Annotated[str, Scalar(_name, "letters, digits, '.', '_' and '-', at most 64")]
    url: Annotated[str, Scalar(_url, "the address of a LAPI, such as http://127.0.0.1:8080")]
    key_file: str
    interval: Duration = 15.0  # seconds between two questions
    applications: tuple[str, ...] = ()  # that its decisions are for; none: all
