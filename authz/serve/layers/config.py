"""`layers`: the snapshots that a sidecar decides by, in order. `snapshot` is the short form of one, named policy."""

from __future__ import annotations

import math
import re
from typing import TYPE_CHECKING, Annotated, Final, Literal
from urllib.parse import urlsplit

import msgspec

from authz.engine.entries.permissions import May
from authz.engine.model import total_of
from authz.errors import BadValue
from authz.strict_yaml.fields import Scalar
from authz.strict_yaml.scalars import Duration, PositiveCount  # noqa: TC001  # msgspec reads annotations when it runs
from authz.times import parse_duration

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from pathlib import Path

MIN_POLL: Final = 0.01  # seconds; below, looking would be all that we do
STORES: Final = ("s3", "gs", "az")
LAST_GOOD: Final = "last-good"  # folder beside the state file
_NAME = re.compile(r"[a-z0-9][a-z0-9._-]{0,63}")


def _name(text: str) -> str:
    if not _NAME.fullmatch(text):
        raise BadValue(text)
    return text


def _url(text: str) -> str:
    parts = urlsplit(text)
    try:
        good = parts.scheme in {"https", "http", *STORES} and bool(parts.hostname) and parts.port != 0
    except ValueError:  # a port that is no number
        good = False
    if parts.scheme in STORES and (parts.query or not parts.path.strip("/")):  # neither would be of any use
        good = False
    if not good or not text.isascii() or not text.isprintable() or " " in text or parts.username or parts.fragment:
        raise BadValue(text)
    return text


def _bits(most: int) -> Callable[[str], int]:
    def parse(text: str) -> int:
        if not re.fullmatch(r"[0-9]{1,3}", text) or int(text) > most:
            raise BadValue(text)
        return int(text)

    return parse


def _period(text: str) -> float:
    return math.inf if text == "forever" else parse_duration(text)


Period = Annotated[float, Scalar(_period, "a time such as 2h or 7d, or forever")]
LayerName = Annotated[str, Scalar(_name, "a name of lower-case letters, digits, '.', '_' and '-'")]
Url = Annotated[str, Scalar(_url, "https://HOST/PATH, s3://BUCKET/KEY, gs://BUCKET/KEY or az://CONTAINER/KEY")]
Bits4 = Annotated[int, Scalar(_bits(32), "a prefix length from 0 to 32")]
Bits6 = Annotated[int, Scalar(_bits(128), "a prefix length from 0 to 128")]


class MayConfig(msgspec.Struct, frozen=True, kw_only=True):
    """`layers[].may`: what the keys of a layer behind the policy can do at most; else its file is refused."""

    lists: tuple[Literal["allow", "deny", "gray"], ...] = ("deny", "gray")  # lists that entries may be on
    longest: Period = 7 * 24 * 3600.0  # from now to an entry's end; `forever`: an entry may have no end
    widest_ipv4: Bits4 = 24  # the shortest prefix that an entry may name
    widest_ipv6: Bits6 = 56
    applications: tuple[str, ...] | None = None  # names, or patterns such as `team-a-*`; absent: all
    entries: PositiveCount = 2_000_000  # in a layer
    total_ipv4: Bits4 | None = None  # all networks together: as many addresses; None: of a /9 or widest_ipv4; 0: any
    total_ipv6: Bits6 | None = None  # of a /24 or widest_ipv6

    def limits(self) -> May:
        """Return the same as the check takes it."""
        longest = None if self.longest == math.inf else self.longest
        totals = total_of(self.total_ipv4, 4, self.widest_ipv4), total_of(self.total_ipv6, 6, self.widest_ipv6)
        return May(
            frozenset(self.lists), longest, self.widest_ipv4, self.widest_ipv6, self.applications, self.entries,
            *totals,
        )  # fmt: skip


