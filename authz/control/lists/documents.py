"""Applications and settings of the policy, in the store: checked by the same rules as policy.yaml."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING, Any

import msgspec

from authz.control.lists.protected import newly_protected, protect
from authz.control.lists.rules.files import Folders, files_of
from authz.control.model.problems import Conflict, FieldMistake, Invalid, Missing
from authz.control.model.records import APPLICATION, POLICY_LAYER, SETTINGS, ChangeAction, Draft
from authz.control.store.entries.documents import get_document
from authz.control.store.entries.find import Filter, each_entry
from authz.engine.model import ANY_APPLICATION, TOKEN
from authz.errors import InvalidDocument, shorten
from authz.publisher.policy.schema import PolicyDocument
from authz.strict_yaml.document import read

if TYPE_CHECKING:
    from authz.control.lists.batch import Batch

_INDEX = re.compile(r"\[(\d+)\]")


def put_application(batch: Batch, name: str, settings: dict[str, Any], reason: str = "") -> None:
    """Give an application settings, or `*` the settings of all. Raises Invalid."""
    if name != ANY_APPLICATION and not TOKEN.fullmatch(name):
        raise Invalid([FieldMistake("?name", f"found '{shorten(name)}', expected letters, digits, '.', '_' and '-'")])
    if name == ANY_APPLICATION and settings.get("hosts"):
        raise Invalid([FieldMistake("/hosts", f"found hosts for '{name}', expected them for a named application")])
    check_policy({"version": 1, "applications": {name: settings}}, f"applications.{name}")
    _put(batch, APPLICATION + name, settings, reason)


def delete_application(batch: Batch, name: str, reason: str = "") -> None:
    """Take an application away. Raises Missing, and Conflict (`in_use`) while entries name it."""
    before = get_document(batch.tx, APPLICATION + name)
    if not before:
        raise Missing(f"there is no application '{shorten(name)}'")
    user = next((e for e in each_entry(batch.tx, Filter(application=name)) if name in e.applications), None)
    if user is not None:
        raise Conflict(f"the entry '{user.id}' names it", code="in_use", extra={"id": user.id})
    batch.put_document(POLICY_LAYER, Draft("delete", APPLICATION + name, before, "", reason))


def put_settings(
    batch: Batch, settings: dict[str, Any], reason: str = "", *, folders: Folders | None = None, force: bool = False
) -> None:  # fmt: skip
    """Set feeds, geo databases, limits and protected networks. The batch has all layers.

    folders: where files may be that these settings name and those before did not; None: anywhere on this machine, but
    what is fetched is written below `data`. force: bans of what is protected from now on end.

    Raises:
        Invalid: They are not well-formed.
        Conflict: Entries keep out what they would protect; see `protect`.

    """
    check_policy({"version": 1, **settings}, "")
    mistakes = [
        FieldMistake(f"/feeds/{number}/{name}", "missing, expected it, or a preset")
        for number, feed in enumerate(settings.get("feeds") or ())
        for name in ("source", "path")
        if not feed.get(name) and not feed.get("preset")
    ]
    known = msgspec.json.decode(get_document(batch.tx, SETTINGS) or b"{}")
    named = files_of(settings)
    if folders is None:
        expected = "a path below the folder"
        bad = [pointer for pointer, (kind, path) in named.items() if kind == "fetched" and not _is_below(path)]
    else:
        before = set(files_of(known).values())
        expected = f"a file in {', '.join(folders.allowed)} (policy_files of control.yaml)"
        bad = [pointer for pointer, file in named.items() if file not in before and not folders.have(file[1])]
    mistakes += [FieldMistake(pointer, f"found '{shorten(named[pointer][1])}', expected {expected}") for pointer in bad]
    if mistakes:
        raise Invalid(mistakes)
    protect(batch, newly_protected(known.get("protected") or (), settings.get("protected") or ()), force=force)
    _put(batch, SETTINGS, settings, reason)


def _is_below(path: str) -> bool:
    return not path.startswith("/") and ".." not in path.split("/")


def check_policy(content: dict[str, Any], below: str) -> None:
    """Raise Invalid where a part of a policy is not well-formed. below: the key that pointers begin behind."""
    document = read(PolicyDocument, "policy", msgspec.json.encode(content).decode())
    for network in document.content.protected if document.content is not None else ():
        if network.problem:
            document.mistake(document.key_of(network), network.problem.message, network.problem.hint)
    try:
        document.checked()
    except InvalidDocument as error:
        mistakes = [
            FieldMistake(_pointer(m.key, below), f"{m.message}{f' ({m.hint})' if m.hint else ''}")
            for m in error.mistakes
        ]
        raise Invalid(mistakes) from error


def _pointer(key: str, below: str) -> str:
    rest = key.removeprefix(below).lstrip(".")
    return "/" + _INDEX.sub(r"/\1", rest).replace(".", "/") if rest else ""


def _put(batch: Batch, name: str, content: dict[str, Any], reason: str) -> None:
    before = get_document(batch.tx, name)
    after = msgspec.json.encode(content, order="deterministic").decode()
    if before == after:
        return
    action: ChangeAction = "change" if before else "add"
    batch.put_document(POLICY_LAYER, Draft(action, name, before, after, reason))
