"""The attack signal: what a WAF before us says of a request."""

from __future__ import annotations

_NO_SIGNAL = frozenset({"", "0", "false"})


def header_signals(value: str) -> bool:
    """Return whether the value of the configured header is a signal: anything but empty, `0` and `false`.

    Envoy joins the lines of a header by commas, so between them it is as good as several values.
    """
    return any(part.strip(" \t").lower() not in _NO_SIGNAL for part in value.split(","))


def metadata_signals(value: object) -> bool:
    """Return whether the value of the configured metadata key is a signal: true, a number but 0, or such a text.

    value: as in JSON. A list, an object and null are no signal.
    """
    if isinstance(value, str):
        return header_signals(value)
    return isinstance(value, (bool, int, float)) and value != 0
