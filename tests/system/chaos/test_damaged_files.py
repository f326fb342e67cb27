"""Every bit flipped and every truncation of a small file of each layer: refused with a documented code."""

from __future__ import annotations

from functools import cache
from typing import TYPE_CHECKING

import pytest
from support.publishing.publisher import Publisher
from support.snapshot.forge import flip
from support.snapshot.refusal import code_of, documented_codes

from authz.addresses import parse_network
from authz.publisher.bans import Ban, build_bans_layer
from authz.publisher.bans.build import build_part
from authz.publisher.bans.table import BanTable
from authz.snapshot.ban_ids import ban_id
from authz.snapshot.heading import Requirement

if TYPE_CHECKING:
    from collections.abc import Callable

NOW = 1_795_000_000
FILES = ("policy", "bans", "bans with parts", "a part of bans")
STEPS = [pytest.param(97, id="some"), pytest.param(1, id="all", marks=pytest.mark.long)]


@pytest.fixture(scope="module")
def keys(tmp_path_factory: pytest.TempPathFactory) -> Publisher:
    return Publisher(tmp_path_factory.mktemp("damaged"))


@pytest.fixture(scope="module")
def content(keys: Publisher) -> Callable[[str], bytes]:
    """Return the content of a file by its name."""
    bans = [
        Ban(ban_id(number), parse_network(network), reason="guessing", expires=NOW * 2, added=NOW)
        for number, network in enumerate(("192.0.2.7", "198.51.100.0/28", "2001:db8::1", "2001:db8:5::/64"))
    ]
    signers = [keys.signer()]

    @cache
    def of(name: str) -> bytes:
        if name == "policy":
            return keys.publish().read_bytes()
        if name == "a part of bans":
            return build_part(BanTable.of(bans[::2]), layer="bans", serial=3, created=NOW, signers=signers)
        parts = [Requirement(3, "ab" * 32)] if name == "bans with parts" else []
        return build_bans_layer(
            bans, layer="bans", serial=4, created=NOW, signers=signers, requires=parts, tombstones=range(9 * len(parts))
        )

    return of


@pytest.mark.parametrize("step", STEPS)
@pytest.mark.parametrize("name", FILES)
def test_every_flipped_bit_is_refused(content: Callable[[str], bytes], keys: Publisher, name: str, step: int) -> None:
    data = content(name)
    assert code_of(data, keys) == "ok"
    codes = {code_of(flip(data, bit // 8, bit % 8), keys) for bit in range(0, len(data) * 8, step)}
    assert codes <= documented_codes()


@pytest.mark.parametrize("step", STEPS)
@pytest.mark.parametrize("name", FILES)
def test_every_truncation_is_refused(content: Callable[[str], bytes], keys: Publisher, name: str, step: int) -> None:
    data = content(name)
    assert {code_of(data[:size], keys) for size in range(0, len(data), step)} == {"truncated"}
