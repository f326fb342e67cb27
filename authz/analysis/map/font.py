"""Letters for pictures: the 5 x 7 dots of old displays, for the ASCII characters.

A letter is five columns from the left, each a byte whose lowest bit is the top dot; the eighth is for descenders. A is
7c 12 11 12 7c:

    . # # # .
    # . . . #        the first column, 7c, is 0111 1100: five dots, from the third row to the seventh
    ...
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

import numpy as np

if TYPE_CHECKING:
    from authz.analysis.space import Array

HEIGHT: Final = 8  # dots
ADVANCE: Final = 6  # dots from the begin of a letter to the begin of the next
_FIRST = " "
_COLUMNS = bytes.fromhex(
    "0000000000 00005f0000 0007000700 147f147f14 242a7f2a12 2313086462 3649562050 0000070000"  # space to '
    "001c224100 0041221c00 2a1c7f1c2a 08083e0808 0080703000 0808080808 0000606000 2010080402"  # ( to /
    "3e5149453e 00427f4000 7249494946 2141494d33 1814127f10 2745454539 3c4a494931 4121110907"  # 0 to 7
    "3649494936 464949291e 0000360000 0080760000 0008142241 1414141414 4122140800 0201590906"  # 8 to ?
    "3e415d594e 7c1211127c 7f49494936 3e41414122 7f4141413e 7f49494941 7f09090901 3e41415173"  # @ to G
    "7f0808087f 00417f4100 2040413f01 7f08142241 7f40404040 7f021c027f 7f0408107f 3e4141413e"  # H to O
    "7f09090906 3e4151215e 7f09192946 2649494932 01017f0101 3f4040403f 1f2040201f 3f4038403f"  # P to W
    "6314081463 0304780403 6159494d43 007f414141 0204081020 004141417f 0402010204 4040404040"  # X to _
    "0003070800 2054545478 7f28444438 3844444428 384444287f 3854545418 00087e0902 18a4a49c78"  # ` to g
    "7f08040478 00447d4000 2040403d00 7f10284400 00417f4000 7c04780478 7c08040478 3844444438"  # h to o
    "fc18242418 18242418fc 7c08040408 4854545424 04043f4424 3c4040207c 1c2040201c 3c4030403c"  # p to w
    "4428102844 4c9090907c 4464544c44 0008364100 0000770000 0041360800 0201020402"  # x to ~
)


def dots(text: str) -> Array:
    """Return the text as a matrix of dots (bool), `HEIGHT` rows; what is not ASCII is a question mark."""
    places = [ord(c) - ord(_FIRST) if _FIRST <= c <= "~" else ord("?") - ord(_FIRST) for c in text]
    table = np.frombuffer(_COLUMNS, np.uint8).reshape(-1, 5)
    columns = np.zeros((len(places), ADVANCE), np.uint8)
    columns[:, :5] = table[places]
    return (columns.reshape(-1)[None, :] >> np.arange(HEIGHT)[:, None] & 1).astype(np.bool_)
