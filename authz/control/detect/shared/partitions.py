"""Which events are counted together: those of one network, as wide as the widest that a trigger counts by.

Where a trigger counts by autonomous system, a system's events go together; a network that lies in two systems is then
counted in two parts.
"""

from __future__ import annotations

import zlib
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Iterable

    from authz.addresses import Address
    from authz.control.detect.counting.places import Places
    from authz.control.detect.triggers.file import Trigger

V4, V6 = 24, 56  # prefix bits, where triggers count by nothing wider


class Partitioning:
    """Gives each client its partition. All processes have the same triggers, so they give the same."""

    def __init__(self, partitions: int, triggers: Iterable[Trigger], places: Places) -> None:
        lengths = [trigger.count.lengths() for trigger in triggers]
        self._partitions = partitions
        self._shift4 = 32 - min([V4, *(v4 for v4, _ in lengths)])
        self._shift6 = 128 - min([V6, *(v6 for _, v6 in lengths)])
        self._places = places if any(trigger.count.by == "asn" for trigger in triggers) else None

    def of(self, client: Address) -> int:
        """Return the partition of a client, from 0."""
        system = self._places.asn_of(client) if self._places is not None else 0
        if system:
            text = f"AS{system}"
        elif client.version == 4:
            text = f"4:{client.value >> self._shift4}"
        else:
            text = f"6:{client.value >> self._shift6}"
        return zlib.crc32(text.encode()) % self._partitions
