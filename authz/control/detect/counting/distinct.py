"""How many different values in the last seconds.

Few are counted exactly, by a digest of each value and the last time it came. Many are sketched: a HyperLogLog
(Flajolet, Fusy, Gandouet, Meunier, 2007) for each sixth of the window, 1,024 registers of a byte each; the estimate is
within some 3 % of the truth two times in three. As in the module `windows`, a sketched window may reach back
one slice further.

Digests are keyed by a secret of the process, so nobody can choose values that fall together.
"""

from __future__ import annotations

import math
import secrets
from array import array
from hashlib import blake2b
from typing import TYPE_CHECKING, Final

if TYPE_CHECKING:
    from collections.abc import Iterable

SLICES: Final = 6  # of a sketched window
_REGISTER_BITS: Final = 10
REGISTERS: Final = 1 << _REGISTER_BITS
_ALPHA: Final = 0.7213 / (1 + 1.079 / REGISTERS)  # the paper's correction of bias, for this many registers
_REST_BITS: Final = 64 - _REGISTER_BITS
_KEY: Final = secrets.token_bytes(16)
_POWERS: Final = [2.0**-rank for rank in range(_REST_BITS + 2)]


def digest(value: str) -> int:
    """Return 64 bits of a value that nobody outside this process can foresee."""
    text = value.encode("utf-8", "surrogatepass")
    return int.from_bytes(blake2b(text, digest_size=8, key=_KEY).digest(), "big")


class HyperLogLog:
    """An estimate of how many different digests were added. Each step costs the same, however many there were."""

    __slots__ = ("_empty", "_sum", "registers")

    def __init__(self, registers: bytes = bytes(REGISTERS)) -> None:
        self.registers = bytearray(registers)
        self._empty = registers.count(0)
        self._sum = sum(_POWERS[rank] for rank in registers)  # of 2 ** -rank over all registers

    def add(self, value: int) -> None:
        """Add a digest of 64 bits."""
        register = value >> _REST_BITS
        rest = value & ((1 << _REST_BITS) - 1)
        rank = _REST_BITS - rest.bit_length() + 1  # the place of the first 1 bit
        before = self.registers[register]
        if rank > before:
            self.registers[register] = rank
            self._sum += _POWERS[rank] - _POWERS[before]
            self._empty -= before == 0

    def estimate(self) -> float:
        """Return about how many different digests were added."""
        raw = _ALPHA * REGISTERS**2 / self._sum
        if raw <= 2.5 * REGISTERS and self._empty:
            return REGISTERS * math.log(REGISTERS / self._empty)  # linear counting, for few
        return raw


def union(sketches: Iterable[HyperLogLog]) -> HyperLogLog:
    """Return the sketch of all that was added to any of these."""
    registers = bytes(REGISTERS)
    for sketch in sketches:
        registers = bytes(map(max, registers, sketch.registers))
    return HyperLogLog(registers)


class ExactDistinct:
    """Different values for a small limit: the last time of each of the newest `limit` + 1 values."""

    __slots__ = ("_kept", "_newest", "_oldest", "_times", "_values", "_within")

    def __init__(self, limit: int, within: float) -> None:
        self._kept = limit + 1
        self._within = within
        self._newest = -math.inf
        self._oldest = math.inf  # no time is earlier; the earliest may be later
        self._values = array("Q")  # beside each, at the same place, its last time
        self._times = array("d")

    def add(self, time: float, value: int) -> int:
        """Count a digest at `time`; return how many different ones there are. More than limit + 1 say limit + 1."""
        values, times = self._values, self._times
        self._newest = max(self._newest, time)
        begin = self._newest - self._within
        if time > begin:
            try:
                place = values.index(value)
            except ValueError:
                values.append(value)
                times.append(time)
                self._oldest = min(self._oldest, time)
            else:
                times[place] = max(times[place], time)
        if self._oldest <= begin:
            self._forget(begin)
        elif len(times) > self._kept:
            place = times.index(min(times))
            del times[place], values[place]
        return len(self._times)

    def _forget(self, begin: float) -> None:
        kept = [(value, last) for value, last in self.last_times() if last > begin]
        self._values = array("Q", (value for value, _ in kept))
        self._times = array("d", (last for _, last in kept))
        self._oldest = min(self._times, default=math.inf)

    def last_times(self) -> Iterable[tuple[int, float]]:
        """Return each digest, with the last time it came."""
        return zip(self._values, self._times, strict=True)

    def __len__(self) -> int:
        return len(self._times)


class SketchedDistinct:
    """Different values for a large limit, estimated."""

    __slots__ = ("_all", "_newest", "_sketches", "_slice")

    def __init__(self, within: float) -> None:
        self._slice = within / SLICES
        self._newest = -1
        self._sketches: dict[int, HyperLogLog] = {}  # by number of the slice since 1970
        self._all = HyperLogLog()  # their union

    def add(self, time: float, value: int) -> int:
        """Count a digest at `time`; return about how many different ones there are."""
        number = int(time / self._slice)
        if number > self._newest:
            self._newest = number
            self._sketches = {old: sketch for old, sketch in self._sketches.items() if old >= number - SLICES}
            self._all = union(self._sketches.values())
        if number >= self._newest - SLICES:
            sketch = self._sketches.get(number)
            if sketch is None:
                sketch = self._sketches[number] = HyperLogLog()
            sketch.add(value)
            self._all.add(value)
        return round(self._all.estimate())

    def __len__(self) -> int:
        return len(self._sketches)
