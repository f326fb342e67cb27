"""`sinks` of control.yaml: databases that events go to, beside the store."""

from __future__ import annotations

import re
from typing import Annotated

import msgspec

from authz.control.notify.config import WebUrl
from authz.errors import BadValue
from authz.strict_yaml.fields import Scalar


def _table(text: str) -> str:
    if not re.fullmatch(r"(?:[A-Za-z_][A-Za-z0-9_]{0,63}\.)?[A-Za-z_][A-Za-z0-9_]{0,63}", text):
        raise BadValue(text)
    return text


Table = Annotated[str, Scalar(_table, "TABLE or DATABASE.TABLE")]


class SinkConfig(msgspec.Struct, frozen=True, kw_only=True):
    """One of `sinks`."""

    clickhouse: WebUrl  # of its HTTP interface, such as http://127.0.0.1:8123/
    table: Table = "authz_events"
    user: str = "default"
    password_file: str | None = None
