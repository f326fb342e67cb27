"""What a reader found in a file of another program."""

from __future__ import annotations

from typing import Any

import yaml

from authz.addresses import parse_networks
from authz.errors import AddressError


class Imported:
    """Entries and settings for policy.yaml. notes: differences in meaning, one a line; line 0: of the whole file."""

    def __init__(self, application: str | None = None) -> None:
        self.application = application
        self.entries: list[dict[str, Any]] = []
        self.settings: dict[str, Any] = {}
        self.notes: list[tuple[int, str]] = []

    def note(self, line: int, text: str) -> None:
        """Tell of a difference."""
        self.notes.append((line, text))

    def add(self, list_: str, networks: list[str], line: int, **more: Any) -> None:
        """Add an entry; what is not an address or network is noted."""
        good = [network for network in networks if self._is_network(network, line)]
        if good:
            content = {"list": list_, "networks": good} | {name: value for name, value in more.items() if value}
            if self.application is not None:
                content["applications"] = [self.application]
            self.entries.append(content)

    def _is_network(self, text: str, line: int) -> bool:
        try:
            parse_networks(text)
        except AddressError as error:
            self.note(line, f"left out: {error.message}{f' ({error.hint})' if error.hint else ''}")
            return False
        return True

    def policy(self) -> str:
        """Return policy.yaml."""
        content: dict[str, Any] = {"version": 1}
        if self.settings or self.application:
            content["applications"] = {self.application or "*": self.settings}
        content["entries"] = self.entries
        return yaml.safe_dump(content, sort_keys=False, allow_unicode=True, width=120)
