"""Pictures of IPv4: the curve, the classes of pixels against look-ups, the files against decoders."""

from __future__ import annotations

import base64
import math
import re
import struct
import xml.etree.ElementTree as ET
import zlib
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from support.publishing.worlds import NOW, Subject, World, allow, deny, load, subject
from support.suite.effort import tries

from authz.addresses import Network
from authz.analysis.decisions import Deciding
from authz.analysis.map import picture as maps
from authz.analysis.map.drawing import SIDE, draw_png, label_places
from authz.analysis.map.font import ADVANCE, HEIGHT, dots
from authz.analysis.map.hilbert import fold
from authz.analysis.map.picture import DECISIONS, DIFFERENCES, Map, decision_map, difference_map
from authz.analysis.map.png import encode_png
from authz.analysis.map.svg import draw_svg
from authz.engine.decision.verdict import decide
from authz.engine.model import Application, Entry, Match
from authz.errors import InputError

Matrix = np.ndarray[Any, Any]


# The curve


@pytest.mark.parametrize("order", range(7))
def test_every_number_is_in_the_picture_once(order: int) -> None:
    square = fold(np.arange(4**order))
    assert square.shape == (2**order, 2**order)
    assert sorted(square.ravel().tolist()) == list(range(4**order))


@pytest.mark.parametrize("order", range(1, 7))
def test_neighbours_in_number_are_neighbours_in_the_picture(order: int) -> None:
    rows, columns = np.unravel_index(np.argsort(fold(np.arange(4**order)), axis=None), (2**order, 2**order))
    steps = np.abs(np.diff(rows)) + np.abs(np.diff(columns))
    assert set(steps.tolist()) == {1}
    assert (rows[0], columns[0], rows[-1], columns[-1]) == (0, 0, 0, 2**order - 1)


