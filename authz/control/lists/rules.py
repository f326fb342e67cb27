"""What the use cases go by: limits of layers, whom nobody may deny, when two people are needed."""

from __future__ import annotations

from typing import TYPE_CHECKING, NamedTuple

from authz.control.limits import Limits
from authz.control.lists.guard import FourEyes

if TYPE_CHECKING:
    from collections.abc import Mapping

    from authz.addresses import Network


class Rules(NamedTuple):
    """What the use cases go by. layers: limits by name; protected: what no entry may deny."""

    layers: Mapping[str, Limits]
    protected: tuple[Network, ...] = ()
    four_eyes: FourEyes = FourEyes()
    bans: str = "bans"  # the layer of `ban`
