"""Every error that authz raises on purpose, split by who has to act.

    AuthzError                 has a stable `code`, the values involved and a hint
    ├── AddressError           text that is no address, network or range          (whoever wrote it)
    ├── InputError             a file, flag or argument is wrong                  (the operator)
    │   └── InvalidDocument    a YAML file with one or many mistakes
    ├── SnapshotRefused        a snapshot that is not to be used                  (its publisher)
    └── StartError             the sidecar cannot start: a port, a socket, a right (the operator)

Codes are the same strings in logs, metrics and `--json`. Nobody matches on the text of an error.
"""

from __future__ import annotations

from typing import NamedTuple

MAX_FOUND = 80  # characters of somebody's input that an error repeats


def shorten(found: object) -> str:
    """Return `found` as text for an error: printable ASCII, at most `MAX_FOUND` characters."""
    text = str(found)
    cut = text[:MAX_FOUND].encode("ascii", "backslashreplace").decode()
    cut = "".join(c if c.isprintable() else f"\\x{ord(c):02x}" for c in cut)
    return cut if len(text) <= MAX_FOUND else f"{cut}... ({len(text)} characters)"


class AuthzError(Exception):
    """Base of all errors of authz.

    code: a stable token for logs and metrics. message: lower case, with what was found and what was
    expected, no full stop. hint: the next thing to try, or "".
    """

    code = "error"

    def __init__(self, message: str, *, hint: str = "", code: str = "") -> None:
        super().__init__(message)
        self.message = message
        self.hint = hint
        if code:
            self.code = code


class AddressError(AuthzError):
    """Text that is no address, network or range."""

    code = "bad_address"

    def __init__(self, found: str, expected: str, *, meant: str = "") -> None:
        self.found = shorten(found)
        self.expected = expected
        self.meant = meant  # the network that was probably meant, where there is one
        super().__init__(f"found '{self.found}', expected {expected}", hint=f"did you mean '{meant}'?" if meant else "")


class InputError(AuthzError):
    """A file, flag or argument of the operator is wrong."""

    code = "bad_input"


class Mistake(NamedTuple):
    """One thing that is wrong in a document. line: from 1; key: a path such as `entries[3].list`."""

    line: int
    key: str
    message: str
    hint: str = ""


class InvalidDocument(InputError):
    """A YAML document with mistakes: all of them, in the order of the file."""

    code = "invalid_document"

    def __init__(self, path: str, mistakes: list[Mistake]) -> None:
        self.path = path
        self.mistakes = sorted(mistakes)
        lines = [f"{path}:{m.line}: {m.key}: {m.message}" + (f" ({m.hint})" if m.hint else "") for m in self.mistakes]
        super().__init__("\n".join(lines))


class SnapshotRefused(AuthzError):
    """A snapshot that must not be used; what was loaded before stays.

    code: `unreadable` `truncated` `bad_magic` `too_large` `bad_envelope` `unsigned` `unknown_key` `bad_signature`
    `threshold_not_met` `bad_manifest` `unknown_format` `bad_section` `bad_digest` `trailing_bytes` `expired`
    `rolled_back` `state_unwritable` `internal_error`. Which step gives which is in docs/snapshot-format.md.
    """

    def __init__(self, code: str, message: str, *, hint: str = "") -> None:
        super().__init__(message, hint=hint, code=code)


class StartError(AuthzError):
    """The sidecar cannot start."""

    code = "cannot_start"
