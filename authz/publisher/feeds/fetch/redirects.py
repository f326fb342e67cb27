"""Where a redirect may lead: on the same host, or to a public address; never from https to http.

A feed is somebody else's. A redirect of its server to `http://169.254.169.254/` or to a service of our own network
would have us ask there, from within (SSRF). What the operator wrote may be anywhere; what a server answers may not:

    https://lists.example/a  ->  https://lists.example/b    followed
    https://lists.example/a  ->  https://cdn.example/b      its name is resolved once; every address must be public, and
                                                            that address is connected to, whatever the name means later
    https://lists.example/a  ->  http://...                 refused

Through a proxy of the environment it is the proxy that resolves and connects: names are left to it, addresses are not.
"""

from __future__ import annotations

import ipaddress
import socket
import urllib.request
from typing import Any, NamedTuple
from urllib.parse import urljoin, urlsplit

from authz.errors import InputError

_PORTS = {"http": 80, "https": 443}


class Target(NamedTuple):
    """What is to be asked.

    Attributes:
        pinned: The address that is connected to; empty: what the name of the host means.
    """

    url: str
    pinned: str = ""

    def request(self) -> tuple[str, dict[str, str], dict[str, Any]]:
        """Return the URL to connect to, the headers that name the host, and the extensions for httpx."""
        if not self.pinned:
            return self.url, {}, {}
        parts = urlsplit(self.url)
        port = "" if parts.port is None else f":{parts.port}"
        address = f"[{self.pinned}]" if ":" in self.pinned else self.pinned
        url = parts._replace(netloc=address + port, fragment="").geturl()
        return url, {"host": f"{parts.hostname}{port}"}, {"sni_hostname": parts.hostname}


def redirected(before: Target, location: str) -> Target:
    """Return where a redirect leads. Raises InputError if it must not be followed, and OSError for no such name."""
    after = urljoin(before.url, location)
    old, new = urlsplit(before.url), urlsplit(after)
    if new.scheme not in _PORTS or (old.scheme == "https" and new.scheme != "https"):
        raise InputError(f"{public(before.url)}: found a redirect to {public(after)}, expected one that stays on https")
    if not new.hostname:
        raise InputError(f"{public(before.url)}: found a redirect without a host, expected one")
    if (new.hostname, _port(new)) == (old.hostname, _port(old)):
        return Target(after, before.pinned)
    addresses = _addresses(new.scheme, new.hostname, _port(new))
    private = [address for address in addresses if not _is_public(address)]
    if private:
        where = f"found a redirect to {public(after)} ({private[0]})"
        raise InputError(f"{public(before.url)}: {where}, expected the same host or public addresses")
    return Target(after, addresses[0] if addresses else "")


def public(url: str) -> str:
    """Return an address without user, password and query: those may be secrets."""
    parts = urlsplit(url)
    port = f":{parts.port}" if parts.port else ""
    return f"{parts.scheme}://{parts.hostname or ''}{port}{parts.path}"


def _port(parts: Any) -> int:
    return parts.port or _PORTS[parts.scheme]


def _addresses(scheme: str, host: str, port: int) -> list[str]:
    """Return what a host means; nothing if a proxy will find it out."""
    try:
        return [str(ipaddress.ip_address(host))]
    except ValueError:
        if scheme in urllib.request.getproxies() and not urllib.request.proxy_bypass(host):
            return []
    places = socket.getaddrinfo(host, port, type=socket.SOCK_STREAM)
    return list(dict.fromkeys(str(place[4][0]) for place in places))


def _is_public(text: str) -> bool:
    address = ipaddress.ip_address(text.partition("%")[0])
    mapped = getattr(address, "ipv4_mapped", None) or getattr(address, "sixtofour", None)
    return address.is_global and not address.is_multicast and (mapped is None or mapped.is_global)
