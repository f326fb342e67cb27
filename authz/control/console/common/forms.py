"""From the fields of a form to what the API takes, and from its mistakes back to the fields."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING, Any, Final, NamedTuple
from urllib.parse import urlencode

import msgspec

from authz.control.api.common.bodies import EntryInput, EntryPatch
from authz.control.lists.rules.check import check_written
from authz.control.lists.rules.periods import FOREVER
from authz.control.model.problems import FieldMistake, Invalid, Problem, plain_detail
from authz.control.model.records import SUBJECTS, Entry, Written
from authz.times import format_moment

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping

    from litestar.datastructures import FormMultiDict

PRESETS: Final = ("5m", "1h", "2h", "6h", "1d", "7d", "30d", FOREVER)
UNTIL: Final = "until"  # the period is told by a time
OTHER: Final = "other"  # the period is written
FIELDS: Final = (
    "list", *SUBJECTS, "from", "to", "except", "applications", "action", "starts", "period", "other", "until", "reason",
)  # fmt: skip
_CHECKED: Final = (*SUBJECTS, "except_", "list", "applications", "action", "reason")
_BETWEEN: Final = re.compile(r"[\s,;]+")
_DASH: Final = re.compile(r"\s*[-\u2013]\s*(?=[0-9a-fA-F:])")  # 10.0.0.1 - 10.0.0.9


class FormState(NamedTuple):
    """A form as it is shown: what was written, and what is wrong with each field.

    Attributes:
        problem: Of the whole.
    """

    values: Mapping[str, str]
    mistakes: Mapping[str, list[str]]
    problem: Problem | None = None

    def value(self, name: str) -> str:
        """Return what is in a field."""
        return self.values.get(name, "")

    def wrong(self, name: str) -> list[str]:
        """Return what is wrong with a field."""
        return self.mistakes.get(name, [])

    @property
    def general(self) -> list[str]:
        """What is wrong, and with no field of the form."""
        known = {*FIELDS, "force"}
        others = [text for name, texts in self.mistakes.items() if name not in known for text in texts]
        if self.problem is not None and not isinstance(self.problem, Invalid):
            others.insert(0, self.problem.message)
        return others


EMPTY: Final = FormState({"list": "deny", "action": "block", "period": "1h"}, {})


def values_of(form: FormMultiDict) -> dict[str, str]:
    """Return the texts of a form, as they were written."""
    return {name: str(form.get(name, "")) for name in (*FIELDS, "force", "take_over", "author")}


def entry_input(values: Mapping[str, str]) -> EntryInput:
    """Return what a form asks for. Raises Invalid if a field cannot be read at all."""
    networks = [*lines(values["networks"]), *_range(values)]
    starts = values["starts"]
    content: dict[str, Any] = {
        **{name: words(values[name]) for name in SUBJECTS if name not in {"networks", "asns"}},
        "networks": networks,
        "asns": _asns(words(values["asns"])),
        "except": lines(values["except"]),
        "applications": words(values["applications"]),
        "list": values["list"] or "deny",
        "action": values["action"] if values["list"] in {"", "deny"} else "block",
        "starts": utc(starts) if starts else None,
        "reason": values["reason"].strip(),
        "force": values["force"] == "yes",
        **period_of(values),
    }
    content["countries"] = [code.upper() for code in content["countries"]]
    return converted(content)


def converted(content: dict[str, Any]) -> EntryInput:
    """Return checked input. Raises Invalid."""
    try:
        return msgspec.convert(content, EntryInput)
    except msgspec.ValidationError as error:
        text, _, path = str(error).rpartition(" - at `$.")
        name = re.split(r"[.\[`]", path)[0] if text else ""
        raise Invalid([FieldMistake(f"/{name}", plain_detail(text or str(error)))]) from error


def period_of(values: Mapping[str, str]) -> dict[str, str]:
    """Return `period` or `expires`, as the API takes them."""
    chosen = values["period"] or "1h"
    if chosen == UNTIL:
        if not values["until"]:
            raise Invalid([FieldMistake("/until", "found no time, expected when it ends")])
        return {"expires": utc(values["until"])}
    return {"period": values["other"].strip() if chosen == OTHER else chosen}


def period_patch(values: Mapping[str, str], *, take_over: bool) -> EntryPatch:
    """Return what changes the end of an entry, and nothing else."""
    when, reason = period_of(values), values["reason"].strip()
    if "expires" in when:
        return EntryPatch(expires=when["expires"], reason=reason, take_over=take_over)
    return EntryPatch(period=when["period"], reason=reason, take_over=take_over)


def mistakes_of(problem: Problem, values: Mapping[str, str]) -> FormState:
    """Return a form with what is wrong with it beside the fields."""
    by_field: dict[str, list[str]] = {}
    for pointer, detail in _all_mistakes(problem, values) if isinstance(problem, Invalid) else []:
        by_field.setdefault(_field(pointer, values), []).append(detail)
    return FormState(values, by_field, problem)


def _all_mistakes(problem: Invalid, values: Mapping[str, str]) -> list[FieldMistake]:
    """Return what is wrong with every field: a period that cannot be read is told before the others are looked at."""
    if not {"networks", "applications"} <= values.keys():  # not the form of an entry
        return [*problem.mistakes]
    try:
        data = entry_input({**values, "period": FOREVER})
        check_written(Written(**{name: getattr(data, name) for name in _CHECKED}))
    except Invalid as others:
        return [*problem.mistakes, *(mistake for mistake in others.mistakes if mistake not in problem.mistakes)]
    return [*problem.mistakes]


def form_of(entry: Entry) -> FormState:
    """Return the form that changes an entry."""
    values = {name: "\n".join(str(value) for value in getattr(entry, name)) for name in SUBJECTS}
    values |= {"except": "\n".join(entry.except_), "applications": " ".join(entry.applications)}
    values |= {"list": entry.list, "action": entry.action, "reason": entry.reason, "starts": _local(entry.starts)}
    values["period"] = FOREVER if entry.expires is None else UNTIL
    return FormState(values | {"until": _local(entry.expires)}, {})


def let_through(networks: Iterable[str], when: Mapping[str, str], applications: str) -> str:
    """Return the address of the form that allows networks. when: `expires`, or `period`: then without an end."""
    given = {"list": "allow", "address": "\n".join(networks), "applications": applications}
    given["until"] = when.get("expires", "").removesuffix("Z")
    return "/add?" + urlencode({name: value for name, value in given.items() if value})


def lines(text: str) -> list[str]:
    """Return networks, addresses and ranges, however they are separated."""
    return [part for part in _BETWEEN.split(_DASH.sub("-", text)) if part]


def words(text: str) -> list[str]:
    """Return words, however they are separated."""
    return [part for part in _BETWEEN.split(text) if part]


def _range(values: Mapping[str, str]) -> list[str]:
    first, last = values["from"].strip(), values["to"].strip()
    return [f"{first}-{last}"] if first or last else []


def _asns(given: list[str]) -> list[int]:
    numbers = []
    for number, text in enumerate(given):
        digits = text.upper().removeprefix("AS")
        if not digits.isascii() or not digits.isdigit() or len(digits) > 10:
            raise Invalid([FieldMistake(f"/asns/{number}", f"found '{text[:50]}', expected a number such as AS64496")])
        numbers.append(int(digits))
    return numbers


def utc(text: str) -> str:
    """Return the text of a field of a time as RFC 3339; without a zone it is UTC, as the page said."""
    if not text or len(text) > 19 or text.endswith("Z"):
        return text
    return f"{text}{':00' if text.count(':') == 1 else ''}Z"


def _local(seconds: int | None) -> str:
    return "" if seconds is None else format_moment(seconds).removesuffix(":00Z").removesuffix("Z")


def _field(pointer: str, values: Mapping[str, str]) -> str:
    parts = pointer.strip("/").split("/")
    name = parts[0]
    if name == "networks" and len(parts) > 1 and parts[1].isdigit() and int(parts[1]) >= len(lines(values["networks"])):
        return "from"
    if name == "period" and values.get("period") == OTHER:
        return "other"
    return {"expires": "until"}.get(name, name)