def test_an_8_is_a_square_and_a_9_half_of_one() -> None:
    square = fold(np.arange(4**6))  # 16 numbers for each /8
    for length, shapes in ((8, {(4, 4)}), (9, {(2, 4), (4, 2)}), (10, {(2, 2)})):
        size = 4**6 >> length
        drawn = set()
        for number in range(2**length):
            rows, columns = np.nonzero(square // size == number)
            drawn.add((int(np.ptp(rows)) + 1, int(np.ptp(columns)) + 1))
            assert len(rows) == size
        assert drawn == shapes


def test_every_order_has_the_same_network_at_the_same_place() -> None:
    coarse, fine = fold(np.arange(4**3)), fold(np.arange(4**5))
    assert (fine // 16 == coarse.repeat(4, axis=0).repeat(4, axis=1)).all()


def test_the_squares_are_where_maps_of_the_internet_have_them() -> None:
    at = {place: number for number, place in enumerate(label_places())}
    assert [at[0, column] for column in range(16)] == [
        0,
        1,
        14,
        15,
        16,
        19,
        20,
        21,
        234,
        235,
        236,
        239,
        240,
        241,
        254,
        255,
    ]
    assert [at[row, 0] for row in range(16)] == [0, 3, 4, 5, 58, 59, 60, 63, 64, 65, 78, 79, 80, 83, 84, 85]


# The classes of pixels


def network(value: int, length: int) -> Network:
    return Network(4, value >> 32 - length << 32 - length, length)


wide_networks = st.builds(network, st.integers(0, 2**32 - 1), st.integers(0, 12))


@st.composite
def wide_worlds(draw: st.DrawFn) -> World:
    """Policies whose networks are /12 or wider, for pictures in which a pixel is a /8."""
    settings = {
        "mode": draw(st.sampled_from(["block", "safe_blocking"])),
        "default": draw(st.sampled_from(["allow", "deny"])),
    }
    subjects = [
        Subject(
            Entry(name, draw(st.sampled_from(["allow", "deny", "gray"]))),
            tuple(draw(st.lists(wide_networks, max_size=4))),
        )
        for name in "abc"
    ]
    return World((Application("*", **settings),), tuple(subjects))  # type: ignore[arg-type]


def blocks(world: World) -> list[list[tuple[str, bool]]]:
    """Return for each /8 the reason, and whether it denies, of each /12 in it, by scanning the policy."""
    verdicts = []
    for number in range(4096):
        lengths = [
            (s.entry, max((n.length for n in s.networks if n.value <= number << 20 <= n.last), default=None))
            for s in world.subjects
        ]
        verdicts.append(tuple((entry.id, length) for entry, length in lengths if length is not None))
    entries = {s.entry.id: s.entry for s in world.subjects}
    known = {key: decide(world.applications[0], [Match(entries[i], n) for i, n in key], attack=False, now=NOW)
             for key in set(verdicts)}  # fmt: skip
    decided = [(known[key].reason, known[key].decision == "deny") for key in verdicts]
    return [decided[first : first + 16] for first in range(0, 4096, 16)]


def expected_class(block: list[tuple[str, bool]]) -> int:
    reasons = {reason for reason, _ in block}
    denied = sum(denies for _, denies in block)
    if len(reasons) == 1:
        return {"allowlisted": maps.ALLOWLISTED, "default_allow": maps.ALLOWED, "graylisted": maps.GRAY,
                "denylisted": maps.DENIED, "default_deny": maps.DENIED_BY_DEFAULT}[reasons.pop()]  # fmt: skip
    return {0: maps.ALL_ALLOWED, 1: maps.FEW_DENIED, 16: maps.ALL_DENIED}.get(denied, maps.MANY_DENIED)


@settings(max_examples=tries(30), deadline=None)
@given(wide_worlds())
def test_a_pixel_has_the_class_of_its_addresses(world: World) -> None:
    loaded = world.loaded()
    picture = decision_map(Deciding(loaded, now=NOW), loaded.general, order=4)
    assert picture.pixels.tolist() == fold(np.array([expected_class(block) for block in blocks(world)])).tolist()


def changed_class(before: list[tuple[str, bool]], after: list[tuple[str, bool]]) -> int:
    kinds = {(was, now_is) for (_, was), (_, now_is) in zip(before, after, strict=True)}
    losing, winning = (False, True) in kinds, (True, False) in kinds
    if len(kinds) == 1:
        was, now_is = kinds.pop()
        still = maps.STILL_DENIED if was else maps.STILL_ALLOWED
        return still if was == now_is else maps.NEWLY_DENIED if now_is else maps.NEWLY_ALLOWED
    if losing and winning:
        return maps.BOTH
    return maps.PART_DENIED if losing else maps.PART_ALLOWED if winning else maps.STILL_MIXED


@settings(max_examples=tries(30), deadline=None)
@given(wide_worlds(), wide_worlds())
def test_a_pixel_of_a_difference_has_the_class_of_its_changes(before: World, after: World) -> None:
    was, now_is = (Deciding(world.loaded(), now=NOW) for world in (before, after))
    picture = difference_map(was, now_is, "*", order=4)
    classes = [changed_class(*pair) for pair in zip(blocks(before), blocks(after), strict=True)]
    assert picture.pixels.tolist() == fold(np.array(classes)).tolist()


def a_map(order: int = 4, *subjects: Subject, **application: object) -> Map:
    loaded = load([Application("*"), Application("shop", **application)], subjects)  # type: ignore[arg-type]
    return decision_map(Deciding(loaded, now=NOW), loaded.applications[1], order=order)


def amounts(picture: Map) -> dict[str, str]:
    return {row.label: row.amount for row in picture.legend if row.amount}


def test_the_legend_counts_addresses_and_mixed_pixels() -> None:
    picture = a_map(8, deny("bad", "1.0.0.0/8", "2.0.0.7"), allow("office", "2.1.0.0/25"), deny("more", "2.2.0.0/17"))
    assert amounts(picture) == {
        "allowed, on no list": "4,278,157,183 addresses, 99.61 %",
        "allow list": "128 addresses, less than 0.01 %",
        "deny list": "16,809,985 addresses, 0.39 %",
        "mixed: up to 1 in 16 denied": "1 network of /16",
        "mixed: more than 1 in 16 denied": "1 network of /16",
        "mixed: all allowed, some on a list": "1 network of /16",
    }
    assert picture.scale == "one pixel is a /16 (65,536 addresses), one square a /8 (16,777,216 addresses)"


@pytest.mark.parametrize("attack", [False, True])
def test_gray_is_gray_with_and_without_an_attack(attack: bool) -> None:
    gray = subject("odd", "gray", "16.0.0.0/4")
    loaded = load([Application("*", mode="safe_blocking")], [gray])
    picture = decision_map(Deciding(loaded, now=NOW, attack=attack), loaded.general, order=4)
    assert (picture.pixels == maps.GRAY).sum() == 16


def test_dry_run_is_drawn_as_it_would_decide_and_says_so() -> None:
    picture = a_map(4, deny("bad", "1.0.0.0/8"), dry_run=True)
    assert picture.title == "shop: who is allowed and who is denied"
    assert picture.notes == ("dry run: every answer is allow; this is what would be decided",)
    assert (picture.pixels == maps.DENIED).sum() == 1


@pytest.mark.parametrize("order", [-1, 3, 13])
def test_an_order_that_makes_no_picture_is_refused(order: int) -> None:
    with pytest.raises(InputError) as caught:
        a_map(order)
    assert caught.value.message == f"order: found {order}, expected 4 (a pixel is a /8) to 12 (a /24)"


def test_the_picture_of_order_12_has_a_pixel_for_each_24() -> None:
    picture = a_map(12, deny("bad", "255.255.255.0/24", "0.0.1.0/24"))
    assert picture.pixels.shape == (4096, 4096)
    assert picture.pixels.dtype == np.uint8
    assert np.argwhere(picture.pixels == maps.DENIED).tolist() == [[0, 1], [0, 4095]]


def distance(one: tuple[int, ...], other: tuple[int, ...]) -> float:
    """Return how far two colours are from each other, from 0 to 441."""
    return math.dist(one, other)


def seen_by(kind: Matrix, colour: tuple[int, int, int]) -> tuple[int, ...]:
    """Return a colour as somebody sees it who lacks a kind of cones (Viénot, Brettel and Mollon, 1999)."""
    linear = (np.array(colour) / 255) ** 2.2
    return tuple((255 * np.clip(kind @ linear, 0, 1) ** (1 / 2.2)).round().astype(int).tolist())


PROTAN = np.array([[0.11238, 0.88762, 0], [0.11238, 0.88762, 0], [0.00401, -0.00401, 1]])
DEUTAN = np.array([[0.29275, 0.70725, 0], [0.29275, 0.70725, 0], [-0.02234, 0.02234, 1]])


@pytest.mark.parametrize("kind", [np.eye(3), PROTAN, DEUTAN], ids=["full colour", "protanopia", "deuteranopia"])
@pytest.mark.parametrize("classes", [DECISIONS, DIFFERENCES], ids=["decisions", "differences"])
def test_no_two_classes_look_alike_whatever_colours_one_sees(classes: tuple[maps.Class, ...], kind: Matrix) -> None:
    seen = {c.label: seen_by(kind, c.colour) for c in classes}
    near = [(a, b) for a in seen for b in seen if a < b and distance(seen[a], seen[b]) < 30]
    assert near == []


# The files


def decode_png(data: bytes) -> tuple[Matrix, list[bytes], dict[bytes, bytes]]:
    """Return pixels, palette and the other chunks of a PNG with a palette and without filters."""
    assert data[:8] == b"\x89PNG\r\n\x1a\n"
    chunks: list[tuple[bytes, bytes]] = []
    at = 8
    while at < len(data):
        (length,) = struct.unpack_from(">I", data, at)
        name, content = data[at + 4 : at + 8], data[at + 8 : at + 8 + length]
        assert struct.unpack_from(">I", data, at + 8 + length)[0] == zlib.crc32(name + content)
        chunks.append((name, content))
        at += 12 + length
    assert (chunks[0][0], chunks[-1]) == (b"IHDR", (b"IEND", b""))
    by_name = dict(chunks)
    width, height, *kind = struct.unpack(">IIBBBBB", by_name[b"IHDR"])
    assert kind == [8, 3, 0, 0, 0]
    rows = np.frombuffer(zlib.decompress(by_name[b"IDAT"]), np.uint8).reshape(height, width + 1)
    assert not rows[:, 0].any()
    palette = by_name.pop(b"PLTE")
    return rows[:, 1:], [palette[n : n + 3] for n in range(0, len(palette), 3)], by_name


@given(st.integers(1, 300), st.integers(1, 600), st.integers(1, 256), st.integers(0, 2**32))
@settings(max_examples=20, deadline=None)
def test_a_picture_is_decoded_to_its_pixels(width: int, height: int, colours: int, seed: int) -> None:
    random = np.random.default_rng(seed)
    pixels = random.integers(0, colours, (height, width), np.uint8)
    palette = [(int(red), int(green), int(blue)) for red, green, blue in random.integers(0, 256, (colours, 3))]
    decoded, colours_read, others = decode_png(encode_png(pixels, palette))
    assert (decoded == pixels).all()
    assert [tuple(colour) for colour in colours_read] == palette
    assert set(others) == {b"IHDR", b"IDAT", b"IEND"}


def test_the_title_is_in_the_file() -> None:
    _, _, others = decode_png(encode_png(np.zeros((1, 1), np.uint8), [(0, 0, 0)], "shöp ☃"))
    assert others[b"tEXt"] == b"Title\0sh\xf6p ?"


@pytest.mark.parametrize("order", [4, 8, 10, 11])
def test_the_drawn_picture_hides_no_pixel_of_the_map_but_below_the_numbers(order: int) -> None:
    picture = a_map(order, deny("bad", "96.0.0.0/6"), allow("office", "200.0.0.0/5"))
    drawn, palette, _ = decode_png(draw_png(picture))
    assert {palette[code] for code in np.unique(drawn)} >= {bytes(DECISIONS[0].colour), bytes(DECISIONS[3].colour)}
    side = max(SIDE, 2**order)
    step, line, zoom = side // 16 + side // SIDE, side // SIDE, side // 2**order
    left = 24 * line
    top = (
        next(y for y in range(len(drawn)) if (drawn[y, left + line : left + step] < len(picture.legend)).sum() > 30)
        - line
    )
    for row in range(16):
        for column in range(16):
            y, x = top + line + row * step, left + line + column * step
            square = drawn[y : y + side // 16, x : x + side // 16]
            part = slice(row * 2**order // 16, (row + 1) * 2**order // 16)
            below = picture.pixels[part, column * 2**order // 16 : (column + 1) * 2**order // 16]
            wanted = below.repeat(zoom, axis=0).repeat(zoom, axis=1)
            assert (square[side // 32 :] == wanted[side // 32 :]).all()
            assert (square % len(picture.legend) == wanted).all()  # the shades of a number are those of what is below
    light, dark = (drawn[top + 2 * line :, left + 2 * line :] // len(picture.legend) == shade for shade in (2, 1))
    assert light[0, 0]
    assert 0 < dark[: side // 32, : side // 32].sum() < light[: side // 32, : side // 32].sum()
    assert sum(palette[len(picture.legend)]) < sum(palette[2 * len(picture.legend)])


def test_text_that_is_too_long_is_drawn_smaller_and_then_cut() -> None:
    picture = a_map(4)._replace(title="t" * 120, notes=("n" * 1000,))
    drawn, _, others = decode_png(draw_png(picture))
    assert drawn.shape[1] == a_width()
    assert others[b"tEXt"].startswith(b"Title\0ttt")


def a_width() -> int:
    width: int = decode_png(draw_png(a_map(4)))[0].shape[1]
    return width


def test_an_svg_has_the_picture_its_title_its_numbers_and_its_legend() -> None:
    picture = a_map(5, deny("bad", "96.0.0.0/6"))._replace(notes=("lists & more, serial 7",))
    root = ET.fromstring(draw_svg(picture))
    space = {"s": "http://www.w3.org/2000/svg"}
    texts = ["".join(element.itertext()) for element in root.iterfind(".//s:text", space)]
    assert texts[:3] == ["shop: who is allowed and who is denied", "lists & more, serial 7", picture.scale]
    assert texts[3:259] == [str(number) for number in range(256)]
    assert texts[259:] == [text for row in picture.legend if row.amount for text in (row.label, row.amount)]
    (image,) = root.iterfind(".//s:image", space)
    data = base64.b64decode(image.attrib["href"].removeprefix("data:image/png;base64,"))
    pixels, palette, _ = decode_png(data)
    assert (pixels == picture.pixels).all()
    assert palette == [bytes(row.colour) for row in picture.legend]


def test_an_svg_is_sharp_where_pixels_are_large_and_smooth_where_they_are_small() -> None:
    assert "pixelated" in draw_svg(a_map(10))
    assert "pixelated" not in draw_svg(a_map(11))


def test_names_cannot_write_markup_into_an_svg() -> None:
    picture = a_map(4)._replace(title="<script>&", notes=("</text><script>",))
    assert not re.search("<script", draw_svg(picture))
    ET.fromstring(draw_svg(picture))


def test_letters_are_dots() -> None:
    drawn = dots("Ag")
    assert drawn.shape == (HEIGHT, 2 * ADVANCE)
    rows = ["".join(".#"[dot] for dot in row) for row in drawn.astype(int).tolist()]
    assert rows == [
        "..#.........",
        ".#.#........",
        "#...#..###..",
        "#...#.#..##.",
        "#####.#..##.",
        "#...#..##.#.",
        "#...#.....#.",
        ".......###..",
    ]


def test_what_is_not_ascii_is_a_question_mark() -> None:
    assert (dots("☃\n") == dots("??")).all()
