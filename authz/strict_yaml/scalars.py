"""Values of YAML files that policy.yaml and the configurations have in common: counts, shares, periods."""

from __future__ import annotations

import re
from typing import Annotated

from authz.errors import BadValue
from authz.strict_yaml.fields import Scalar
from authz.times import DURATION_EXPECTED, parse_duration


def _share(text: str) -> float:
    if not re.fullmatch(r"[01](\.[0-9]{1,9})?", text) or float(text) > 1:
        percent = re.fullmatch(r"([0-9]|[1-9][0-9]|100) ?%", text)
        raise BadValue(text, hint=f"did you mean {int(percent[1]) / 100:g}?" if percent else "")
    return float(text)


def _count(text: str) -> int:
    if not re.fullmatch(r"0|[1-9][0-9]{0,8}", text):
        prefix = re.fullmatch(r"/([0-9]{1,3})", text)
        raise BadValue(text, hint=f"did you mean {prefix[1]}?" if prefix else "")
    return int(text)


def _positive(text: str) -> int:
    if text == "0":
        raise BadValue(text)
    return _count(text)


Share = Annotated[float, Scalar(_share, "a share from 0 to 1")]
Count = Annotated[int, Scalar(_count, "a whole number from 0")]
PositiveCount = Annotated[int, Scalar(_positive, "a whole number from 1")]
Duration = Annotated[float, Scalar(parse_duration, DURATION_EXPECTED)]
