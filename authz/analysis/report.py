"""A difference of two snapshots as lines for a person and as JSON for a program.

In JSON, numbers of IPv6 addresses and networks are text: most readers have 53 bits for a number.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Final

from authz.engine.model import ANY_APPLICATION
from authz.times import format_moment

if TYPE_CHECKING:
    from collections.abc import Iterator

    from authz.analysis.coverage import Tally
    from authz.analysis.diff import ApplicationDiff, Change, Difference, Side, SnapshotDiff, Written

MAX_ROWS: Final = 20  # applications or entries added, removed or changed that are named to a person


def diff_as_text(diff: SnapshotDiff) -> Iterator[str]:
    """Yield lines. Applications with the same changes share theirs."""
    for what, written in (("applications", diff.applications), ("entries", diff.entries)):
        yield f"{what}: " + ", ".join(f"{len(some):,} {name}" for name, some in written._asdict().items())
        for sign, some in zip("+-~", written, strict=True):
            for difference in some[:MAX_ROWS]:
                yield f"  {sign} {difference.name}: {'; '.join(_edits(difference))}".removesuffix(": ")
            if len(some) > MAX_ROWS:
                yield f"  {sign} ... and {len(some) - MAX_ROWS:,} more; --json has all"
    same: dict[tuple[Change, ...], list[ApplicationDiff]] = {}
    for application in diff.decisions:
        same.setdefault(tuple(application.changes.values()), []).append(application)
    for some_applications in same.values():
        yield f"application {', '.join(map(_name_of, some_applications))}"
        for kind, change in some_applications[0].changes.items():
            yield f"  {kind.replace('_', ' ')}: {change.tally}"
            for network in change.largest:
                yield f"    {network.network}: {_side(network.after)}, was {_side(network.before)}"


def diff_as_json(diff: SnapshotDiff) -> dict[str, Any]:
    """Return what JSON can hold."""
    return {
        "counts": {name: str(count) if name.endswith("_64s") else count for name, count in diff.counts().items()},
        "applications": _written_as_json(diff.applications, addresses=False),
        "entries": _written_as_json(diff.entries, addresses=True),
        "decisions": [
            {
                "application": application.name,
                "before": application.before,
                "after": application.after,
                **{kind: _change_as_json(change) for kind, change in application.changes.items()},
            }
            for application in diff.decisions
        ],
    }


def _name_of(application: ApplicationDiff) -> str:
    if application.before == application.after:
        return application.name if application.name != ANY_APPLICATION else "* (every other)"
    what = "new, was decided as *" if application.before == ANY_APPLICATION else "gone, is decided as *"
    return f"{application.name} ({what})"


def _side(side: Side) -> str:
    return side.reason if side.entry is None else f"{side.reason} by {side.entry}"


def _edits(difference: Difference) -> list[str]:
    edits = [f"{field} {_text(field, was)} -> {_text(field, new)}" for field, (was, new) in difference.fields.items()]
    gained = [f"+ {difference.gained}"] if any(difference.gained) else []
    lost = [f"- {difference.lost}"] if any(difference.lost) else []
    return edits + gained + lost


def _plain(field: str, value: Any) -> Any:
    """Return the value of a field of an application or entry as JSON has it."""
    if field in {"starts", "expires"}:
        return format_moment(value, "always" if field == "starts" else "never")
    if isinstance(value, frozenset):
        return sorted(value)
    return value._asdict() if hasattr(value, "_asdict") else value


def _text(field: str, value: Any) -> str:
    plain = _plain(field, value)
    if isinstance(plain, dict):
        return " ".join(str(part) for part in plain.values() if part != "")
    if isinstance(plain, list | tuple):
        return " ".join(map(str, plain)) or ("all" if field == "applications" else "none")
    if isinstance(plain, bool):
        return str(plain).lower()
    return f"'{plain}'" if field in {"reason", "author"} else str(plain)


def _written_as_json(written: Written, *, addresses: bool) -> dict[str, Any]:
    def of(difference: Difference) -> dict[str, Any]:
        fields = {f: {"before": _plain(f, was), "after": _plain(f, new)} for f, (was, new) in difference.fields.items()}
        covered = (
            {"gained": _tally_as_json(difference.gained), "lost": _tally_as_json(difference.lost)} if addresses else {}
        )
        return {"name": difference.name, "fields": fields, **covered}

    return {kind: [of(difference) for difference in some] for kind, some in written._asdict().items()}


def _change_as_json(change: Change) -> dict[str, Any]:
    networks = [
        {"network": str(network.network), "before": network.before._asdict(), "after": network.after._asdict()}
        for network in change.largest
    ]
    return {**_tally_as_json(change.tally), "largest": networks}


def _tally_as_json(tally: Tally) -> dict[str, Any]:
    return {"ipv4": tally.ipv4, "ipv6": str(tally.ipv6), "ipv6_64s": str(tally.ipv6_64s)}
