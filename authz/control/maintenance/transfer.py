"""policy.yaml into the store, and out of it again, without loss.

An import owns what it brought (`owner: git`, `origin`: the name of the import). The next import of the same name
changes what is different, adds what is new and deletes what is gone, all in one transaction: nothing piles up.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Final, NamedTuple

import msgspec
import yaml

from authz.control.lists.batch import Batch
from authz.control.lists.documents import put_application, put_settings
from authz.control.lists.entries import add, change, delete
from authz.control.model.problems import Conflict
from authz.control.model.records import POLICY_LAYER, Entry, Written
from authz.control.publish.policy_document import SETTINGS_KEYS, policy_document
from authz.control.store.entries.documents import find_documents
from authz.control.store.entries.find import Filter, each_entry
from authz.publisher.policy.read import derived_id
from authz.publisher.policy.schema import ApplicationSettings, PolicyDocument, WrittenEntry, WrittenFeed
from authz.strict_yaml.document import read_file

if TYPE_CHECKING:
    from pathlib import Path

    from sqlalchemy import Connection

    from authz.control.config import ControlConfig
    from authz.control.model.records import Actor
    from authz.control.store.access.tokens import Tenant

_COPIED = ("hosts", "countries", "regions", "continents", "asns", "sources", "action", "starts", "expires", "reason",
           "author")  # fmt: skip


MAX_TOLD: Final = 10  # entries that a refusal names


class Imported(NamedTuple):
    """What an import did.

    Attributes:
        skipped: Ids and why.
    """

    added: int
    changed: int
    deleted: int
    kept: int
    skipped: list[tuple[str, str]]
    serial: int


class Policy(NamedTuple):
    """What a policy file says, as the store keeps it.

    Attributes:
        entries: By id.
    """

    applications: dict[str, dict[str, Any]]
    settings: dict[str, Any]
    entries: dict[str, Written]


def read_policy_file(path: Path) -> Policy:
    """Read and check a policy file.

    Args:
        path: The file.

    Raises:
        InputError: The file cannot be read.
        InvalidDocument: The file has mistakes; the error has all of them.
    """
    document = read_file(PolicyDocument, path).checked()
    raw = yaml.load(path.read_text(encoding="utf-8"), Loader=yaml.BaseLoader) or {}  # noqa: S506  # BaseLoader makes text only
    entries = {
        entry.id or derived_id(entry): _written(entry, text)
        for entry, text in zip(document.entries, raw.get("entries") or (), strict=True)
    }
    applications = {name: _settings(settings) for name, settings in document.applications.items()}
    return Policy(applications, _rest(document, raw), entries)


def _written(entry: WrittenEntry, raw: dict[str, Any]) -> Written:
    """Return an entry with its networks as they were written: a range stays a range."""
    return Written(
        list=entry.list,
        networks=tuple(raw.get("networks") or ()),
        except_=tuple(raw.get("except") or ()),
        applications=entry.applications or (),
        **{name: getattr(entry, name) for name in _COPIED},
    )


def _settings(settings: ApplicationSettings) -> dict[str, Any]:
    content = {name: value for name, value in msgspec.to_builtins(settings).items() if value not in (None, (), [])}
    if settings.deny is not None:
        content["deny"] = _without_defaults(settings.deny)
    return content


def _rest(document: PolicyDocument, raw: dict[str, Any]) -> dict[str, Any]:
    content: dict[str, Any] = {
        "feeds": [_without_defaults(feed) for feed in document.feeds],
        "geo": _without_defaults(document.geo),
        "limits": _without_defaults(document.limits),
        "protected": list(raw.get("protected") or ()),
    }
    return {name: value for name, value in content.items() if value}


def _without_defaults(struct: msgspec.Struct) -> dict[str, Any]:
    content: dict[str, Any] = msgspec.to_builtins(struct)
    required = {"source", "path"} if isinstance(struct, WrittenFeed) else set()
    defaults = {field.encode_name: field.default for field in msgspec.structs.fields(struct)}
    return {
        name: value
        for name, value in content.items()
        if name in required or (value != defaults.get(name) and value not in ([], {}, ()))
    }


def foresee(config: ControlConfig, policy: Policy) -> None:
    """Read whom the entries of a policy name, before the transaction that all other writers wait for."""
    config.rules(policy.settings).resolver.foresee(policy.entries.values())


def import_policy(
    tx: Connection, config: ControlConfig, actor: Actor, tenant: Tenant, now: int, policy: Policy, origin: str, *,
    force: bool = False,
) -> Imported:  # fmt: skip
    """Bring a policy into the store.

    Args:
        tx: A transaction that may write.
        config: Whose layers and protected networks count, beside the policy's.
        actor: Who imports.
        tenant: The main one.
        now: Microseconds.
        policy: What is to be there.
        origin: The name of the import, such as policy.yaml.
        force: Also with entries that deny what is protected; bans of that end then.

    Raises:
        Problem: An entry is not permitted. Conflict (`lock_out`): entries deny what is protected.

    """
    layers = [layer.name for layer in config.layers]
    rules = config.rules(policy.settings)  # as they are from now on
    batch = Batch(tx, lambda *_: rules, actor, tenant, now, layers=layers, force=force, approved=True)
    for name, settings in policy.applications.items():
        put_application(batch, name, settings)
    batch.rules.resolver.foresee(policy.entries.values())
    before = {entry.id: entry for entry in each_entry(tx, Filter(layer=POLICY_LAYER, origin=origin))}
    counts = {"added": 0, "changed": 0, "deleted": 0, "kept": 0}
    skipped: list[tuple[str, str]] = []
    for entry_id in before.keys() - policy.entries.keys():  # first: what is new may say the same
        delete(batch, before[entry_id], f"no longer in {origin}", take_over=True)
        counts["deleted"] += 1
    lockouts: list[str] = []
    for entry_id, written in policy.entries.items():
        if written.expires is not None and written.expires <= batch.seconds:
            skipped.append((entry_id, "it has expired"))
            continue
        try:
            counts[_put(batch, before.get(entry_id), entry_id, written, origin)] += 1
        except Conflict as error:
            if error.code != "lock_out":
                raise
            lockouts.append(f"{entry_id}: {error.message}")
    if lockouts:
        told = "; ".join(lockouts[:MAX_TOLD]) + (f"; and {len(lockouts) - MAX_TOLD} more" * (len(lockouts) > MAX_TOLD))
        raise Conflict(told, code="lock_out", hint="except what is protected, or give --force if you mean it")
    put_settings(batch, policy.settings, force=force)  # last: it looks at the entries that stay as they are
    batch.write()
    return Imported(**counts, skipped=skipped, serial=batch.serial(POLICY_LAYER))


def _put(batch: Batch, known: Entry | None, entry_id: str, written: Written, origin: str) -> str:
    if known is None:
        add(batch, written, layer=POLICY_LAYER, owner="git", entry_id=entry_id, origin=origin)
        return "added"
    if known.says() == written:
        return "kept"
    after = change(batch, known, written, f"changed in {origin}", take_over=True)
    batch.own(after, "git")
    return "changed"


def exported_policy(tx: Connection, *, bans: bool = False) -> dict[str, Any]:
    """Return the policy: what `import_policy` took, and what was added since.

    Args:
        tx: A transaction of the store.
        bans: Include the entries of other layers.
    """
    wanted = Filter(layer=None if bans else POLICY_LAYER)
    content = policy_document(each_entry(tx, wanted), find_documents(tx, ""))
    return {name: content[name] for name in ("version", "applications", "entries", *SETTINGS_KEYS) if name in content}


def as_yaml(policy: dict[str, Any]) -> str:
    """Return a policy as policy.yaml."""
    return yaml.safe_dump(policy, sort_keys=False, allow_unicode=True, width=120)
