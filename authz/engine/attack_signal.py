"""The attack signal: what a WAF before us says of a request."""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from google.protobuf.struct_pb2 import Value

_NO_SIGNAL = frozenset({"", "0", "false"})


def header_signals(value: str) -> bool:
    """Return whether the value of the configured header is a signal: anything but empty, `0` and `false`.

    Envoy joins the lines of a header by commas, so between them it is as good as several values.
    """
    return any(part.strip(" \t").lower() not in _NO_SIGNAL for part in value.split(","))


def metadata_signals(value: Value) -> bool:
    """Return whether the value of the configured metadata key is a signal: true, a number but 0, or such a text."""
    kind = value.WhichOneof("kind")
    if kind == "bool_value":
        return value.bool_value
    if kind == "number_value":
        return value.number_value != 0
    return kind == "string_value" and header_signals(value.string_value)
