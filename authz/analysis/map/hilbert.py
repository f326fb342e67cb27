"""Numbers along a Hilbert curve: neighbours in number are neighbours in the picture, and a network is a rectangle.

The curve of order n fills a square of 2^n x 2^n from the top left to the top right. Its four quarters, in order, are
top left, bottom left, bottom right, top right, each a curve of order n - 1; the first is mirrored at one diagonal, the
last at the other:

    order 1    0 3      order 2    0  1 14 15        so 0.0.0.0/8 is top left in a picture of IPv4, 64.0.0.0/2
               1 2                 3  2 13 12        the quarter below, and 224.0.0.0/3 at the top right
                                   4  7  8 11
                                   5  6  9 10
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

if TYPE_CHECKING:
    from authz.analysis.space import Array


def fold(values: Array) -> Array:
    """Return 4^n values, in the order of their numbers, as a square: rows from the top, columns from the left.

    Takes twice the memory of `values`; each of n steps joins four squares into one, for all squares at once.
    """
    squares: Array = values.reshape(-1, 1, 1)
    while len(squares) > 1:
        first, second, third, fourth = (squares[quarter::4] for quarter in range(4))
        side = squares.shape[1]
        joined = np.empty((len(first), 2 * side, 2 * side), values.dtype)
        joined[:, :side, :side] = first.transpose(0, 2, 1)
        joined[:, side:, :side] = second
        joined[:, side:, side:] = third
        joined[:, :side, side:] = fourth[:, ::-1, ::-1].transpose(0, 2, 1)
        squares = joined
    square: Array = squares[0]
    return square
