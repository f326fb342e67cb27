r"""Reading many bare IPv4 lines at once: numpy on the bytes, for what nearly every line of a big feed is.

A bare line is "192.0.2.7" or "192.0.2.0/24" and nothing else. The text is cut at its stops, which are '.', '/' and the
end of a line, and the number before each stop is computed from the three bytes before it, for all stops together:

    192.0.2.0/24\n     numbers 192 0 2 0 24, stops . . . / \n: five, of the kinds of a network
    192.0.2.7\n        numbers 192 0 2 7,    stops . . . \n:   four, of the kinds of an address

As strict as `authz.addresses.parse_network`: no leading zeros, no host bits. What does not fit is left to the caller,
which reads it slowly and can say what is wrong with it.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, NamedTuple

import numpy as np

if TYPE_CHECKING:
    from authz.publisher.index.prefixes import Array

_DOT, _SLASH, _END = 1, 2, 3
_KINDS = np.zeros(256, np.uint8)
_KINDS[[ord("."), ord("/"), ord("\n")]] = _DOT, _SLASH, _END
_WEIGHTS = np.array([1 << 24, 1 << 16, 1 << 8, 1], np.uint64)


class BareLines(NamedTuple):
    """What was read. Lines count from 0.

    values (first addresses, u64) and lengths (prefix bits, u8) of the bare `lines`; starts and ends: where the `others`
    lie in the text, without their newline.
    """

    lines: Array
    values: Array
    lengths: Array
    others: Array
    starts: Array
    ends: Array


def parse_bare_lines(text: bytes) -> BareLines:
    """Read the bare lines of a text that ends with a newline."""
    codes = np.frombuffer(text, np.uint8)
    kinds = _KINDS[codes]
    stops = np.flatnonzero(kinds)
    kinds = kinds[stops]
    numbers, good = _numbers(codes, stops)

    ends = np.flatnonzero(kinds == _END)  # from here on, places are places in `stops`
    parts = np.diff(ends, prepend=-1)
    lines = np.flatnonzero((parts == 4) | (parts == 5))
    end, network = ends[lines], parts[lines] == 5
    octets = (end - network)[:, None] + np.arange(-3, 1)
    lengths = np.where(network, numbers[end], 32)
    values = numbers[octets] @ _WEIGHTS
    host_bits = values & ((np.uint64(1) << (32 - np.minimum(lengths, 32))) - np.uint64(1))
    bare = (
        good[octets].all(1)
        & (numbers[octets] <= 255).all(1)
        & (kinds[octets[:, :3]] == _DOT).all(1)
        & (~network | ((kinds[octets[:, 3]] == _SLASH) & good[end] & (lengths <= 32)))
        & (host_bits == 0)
    )

    is_other = np.ones(len(ends), np.bool_)
    is_other[lines[bare]] = False
    others = np.flatnonzero(is_other)
    line_ends = stops[ends]
    line_starts = np.concatenate([[0], line_ends[:-1] + 1])
    return BareLines(
        lines[bare], values[bare], lengths[bare].astype(np.uint8), others, line_starts[others], line_ends[others]
    )


def _numbers(codes: Array, stops: Array) -> tuple[Array, Array]:
    """Return the number before each stop (u64), and whether it is one: one to three digits, no leading zeros."""
    width = np.diff(stops, prepend=-1) - 1
    good = (width >= 1) & (width <= 3)
    number = np.zeros(len(stops), np.uint64)
    for place, weight in ((1, 1), (2, 10), (3, 100)):
        # Before the first stop this wraps around; `width` keeps what is read there out of the number.
        digit = codes.take(stops - place, mode="wrap") - np.uint8(ord("0"))
        there = width >= place
        good &= ~there | (digit <= 9)  # what is below "0" has wrapped to above 9
        good &= (width != place) | (digit != 0) | (place == 1)
        number += np.where(there, digit.astype(np.uint64) * np.uint64(weight), np.uint64(0))
    return number, good
