"""How finely the parts of the IPv6 space are cut (see authz.snapshot.sections). Without numpy, for few bans."""

from __future__ import annotations

from typing import TYPE_CHECKING

from authz.snapshot.sections import MAX_SLOTS

if TYPE_CHECKING:
    from collections.abc import Sequence

_HALF = 64  # bits of an address that tell slots apart


def slot_bits(counts: Sequence[int], bits: int) -> list[int]:
    """Return for each part k, of its 2^k slots: about as many as there are pieces, and at most `MAX_SLOTS` of all.

    Args:
        counts: By part, in how many /48 of it a piece begins.
        bits: Of the number of a part.
    """
    wanted = [min((count - 1).bit_length(), _HALF - bits) for count in counts]
    fewer = 0
    while sum(1 << max(k - fewer, 0) for k in wanted) > MAX_SLOTS:
        fewer += 1
    return [max(k - fewer, 0) for k in wanted]
