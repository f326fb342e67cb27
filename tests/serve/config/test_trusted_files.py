"""`client_address.trusted_proxies_files`: the networks of a CDN, from a file of their own."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest
from support.sidecar.config_text import LEAST

from authz.addresses import parse_address
from authz.errors import InputError, InvalidDocument
from authz.serve.config.trusted_files import MAX_SIZE

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    from authz.serve.config.config import Config

    Load = Callable[..., Config]

FILES = LEAST + "client_address: {trusted_proxies: [127.0.0.1], trusted_proxies_files: [cdn.txt]}\n"


def test_the_networks_of_a_file_are_trusted_beside_those_of_the_configuration(load: Load, tmp_path: Path) -> None:
    (tmp_path / "cdn.txt").write_text(
        "# as published\n198.51.100.0/24\n\n2001:db8::/32   # IPv6\n192.0.2.1-192.0.2.2\n"
    )
    trusted = load(FILES).client_address.rules().trusted_proxies
    for address in ("127.0.0.1", "198.51.100.40", "2001:db8::1", "192.0.2.2"):
        assert parse_address(address) in trusted, address
    assert parse_address("192.0.2.3") not in trusted


@pytest.mark.parametrize(("content", "message"), [
    ("198.51.100.0/24\n<html>\n", "cdn.txt, line 2: found '<html>', expected"),
    ("198.51.100.1/24\n", "cdn.txt, line 1: found '198.51.100.1/24', expected a network without host bits"),
    ("# nothing came\n", "cdn.txt: found no network"),
    ("#" * (MAX_SIZE + 1), f"cdn.txt: found more than {MAX_SIZE} bytes"),
    ("\udcff\n", "cdn.txt, line 1: found"),
])  # fmt: skip
def test_a_file_that_broke_on_its_way_is_refused_whole(load: Load, tmp_path: Path, content: str, message: str) -> None:
    """Without the networks that it should have, every server of the CDN would be a client."""
    (tmp_path / "cdn.txt").write_bytes(content.encode(errors="surrogateescape"))
    with pytest.raises(InputError, match=r"cdn\.txt") as refused:
        load(FILES)
    assert message in str(refused.value)


def test_a_file_that_is_not_there_is_named(load: Load) -> None:
    with pytest.raises(InputError, match=r"cdn\.txt: cannot be read: No such file or directory"):
        load(FILES)


def test_a_count_of_proxies_and_a_file_of_them_exclude_each_other(load: Load) -> None:
    with pytest.raises(InvalidDocument, match=r"client_address\.trusted_hops: found beside trusted_proxies"):
        load(FILES.replace("trusted_proxies: [127.0.0.1]", "trusted_hops: 1"))
