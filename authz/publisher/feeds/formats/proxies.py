"""Proxy lists: `ip:port` or `scheme://ip:port` a line; what follows after white space is not looked at.

    192.0.2.7:8080
    socks5://192.0.2.7:1080
    [2001:db8::1]:3128
    192.0.2.7:80 CO-N-S! +                 clarketm
    192.0.2.7                              an address alone

The port is checked, then dropped: who runs a proxy on one port is blocked on all. Columns for `where`: scheme, port.
"""

from __future__ import annotations

import re
from typing import TYPE_CHECKING

from authz.addresses import try_parse_address
from authz.errors import shorten
from authz.publisher.feeds.formats.lines import content_lines

if TYPE_CHECKING:
    from authz.publisher.feeds.collect import Collector

_PROXY = re.compile(
    r"(?:(?P<scheme>[A-Za-z][A-Za-z0-9+.-]*)://)?"
    r"(?:\[(?P<v6>[0-9A-Fa-f:.]+)\]|(?P<v4>[0-9.]+))"
    r":(?P<port>[0-9]{1,5})/?",
    re.ASCII,
)
_MAX_PORT = 65535


def collect_proxies(content: bytes, collector: Collector) -> None:
    """Read a proxy list into `collector`."""
    for number, line in content_lines(content):
        text = line.split(None, 1)[0]
        proxy = _PROXY.fullmatch(text)
        if try_parse_address(line):
            collector.take(number, line)
        elif proxy:
            _take(collector, number, text, proxy)
        else:
            collector.skip(number, f"found '{shorten(line)}', expected ip:port or scheme://ip:port")


def _take(collector: Collector, number: int, text: str, proxy: re.Match[str]) -> None:
    if not 1 <= int(proxy["port"]) <= _MAX_PORT:
        collector.skip(number, f"found the port {proxy['port']} in '{shorten(text)}', expected 1 to {_MAX_PORT}")
        return
    columns = {name: proxy[name] for name in ("scheme", "port") if proxy[name]}
    collector.take(number, proxy["v6"] or proxy["v4"], columns)
