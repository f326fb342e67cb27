"""bans.yaml as a person has changed it: read by the parser of YAML, every mistake with its line."""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated

import msgspec

from authz.addresses import NETWORK_EXPECTED, Network, parse_network
from authz.engine.model import Action, ListName  # noqa: TC001  # msgspec reads the types of fields
from authz.publisher.bans.contents import (
    PERIOD_EXPECTED,
    VERSION,
    BanLimits,
    BansDocument,
    parse_period,
    parse_token,
)
from authz.publisher.bans.record import Ban
from authz.strict_yaml.document import read_file
from authz.strict_yaml.fields import Scalar
from authz.times import MOMENT_EXPECTED, parse_moment

if TYPE_CHECKING:
    from pathlib import Path

_Token = Annotated[str, Scalar(parse_token, "letters, digits, '.', '_' and '-'")]
_Network = Annotated[Network, Scalar(parse_network, NETWORK_EXPECTED)]
_Moment = Annotated[int, Scalar(parse_moment, MOMENT_EXPECTED)]
_Period = Annotated[int | None, Scalar(parse_period, PERIOD_EXPECTED)]
_DEFAULT = BanLimits()


class _Limits(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    lists: tuple[ListName, ...] = _DEFAULT.lists
    longest: _Period = _DEFAULT.longest
    widest_ipv4: int = _DEFAULT.widest_ipv4
    widest_ipv6: int = _DEFAULT.widest_ipv6
    applications: tuple[str, ...] = _DEFAULT.applications
    total_ipv4: int | None = None
    total_ipv6: int | None = None


class _Ban(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    id: _Token
    network: _Network
    list: ListName = "deny"
    applications: tuple[_Token, ...] = ()
    action: Action = "block"
    reason: str = ""
    author: str = ""
    added: _Moment
    expires: _Moment | None = None

    def ban(self) -> Ban:
        return Ban(
            self.id, self.network, self.list, frozenset(self.applications), self.action, self.reason, self.author,
            None, self.expires, self.added,
        )  # fmt: skip


class _Document(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    version: int
    layer: _Token = "bans"
    snapshot: str
    key: str
    policy: str = ""
    serial: int = 0
    may: _Limits = _Limits()
    bans: tuple[_Ban, ...] = ()


def read_yaml(path: Path) -> BansDocument:
    """Read the file. Raises InputError, and InvalidDocument with every mistake."""
    document = read_file(_Document, path)
    content = document.checked()
    if content.version != VERSION:
        document.mistake("version", f"found {content.version}, expected {VERSION}")
    if content.serial < 0:
        document.mistake("serial", f"found {content.serial}, expected 0 or more")
    for version, bits in ((4, 32), (6, 128)):
        for key in (f"widest_ipv{version}", f"total_ipv{version}"):
            length = getattr(content.may, key)
            if length is not None and not 0 <= length <= bits:
                document.mistake(f"may.{key}", f"found {length}, expected 0 to {bits}")
    ids = set[str]()
    for ban in content.bans:
        if ban.id in ids:
            document.mistake(f"{document.key_of(ban)}.id", f"found '{ban.id}' twice, expected each id once")
        ids.add(ban.id)
    content = document.checked()
    return BansDocument(
        content.snapshot, content.key, content.layer, content.serial, BanLimits(*msgspec.structs.astuple(content.may)),
        tuple(ban.ban() for ban in content.bans), content.policy,
    )  # fmt: skip
