"""The map of one list: exactly the addresses that its entries name, whatever other lists say."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING

import pytest
from support.console.forms import Console
from support.control import control
from support.processes import wait_for

if TYPE_CHECKING:
    from collections.abc import Iterator

    from support.control import Control


@pytest.fixture(scope="module")
def plane(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Control]:
    with control(tmp_path_factory.mktemp("map") / "control") as running:
        for list_, networks in (
            ("deny", ["198.51.100.0/24", "203.0.113.0/24"]),
            ("allow", ["203.0.113.0/24"]),
            ("gray", ["192.0.2.0/24", "192.88.99.0/24"]),
        ):
            entry = {"list": list_, "networks": networks, "period": "forever"}
            running.ok("POST", "/v1/entries?wait=published", entry)
        yield running


def squares(console: Console, path: str) -> set[str]:
    wait_for(lambda: 'class="muted">' in console.get(path).text and "is being drawn" not in console.get(path).text,
             "the map is drawn")  # fmt: skip
    return set(re.findall(r'data-network="([^"]+)" class="has"', console.get(path).text))


@pytest.mark.parametrize(
    ("list_", "expected"),
    [
        ("deny", {"198.0.0.0/8", "203.0.0.0/8"}),  # in the picture of what is decided 203.0.113.0/24 is allowed
        ("allow", {"203.0.0.0/8"}),
        ("gray", {"192.0.0.0/8"}),  # which nobody looks at in mode block
    ],
)
def test_the_map_of_a_list_shows_what_its_entries_name(plane: Control, list_: str, expected: set[str]) -> None:
    console = Console(plane)
    assert squares(console, f"/map?layer=policy&list={list_}") == expected
    text = console.get(f"/map?layer=policy&list={list_}").text
    pictures = re.findall(r'href="(/map/picture/[^"]+)"', text)
    assert len(pictures) == 2
    for picture in pictures:
        answer = console.get(picture.replace("&amp;", "&"))
        assert (answer.status_code, answer.headers["content-type"]) == (200, "image/png")
    assert f"/lists?q={min(expected).replace('/', '%2F')}" not in text  # a /8 leads nearer


def test_what_is_there_on_the_map_of_a_list_is_of_that_list(plane: Control) -> None:
    console = Console(plane)
    both = console.get("/map/at?network=203.0.0.0/8").text
    assert (both.count("badge deny"), both.count("badge allow")) == (1, 1)
    denied = console.get("/map/at?network=203.0.0.0/8&list=deny").text
    assert (denied.count("badge deny"), denied.count("badge allow")) == (1, 0)


def test_a_list_leads_to_its_map(plane: Control) -> None:
    assert 'href="/map?list=deny"' in Console(plane).get("/lists?list=deny").text
