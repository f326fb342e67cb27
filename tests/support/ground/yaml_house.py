"""A small document for tests of strict YAML: a house with doors and a lock."""

from __future__ import annotations

import re
from typing import Annotated, Literal

import msgspec
import pytest

from authz.addresses import Network, parse_network
from authz.errors import BadValue, InvalidDocument
from authz.strict_yaml.document import read
from authz.strict_yaml.fields import Scalar


def two_digits(text: str) -> int:
    if not re.fullmatch("[0-9]{2}", text):
        raise BadValue(text)
    if text == "13":
        raise BadValue(text, hint="13 is bad luck")
    return int(text)


class Door(msgspec.Struct, frozen=True):
    """A part."""

    width: int = 80
    price: float = 1.5
    colour: Literal["red", "off"] = "red"
    open: bool = False
    hinges: tuple[str, ...] = ()
    label: str | None = None
    code: Annotated[int, Scalar(two_digits, "two digits")] = 0
    street: Annotated[Network | None, Scalar(parse_network, "unused")] = None


class Lock(msgspec.Struct, frozen=True):
    """A part with something that must be there."""

    key: str
    turns: int = 1


class House(msgspec.Struct, frozen=True):
    """A document."""

    door: Door = Door()
    rooms: dict[str, Door] = {}
    locks: tuple[Lock, ...] = ()
    except_: str = msgspec.field(default="", name="except")


def door(text: str) -> Door:
    return read(Door, "door.yaml", text).checked()


def mistakes(text: str, environment: dict[str, str] | None = None) -> list[str]:
    """Return the lines of the error, without the name of the file."""
    with pytest.raises(InvalidDocument) as caught:
        read(House, "house.yaml", text, environment).checked()
    lines = caught.value.message.split("\n")
    assert all(line.startswith("house.yaml:") for line in lines)
    return [line.removeprefix("house.yaml:") for line in lines]
