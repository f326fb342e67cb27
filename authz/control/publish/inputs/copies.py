"""The last good copies of feeds, and the last good answers for host names: on this disk, and in the store.

The signer reads the disk. The store has them for the control plane that leads next, on another machine: it goes on with
what was good, and not with an empty list.
"""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Final

import msgspec

from authz.control.model.records import HOSTS, POLICY_LAYER, SETTINGS
from authz.control.store.entries.documents import get_document
from authz.control.store.entries.find import Filter, each_entry
from authz.control.store.published.inputs import Input, get_content, list_inputs, put_content, put_input
from authz.durable import replace_file
from authz.errors import InputError
from authz.publisher.feeds.fetch.fetch import Fetched, FetchState, WantedFeed, load_state, save_state
from authz.publisher.feeds.fetch.redirects import public
from authz.publisher.feeds.hosts import HostOptions, load_cache, resolve_hosts
from authz.publisher.policy.schema import PolicyDocument, WrittenFeed
from authz.strict_yaml.document import read

if TYPE_CHECKING:
    from collections.abc import Collection

    from authz.control.store.database import Store

DEFAULT_INTERVAL: Final = 3600.0  # seconds between two fetches of a feed that names none
_PATIENCE: Final = HostOptions(timeout=3.0, tries=2)


class Copies:
    """The copies of a control plane.

    Args:
        folder: What paths of feeds are relative to.
    """

    def __init__(self, store: Store, folder: Path) -> None:
        self._store = store
        self.folder = folder

    def feeds(self) -> list[WrittenFeed]:
        """Return the feeds of the policy that have an address."""
        with self._store.reading() as tx:
            text = get_document(tx, SETTINGS)
        settings = {"version": 1, "feeds": msgspec.json.decode(text or b"{}").get("feeds", [])}
        document = read(PolicyDocument, "policy", msgspec.json.encode(settings).decode())
        return [feed for feed in document.checked().feeds if feed.url and feed.path]

    def wanted(self, feed: WrittenFeed) -> WantedFeed:
        """Return what is to be fetched for a feed. Raises InputError if its path leads out of the folder."""
        path = self.folder / feed.path
        if not path.resolve().is_relative_to(self.folder.resolve()):
            raise InputError(f"{feed.path}: found a path out of the folder, expected one below it")
        link = feed.known.link if feed.known is not None and feed.url == feed.known.url else ""
        options = feed.options._replace(where={}, min_count=0)  # the whole file is compared
        interval = feed.interval or DEFAULT_INTERVAL
        return WantedFeed(feed.url, path, options, feed.max_shrink, interval, link)

    def pull(self) -> None:
        """Write what the store has and this disk does not, or has from before. Raises InputError and OSError."""
        with self._store.reading() as tx:
            kept = {copy.path: copy for copy in list_inputs(tx)}
        for feed in self.feeds():
            copy = kept.get(feed.path)
            wanted = self.wanted(feed)
            here = load_state(wanted)
            if copy is None or not copy.size or copy.url != public(feed.url):
                continue
            if here is None or here.changed < copy.changed:
                self._write(copy)
                state = FetchState(copy.url, copy.entries, copy.asked, copy.changed, copy.etag, copy.last_modified)
                save_state(wanted.path, state)
        hosts = kept.get(HOSTS)
        if hosts is not None and hosts.changed > self._hosts_changed():
            self._write(hosts)

    def push(self, feed: WantedFeed, fetched: Fetched, now: int) -> None:
        """Tell the store what became of a feed. now: seconds since 1970."""
        state = load_state(feed)
        path = str(feed.path.relative_to(self.folder))
        with self._store.writing() as tx:
            known = next((copy for copy in list_inputs(tx) if copy.path == path), None)
            same = known is not None and known.url == public(feed.url)
            copy = known if same and known is not None else Input(path, public(feed.url))
            if state is not None:
                copy = copy._replace(
                    entries=state.entries, asked=state.asked, changed=state.changed, etag=state.etag,
                    last_modified=state.last_modified,
                )  # fmt: skip
            copy = copy._replace(problem=fetched.problem, failed=now if fetched.problem else 0)
            content = feed.path.read_bytes() if state is not None and (not same or fetched.outcome == "new") else None
            put_input(tx, copy if content is None else copy._replace(size=len(content)))
            if content is not None:
                put_content(tx, path, content)

    def names(self) -> set[str]:
        """Return the host names that entries of the first layer name."""
        with self._store.reading() as tx:
            wanted = Filter(layer=POLICY_LAYER, unexpired_at=self._store.now() // 1_000_000)
            return {name for entry in each_entry(tx, wanted) for name in entry.hosts}

    def resolve(self, names: Collection[str], now: int) -> list[str]:
        """Ask for names; return those that mean other addresses than before. What has no answer keeps its last one."""
        path = self.folder / HOSTS
        before = {name: set(host.addresses) for name, host in load_cache(path).items()}
        resolved = resolve_hosts(names, _PATIENCE._replace(cache=path), clock=lambda: now)
        after = {name: {address.text for address in host.addresses} for name, host in resolved.items()}
        changed = sorted(name for name, addresses in after.items() if addresses != before.get(name, set()))
        if changed:
            content = path.read_bytes()
            with self._store.writing() as tx:
                put_input(tx, Input(HOSTS, "", entries=len(before | after), asked=now, changed=now, size=len(content)))
                put_content(tx, HOSTS, content)
        return changed

    def unknown(self, names: Collection[str]) -> set[str]:
        """Return the names that were never asked for with success."""
        return set(names) - load_cache(self.folder / HOSTS).keys()

    def _hosts_changed(self) -> int:
        return max((host.at for host in load_cache(self.folder / HOSTS).values()), default=-1)

    def _write(self, copy: Input) -> None:
        with self._store.reading() as tx:
            content = get_content(tx, copy.path)
        path = self.folder / copy.path
        path.parent.mkdir(parents=True, exist_ok=True)
        replace_file(path, lambda file: file.write(content))
