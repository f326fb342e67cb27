"""What stands in bans.yaml: the layer and its limits, the key, the bans; and periods as they are written."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final, NamedTuple

from authz.engine.model import TOKEN, ListName, total_of
from authz.errors import BadValue
from authz.times import parse_duration

if TYPE_CHECKING:
    from authz.publisher.bans.record import Ban

FOREVER: Final = "forever"
PERIOD_EXPECTED: Final = "a period such as 5m, 2h or 7d, or forever"
VERSION: Final = 1  # of the file
_UNITS: Final = (("d", 86400), ("h", 3600), ("m", 60), ("s", 1))


class BanLimits(NamedTuple):
    """What the layer may do, as `may` in authz.yaml tells the sidecars.

    Attributes:
        longest: Seconds; None: no limit.
        widest_ipv4: Prefix bits; a wider network is refused.
        widest_ipv6: Prefix bits; a wider network is refused.
        applications: Patterns such as `team-a-*`. If there are any, each ban must name applications that match one.
        total_ipv4: Prefix bits; all networks together have at most as many addresses as one of so many. 0: no limit;
            None: a /9, or `widest_ipv4` where that is wider.
        total_ipv6: The same for IPv6, a /24.
    """

    lists: tuple[ListName, ...] = ("deny", "gray")
    longest: int | None = 7 * 86400
    widest_ipv4: int = 24
    widest_ipv6: int = 56
    applications: tuple[str, ...] = ()
    total_ipv4: int | None = None
    total_ipv6: int | None = None

    def widest(self, version: int) -> int:
        """Return the prefix bits that a network of this version has at least."""
        return self.widest_ipv4 if version == 4 else self.widest_ipv6

    def total(self, version: int) -> int:
        """Return the prefix bits of a network that has as many addresses of this version as the layer may cover."""
        return total_of(self.total_ipv4 if version == 4 else self.total_ipv6, version, self.widest(version))


class BansDocument(NamedTuple):
    """The file. Its paths are relative to it.

    Attributes:
        snapshot: The snapshot that is written.
        key: Signs it: a file or a URI.
        serial: Of the last snapshot.
        policy: The snapshot of the first layer, whose protected networks no ban may touch; "": not known here.
    """

    snapshot: str
    key: str
    layer: str = "bans"
    serial: int = 0
    may: BanLimits = BanLimits()
    bans: tuple[Ban, ...] = ()
    policy: str = ""


def parse_period(text: str) -> int | None:
    """Return a period in seconds, or None for `forever`.

    Args:
        text: Such as `2h`.

    Raises:
        BadValue: It is not a period.
    """
    if text == FOREVER:
        return None
    try:
        return int(parse_duration(text))
    except BadValue:
        raise BadValue(text, PERIOD_EXPECTED) from None


def format_period(seconds: int | None) -> str:
    """Return a period as it is written: `7d`, `90m`, `forever`."""
    if seconds is None:
        return FOREVER
    unit, size = next((unit, size) for unit, size in _UNITS if seconds % size == 0)
    return f"{seconds // size}{unit}"


def parse_token(text: str) -> str:
    """Return an id or the name of an application or a layer. Raises BadValue."""
    if not TOKEN.fullmatch(text):
        raise BadValue(text)
    return text