class LayerConfig(msgspec.Struct, frozen=True, kw_only=True):
    """One layer. The first is the policy: the settings of applications and the protected networks are its own."""

    name: LayerName  # as the layer's files name it
    path: str | None = None  # the snapshot file; replaced while we run
    url: Url | None = None  # or where it is fetched from
    trusted_keys: tuple[str, ...]  # PEM files of public keys
    threshold: PositiveCount = 1  # how many of them must have signed
    may: MayConfig | None = None  # for layers behind the first; its defaults where it is absent
    max_size: PositiveCount = 256 << 20  # bytes; a larger file is refused before it is taken
    max_age: Duration = 24 * 3600.0  # older than this since it was made: stale
    when_missing: Literal["ignore", "deny", "allow"] | None = None  # None: deny for the first, ignore for the others
    when_stale: Literal["keep", "ignore", "deny", "allow"] = "keep"
    poll: Duration = 10.0  # a path: how often to look, should the system not tell us; a URL: how often to ask
    wait: Duration = 30.0  # a URL: how long a server that can may hold the answer back until there is a newer file
    timeout: Duration = 10.0  # a URL: for connecting, and for each piece of an answer
    token: str | None = None  # a URL: a file with a bearer token for the server
    ca: str | None = None  # a URL: a PEM file of the authorities that its certificate may be of; None: the system's
    certificate: str | None = None  # a URL: a PEM file with a client certificate
    key: str | None = None  # and with its key


def mistakes(layers: tuple[LayerConfig, ...]) -> Iterator[tuple[int, str, str]]:
    """Yield what is wrong between keys: the number of the layer, the key, and the message."""
    names: set[str] = set()
    for number, layer in enumerate(layers):
        if layer.name in names:
            yield number, "name", f"found '{layer.name}' again, expected another name"
        names.add(layer.name)
        if (layer.path is None) == (layer.url is None):
            yield (
                number,
                "path",
                "found both path and url, expected one" if layer.path else "missing, expected path or url",
            )
        if not layer.trusted_keys:
            yield number, "trusted_keys", "found an empty list, expected one or more files of public keys"
        elif len(layer.trusted_keys) < layer.threshold:
            message = f"found {layer.threshold}, expected at most {len(layer.trusted_keys)}, as many as trusted_keys"
            yield number, "threshold", message
        if layer.poll < MIN_POLL:
            yield number, "poll", f"found {layer.poll:g} seconds, expected {MIN_POLL:g} or more"
        yield from _place(number, layer)
        yield from _transport(number, layer)


def _place(number: int, layer: LayerConfig) -> Iterator[tuple[int, str, str]]:
    """Yield what a layer has that only the first, or only one behind it, may have."""
    wrong = "ignore" if number == 0 else "allow"
    for key in ("when_missing", "when_stale"):
        if getattr(layer, key) == wrong:
            yield number, key, f"found '{wrong}' in the {'first' if number == 0 else 'second or a later'} layer"
    for version in (4, 6) if layer.may is not None else ():
        widest, total = (getattr(layer.may, f"{key}_ipv{version}") for key in ("widest", "total"))
        if total is not None and total > widest:
            message = f"found {total}, expected at most {widest}: a network of widest_ipv{version} has more addresses"
            yield number, f"may.total_ipv{version}", message
    if number == 0 and layer.may is not None:
        yield number, "may", "found in the first layer, expected in those behind it: the first may do everything"


def _transport(number: int, layer: LayerConfig) -> Iterator[tuple[int, str, str]]:
    web = layer.url is not None and urlsplit(layer.url).scheme in {"https", "http"}
    for key in ("token", "ca", "certificate", "key"):
        if getattr(layer, key) is not None and not web:
            yield number, key, "found without a url of https, expected none"
    if (layer.certificate is None) != (layer.key is None):
        yield number, "certificate", "found certificate or key alone, expected both or none"
    if layer.token is not None and (layer.url or "").startswith("http:"):
        yield number, "token", "found with a url of http, expected https: anybody on the way could read it"


def last_good_path(state: Path, layer: str) -> Path:
    """Return where the last good copy of a layer is kept.

    Args:
        state: The state file.
        layer: The name of the layer.
    """
    return state.parent / LAST_GOOD / f"{layer}.snapshot"
