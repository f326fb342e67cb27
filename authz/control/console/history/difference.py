"""What is different between two times: what came, went, and says something else."""

from __future__ import annotations

from typing import Any, Final, NamedTuple

import msgspec
from litestar import Response, Router, get

from authz.control.api.common.asking import in_thread, parsed_moment
from authz.control.console.common.forms import utc
from authz.control.console.common.session import Asked, Asker
from authz.control.console.look.differences import changed, fields_between
from authz.control.console.look.render import page
from authz.control.model.problems import Invalid
from authz.control.model.records import Change, Entry
from authz.control.store.events.writing import DAY
from authz.control.store.ledger.history import Wanted, find_changes

MAX_CHANGES: Final = 5000  # that are looked at


class Differs(NamedTuple):
    """An entry that is different.

    Attributes:
        before, after: None: it was, or is, on no list.
    """

    before: Entry | None
    after: Entry | None

    @property
    def known(self) -> Entry:
        """The entry as it is, or was."""
        entry = self.after or self.before
        assert entry is not None  # noqa: S101  # one of them is there, else nothing is different
        return entry

    @property
    def fields(self) -> list[tuple[str, str, str]]:
        """What says something else."""
        return fields_between(self.before, self.after) if self.before and self.after else []


class Difference(NamedTuple):
    """All that is different.

    Attributes:
        complete: False: there were more changes than are looked at.
    """

    came: list[Differs]
    went: list[Differs]
    other: list[Differs]
    documents: list[tuple[Change, list[tuple[str, str, str]]]]
    complete: bool


@get("/difference")
async def show_difference(asked: Asker) -> Response[str]:
    """Show what is different between two times; without times, since yesterday."""
    asked.caller.need("read")
    given = asked.request.query_params
    values = {name: utc(given.get(name, "").strip()) for name in ("since", "until")}
    mistakes: dict[str, str] = {}
    compared = None
    try:
        end = parsed_moment(values["until"] or None, "until") or asked.plane.store.now()
        begin = parsed_moment(values["since"] or None, "since") or end - DAY
        compared = await in_thread(difference, asked, begin, end)
    except Invalid as error:
        mistakes = {mistake.pointer.lstrip("?"): mistake.detail for mistake in error.mistakes}
        begin = end = 0
    return page(asked, "history/difference.html", status=422 if mistakes else 200, values=values, found=compared,
                mistakes=mistakes, begin=begin, end=end)  # fmt: skip


def difference(asked: Asked, begin: int, end: int) -> Difference:
    """Return what is different (microseconds), from the changes between: the first one tells what was before."""
    with asked.plane.store.reading() as tx:
        made = find_changes(tx, Wanted(tenant=asked.caller.sees, begin=begin, end=end), limit=MAX_CHANGES + 1)
    complete = len(made) <= MAX_CHANGES
    of: dict[str, list[Change]] = {}
    for change in reversed(made[:MAX_CHANGES]):
        of.setdefault(change.subject, []).append(change)
    pairs = [Differs(c[0].entry_before(), c[-1].entry_after()) for name, c in of.items() if ":" not in name]
    documents = [(c[-1], changed(_from_to(c[0], c[-1]))) for name, c in of.items() if ":" in name]
    return Difference(
        [pair for pair in pairs if pair.before is None and pair.after is not None],
        [pair for pair in pairs if pair.before is not None and pair.after is None],
        [pair for pair in pairs if pair.fields],
        [document for document in documents if document[1]],
        complete,
    )


def _from_to(first: Change, last: Change) -> Change:
    return msgspec.structs.replace(last, before=first.before)


router: Any = Router("/", route_handlers=[show_difference])
