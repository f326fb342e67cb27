"""How values read on a page, and how forms are read."""

from __future__ import annotations

import pytest
from markupsafe import Markup

from authz.control.console.common import forms
from authz.control.console.common.forms import EMPTY, entry_input, mistakes_of
from authz.control.console.look import texts
from authz.control.console.look.differences import fields_between
from authz.control.model.problems import FieldMistake, Invalid
from authz.control.model.records import Written


@pytest.mark.parametrize(
    ("text", "shown"),
    [
        ("plain\ttext\n", "plain\ttext\n"), ("a\u202eb", "a\\u202eb"), ("\u200b", "\\u200b"),
        ("\x00\x1b[31m", "\\u0000\\u001b[31m"),
        ("\u2066x\u2069", "\\u2066x\\u2069"), ("\ufeff", "\\ufeff"), ("héllo שלום", "héllo שלום"),
    ],
)  # fmt: skip
def test_what_hides_or_turns_text_is_shown_by_its_code(text: str, shown: str) -> None:
    assert texts.visible(text) == shown


def test_markup_of_ours_and_numbers_stay_as_they_are() -> None:
    assert texts.visible(Markup("<b>\u200b</b>")) == "<b>\u200b</b>"
    assert texts.visible(7) == 7


def test_a_field_of_a_form_gets_the_text_unchanged_but_escaped() -> None:
    assert texts.exact('a\u202e"<') == "a\u202e&#34;&lt;"


NUMBERS = [(0, "0"), (9_999, "9,999"), (10_000, "10 k"), (1_234_567, "1.2 M"), (3e9, "3 G")]


@pytest.mark.parametrize(("value", "shown"), NUMBERS)
def test_large_numbers_are_short(value: float, shown: str) -> None:
    assert texts.short_number(value) == shown


def test_a_time_has_its_utc_in_the_title_and_in_the_text_without_javascript() -> None:
    shown = str(texts.moment(1_800_000_000_000_000))
    assert shown == '<time datetime="2027-01-15T08:00:00Z" title="2027-01-15 08:00:00 UTC">2027-01-15 08:00 UTC</time>'


def filled(**fields: str) -> dict[str, str]:
    return dict.fromkeys((*forms.FIELDS, "force", "take_over", "author"), "") | dict(EMPTY.values) | fields


def test_networks_are_read_however_they_are_separated() -> None:
    written = "192.0.2.1, 192.0.2.2\n2001:db8::/32;10.0.0.1 - 10.0.0.9 192.0.2.8\u2013192.0.2.9"
    data = entry_input(filled(networks=written))
    assert data.networks == ("192.0.2.1", "192.0.2.2", "2001:db8::/32", "10.0.0.1-10.0.0.9", "192.0.2.8-192.0.2.9")


def test_a_range_of_two_fields_is_one_more_network_and_its_mistakes_stand_there() -> None:
    values = {**filled(networks="192.0.2.1"), "from": "10.0.0.9", "to": "10.0.0.1"}
    assert entry_input(values).networks == ("192.0.2.1", "10.0.0.9-10.0.0.1")
    shown = mistakes_of(Invalid([FieldMistake("/networks/1", "wrong")]), values)
    assert (shown.wrong("from")[0], shown.wrong("networks")) == ("wrong", [])
    assert "did you mean '10.0.0.1-10.0.0.9'?" in shown.wrong("from")[1]


def test_asns_may_be_written_as_people_write_them() -> None:
    assert entry_input(filled(asns="AS64496 64497")).asns == (64496, 64497)
    with pytest.raises(Invalid, match="64496x"):
        entry_input(filled(asns="64496x"))


def test_a_warning_is_of_the_deny_list_only() -> None:
    assert entry_input(filled(list="gray", action="warn")).action == "block"
    assert entry_input(filled(list="deny", action="warn")).action == "warn"


@pytest.mark.parametrize(
    ("given", "read"), [("2026-12-01T10:00", "2026-12-01T10:00:00Z"), ("2026-12-01T10:00:30", "2026-12-01T10:00:30Z"),
                        ("2026-12-01T10:00:00Z", "2026-12-01T10:00:00Z"), ("", "")]
)  # fmt: skip
def test_a_time_without_a_zone_is_utc(given: str, read: str) -> None:
    assert forms.utc(given) == read


def test_what_an_entry_says_otherwise_is_told_field_by_field() -> None:
    before = Written(networks=("192.0.2.1", "192.0.2.2"), applications=("shop",), expires=1_800_000_000)
    after = Written(networks=("192.0.2.2", "192.0.2.3"), applications=(), expires=None)
    assert fields_between(before, after) == [
        ("networks", "192.0.2.1", "192.0.2.3"), ("applications", "shop", "all"),
        ("ends", "2027-01-15T08:00:00Z", "never"),
    ]  # fmt: skip
