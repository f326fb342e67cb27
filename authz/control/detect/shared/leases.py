"""Which process counts which partition: a key with a time to live for each, and a set of the processes that live.

Each process takes its fair share. When one dies, its keys are gone after TTL seconds, and the others take them. One
that is too slow to renew (a long pause) finds its keys gone, and stops counting those partitions.
"""

from __future__ import annotations

import time
from typing import TYPE_CHECKING, Any, Final

if TYPE_CHECKING:
    from collections.abc import Callable

TTL: Final = 5.0  # seconds
RENEW: Final = 1.0  # seconds from one renewal to the next
# Only the holder renews, and only the holder gives back.
_RENEW: Final = "if redis.call('get',KEYS[1])==ARGV[1] then return redis.call('pexpire',KEYS[1],ARGV[2]) end return 0"
_RELEASE: Final = "if redis.call('get',KEYS[1])==ARGV[1] then return redis.call('del',KEYS[1]) end return 0"


class Leases:
    """The partitions of one process.

    Args:
        client: Of Valkey.
        prefix: Of the keys.
        name: Of the process; no two have the same.
        partitions: How many there are.
        clock: Seconds, which only go on.

    """

    def __init__(
        self, client: Any, prefix: str, name: str, partitions: int, clock: Callable[[], float] = time.monotonic
    ) -> None:
        self._client = client
        self._prefix = prefix
        self._name = name
        self._partitions = partitions
        self._clock = clock
        self._until: dict[int, float] = {}

    def held(self) -> set[int]:
        """Return the partitions that are ours now."""
        now = self._clock()
        return {partition for partition, until in [*self._until.items()] if until > now}

    def holds(self, partition: int) -> bool:
        """Return whether a partition is ours now."""
        return self._until.get(partition, 0.0) > self._clock()

    def renew(self) -> None:
        """Renew what is ours, take our share of what is free, and give back what is above it. Raises ValkeyError."""
        for partition in [*self._until]:
            begun = self._clock()
            if self._client.eval(_RENEW, 1, self._key(partition), self._name, int(TTL * 1000)):
                self._until[partition] = begun + TTL
            else:
                del self._until[partition]
        share = -(-self._partitions // self._living())
        for partition in sorted(self._until)[share:]:
            self.release(partition)
        for partition in range(self._partitions):
            if len(self._until) >= share:
                return
            begun = self._clock()
            if partition not in self._until and self._client.set(
                self._key(partition), self._name, nx=True, px=int(TTL * 1000)
            ):
                self._until[partition] = begun + TTL

    def release(self, partition: int) -> None:
        """Give a partition back. Raises ValkeyError."""
        self._until.pop(partition, None)
        self._client.eval(_RELEASE, 1, self._key(partition), self._name)

    def close(self) -> None:
        """Give all back. Raises ValkeyError."""
        for partition in [*self._until]:
            self.release(partition)
        self._client.zrem(f"{self._prefix}:planes", self._name)

    def _living(self) -> int:
        """Say that we live; return how many processes do. The clock is the server's."""
        key = f"{self._prefix}:planes"
        seconds, micros = self._client.time()
        now = seconds + micros / 1e6
        self._client.zadd(key, {self._name: now})
        self._client.zremrangebyscore(key, 0, now - TTL)
        return max(1, int(self._client.zcard(key)))

    def _key(self, partition: int) -> str:
        return f"{self._prefix}:owner:{partition}"
