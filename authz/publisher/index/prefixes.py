"""Many networks as numpy arrays (publisher only).

Addresses of both versions are left-aligned in 128 bits, as two arrays of 64: 10.0.0.0/8 is high 0x0A00_0000_0000_0000,
low 0, length 8. So one piece of code cuts, sorts and nests either version.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, NamedTuple

import numpy as np

from authz.addresses import Network

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Sequence
    from typing import Any

    Array = np.ndarray[Any, Any]  # one-dimensional; the element type is said where it matters

_LOW = 0xFFFFFFFFFFFFFFFF
_ALL = np.uint64(_LOW)


class Prefixes(NamedTuple):
    """Networks of one version.

    Attributes:
        high: The upper 64 bits of their first addresses, left-aligned.
        low: The lower 64 bits.
        length: Prefix bits.
    """

    high: Array  # u64
    low: Array  # u64
    length: Array  # u8

    def __len__(self) -> int:
        return len(self.length)

    @classmethod
    def of(cls, version: int, values: Sequence[int], lengths: Sequence[int]) -> Prefixes:
        """Return the networks with these first addresses (as plain numbers of the version) and prefix bits."""
        if version == 4:
            high = np.array(values, dtype=np.uint64) << np.uint64(32)
            return cls(high, np.zeros(len(values), np.uint64), np.array(lengths, np.uint8))
        highs = np.array([v >> 64 for v in values], np.uint64)
        return cls(highs, np.array([v & _LOW for v in values], np.uint64), np.array(lengths, np.uint8))

    @classmethod
    def split(cls, networks: Iterable[Network]) -> dict[int, Prefixes]:
        """Return the networks by version."""
        kept = list(networks)
        return {
            version: cls.of(version, [n.value for n in kept if n.version == version],
                            [n.length for n in kept if n.version == version])
            for version in (4, 6)
        }  # fmt: skip

    @classmethod
    def concatenate(cls, many: Sequence[Prefixes]) -> Prefixes:
        """Return all networks of `many`, in order."""
        if not many:
            return cls.of(4, [], [])
        return cls(*(np.concatenate(columns) for columns in zip(*many, strict=True)))

    def inside(self, other: Prefixes) -> Array:
        """Return for each network whether it lies in one of `other`, of which there are few."""
        chosen = np.zeros(len(self), np.bool_)
        for high, low, length in zip(other.high, other.low, other.length, strict=True):
            mask_high, mask_low = masks(int(length))
            chosen |= (self.high & mask_high == high) & (self.low & mask_low == low) & (self.length >= length)
        return chosen

    def overlapping(self, network: Network) -> Iterator[Network]:
        """Give those that have addresses in common with a network of the same version."""
        (high,), (low,), _ = Prefixes.of(network.version, [network.value], [network.length])
        length = np.minimum(self.length, network.length).astype(np.uint64)
        # A shift by 64 is undefined; of length 0 no bit counts.
        mask_high = np.where(length > 0, _ALL << (np.uint64(64) - np.clip(length, 1, 64)), np.uint64(0))
        mask_low = np.where(length > 64, _ALL << (np.uint64(128) - np.clip(length, 65, 128)), np.uint64(0))
        common = ((self.high ^ high) & mask_high == 0) & ((self.low ^ low) & mask_low == 0)
        for place in np.flatnonzero(common).tolist():
            value = int(self.high[place]) >> 32
            if network.version == 6:
                value = int(self.high[place]) << 64 | int(self.low[place])
            yield Network(network.version, value, int(self.length[place]))

    def ends(self) -> tuple[Array, Array]:
        """Return the first addresses behind each network; (0, 0) behind the last address there is."""
        length = self.length.astype(np.uint64)
        wide = length <= 64
        # A shift by 64 is undefined; length 0 must give 0 here, for the end of ::/0 is (0, 0).
        step_high = np.where(
            wide & (length > 0), np.uint64(1) << (np.uint64(64) - np.clip(length, 1, 64)), np.uint64(0)
        )
        step_low = np.where(wide, np.uint64(0), np.uint64(1) << (np.uint64(128) - np.clip(length, 65, 128)))
        low = self.low + step_low
        carry = (~wide) & (low == 0)
        return self.high + step_high + carry.astype(np.uint64), low


def masks(length: int) -> tuple[np.uint64, np.uint64]:
    """Return the high and low half of the mask with `length` leading ones."""
    mask = ((1 << length) - 1) << (128 - length)
    return np.uint64(mask >> 64), np.uint64(mask & _LOW)
