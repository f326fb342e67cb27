"""`sources` of control.yaml: where events come from besides `POST /v1/events`.

Nobody has to show a token here: listen on loopback or a unix socket, and let only the proxy reach it.
"""

from __future__ import annotations

from typing import Annotated

import msgspec

from authz.control.detect.logs import FORMATS
from authz.errors import BadValue
from authz.serve.config.values import Listen, ListenOn
from authz.strict_yaml.fields import Scalar


def _format(text: str) -> str:
    if text not in FORMATS:
        raise BadValue(text)
    return text


Format = Annotated[str, Scalar(_format, f"one of {', '.join(FORMATS)}")]


class EnvoySource(msgspec.Struct, frozen=True, kw_only=True):
    """`sources.envoy`: the gRPC access log service of Envoy.

    Attributes:
        waf: The namespace of dynamic metadata in which a WAF's filter says `attacks` (a text, or a list) and `payload`.
    """

    listen: ListenOn = Listen()
    waf: str | None = None


class SyslogSource(msgspec.Struct, frozen=True, kw_only=True):
    """`sources.syslog`: nginx's `access_log syslog:server=…`. At an address by UDP and by TCP; or a unix socket."""

    listen: ListenOn = Listen()
    format: Format = "auto"


class FileSource(msgspec.Struct, frozen=True, kw_only=True):
    """One of `sources.files`: a log file that somebody writes and rotates. New lines count from the start on."""

    path: str
    format: Format = "auto"


class Sources(msgspec.Struct, frozen=True, kw_only=True):
    """`sources`: all of them."""

    envoy: EnvoySource = EnvoySource()
    syslog: SyslogSource = SyslogSource()
    files: tuple[FileSource, ...] = ()
