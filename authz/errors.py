"""Every error that authz raises on purpose, split by who has to act.

    AuthzError                 has a stable `code`, the values involved and a hint
    ├── BadValue               text that is not what is expected                   (whoever wrote it)
    │   └── AddressError       text that is not an address, network or range
    ├── BadLine                a line of a log that is not of its format           (whoever gave the log)
    ├── InputError             a file, flag or argument is wrong                   (the operator)
    │   ├── InvalidDocument    a YAML file with one or many mistakes
    │   └── DamagedState       a state file of a sidecar that is invalid
    ├── SnapshotRefused        a snapshot that must not be used                    (its publisher, see Refusal)
    ├── NoThread               no thread can be started: no memory, too many       (the operator)
    ├── StartError             the sidecar cannot start: a port, a socket, a right (the operator)
    ├── PeerFault              a peer broke a rule of HTTP/2                       (whoever wrote the peer)
    │   ├── ConnectionFault    the connection ends
    │   └── StreamFault        one stream ends
    └── CallFailed             a gRPC call ends with another status than OK        (the caller)
        └── MessageTooLarge    its message is larger than the service takes

Codes are the same strings in logs, metrics and `--json`. Nobody matches on the text of an error.
"""

from __future__ import annotations

import re
from enum import StrEnum
from typing import Final, NamedTuple

MAX_FOUND = 80  # characters of somebody's input that an error repeats
_MAX_STORE_TEXT: Final = 2000  # characters of an error's text that are looked at: it may have the whole answer
_STORE_STATUS: Final = re.compile(r"status code: ([0-9]{3})\b")
_STORE_WHY: Final = re.compile(r" in [0-9.]+\S{1,2}(?:, after [^-]*)? +- ([^:\n]+: [^:\n]+|[^:\n]+)")


def shorten(value: object) -> str:
    """Return `found` as text for an error: printable ASCII, at most `MAX_FOUND` characters."""
    text = str(value)
    cut = text[:MAX_FOUND].encode("ascii", "backslashreplace").decode()
    cut = "".join(c if c.isprintable() else f"\\x{ord(c):02x}" for c in cut)
    return cut if len(text) <= MAX_FOUND else f"{cut}... ({len(text)} characters)"


class AuthzError(Exception):
    """Base of all errors of authz.

    Attributes:
        code: A stable token for logs and metrics.
        message: Lower case, what was found and what was expected, no full stop.
        hint: The next thing to try, or "".
    """

    code: str = "error"

    def __init__(self, message: str, *, hint: str = "", code: str = "") -> None:
        super().__init__(message)
        self.message = message
        self.hint = hint
        if code:
            self.code = code


class BadValue(AuthzError):
    """Text that is not what is expected. Whoever reads the document or the flag adds where it stands.

    Attributes:
        found: The text, shortened.
        expected: What would have been right; "" where the caller knows, as `strict_yaml.Scalar` does.
    """

    code = "bad_value"

    def __init__(self, found: object = "", expected: str = "", *, hint: str = "") -> None:
        self.found = shorten(found)
        self.expected = expected
        super().__init__(f"found '{self.found}'{f', expected {expected}' if expected else ''}", hint=hint)


def reason_of(error: BaseException) -> str:
    """Return why a file or a connection failed, without the number of the error and the name of the file."""
    inner = getattr(error, "reason", None)  # of an URLError
    error = inner if isinstance(inner, OSError) else error
    text = (error.strerror if isinstance(error, OSError) else None) or str(error)
    # Of a library that has only kept the text; and what OpenSSL puts around its own.
    return re.sub(r"^\[(Errno -?[0-9]+|SSL: \w+)\] | \(_ssl\.c:[0-9]+\)$", "", text)


def reason_of_store(error: Exception) -> str:
    """Return why obstore failed, without what differs from one try to the next, and without what the server wrote.

    Its texts have the time that a try took, the URL, and all of the answer's body.
    """
    text = str(error)[:_MAX_STORE_TEXT]
    status = _STORE_STATUS.search(text)
    if status is not None:
        return f"found the status {status[1]}, expected 200"
    if "kind: Timeout" in text:
        return "timed out"
    why = _STORE_WHY.search(text)
    return shorten(why[1] if why else text.partition("\n")[0])


class AddressError(BadValue):
    """Text that is not an address, network or range.

    Attributes:
        meant: The network that was probably meant, if there is one, else "".
    """

    code = "bad_address"

    def __init__(self, found: str, expected: str, *, meant: str = "") -> None:
        self.meant = meant
        super().__init__(found, expected, hint=f"did you mean '{meant}'?" if meant else "")


class BadLine(AuthzError):
    """A line of a log that is not of its format."""

    code = "bad_line"


class InputError(AuthzError):
    """A file, flag or argument of the operator is wrong."""

    code = "bad_input"


class Mistake(NamedTuple):
    """One thing that is wrong in a document.

    Attributes:
        line: From 1.
        key: A path such as `entries[3].list`.
        message: What was found, and what was expected.
    """

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


class DamagedState(InputError):
    """An invalid state file: a disk or a person damaged it."""


class Refusal(StrEnum):
    """Why a snapshot is refused. docs/internals/snapshot-format.md says which step of reading gives which."""

    ABSENT = "absent"
    UNREADABLE = "unreadable"
    TRUNCATED = "truncated"
    BAD_MAGIC = "bad_magic"
    TOO_LARGE = "too_large"
    BAD_ENVELOPE = "bad_envelope"
    UNSIGNED = "unsigned"
    UNKNOWN_KEY = "unknown_key"
    BAD_SIGNATURE = "bad_signature"
    THRESHOLD_NOT_MET = "threshold_not_met"
    BAD_MANIFEST = "bad_manifest"
    UNKNOWN_FORMAT = "unknown_format"
    BAD_SECTION = "bad_section"
    BAD_DIGEST = "bad_digest"
    TRAILING_BYTES = "trailing_bytes"
    EXPIRED = "expired"
    WRONG_LAYER = "wrong_layer"
    WRONG_PART = "wrong_part"
    PART_MISSING = "part_missing"
    NOT_PERMITTED_LIST = "not_permitted_list"
    NOT_PERMITTED_PERIOD = "not_permitted_period"
    NOT_PERMITTED_ENDLESS = "not_permitted_endless"
    NOT_PERMITTED_WIDTH = "not_permitted_width"
    NOT_PERMITTED_APPLICATION = "not_permitted_application"
    NOT_PERMITTED_ENTRIES = "not_permitted_entries"
    NOT_PERMITTED_TOTAL = "not_permitted_total"
    NOT_PERMITTED_PROTECTED = "not_permitted_protected"
    ROLLED_BACK = "rolled_back"
    UNREACHABLE = "unreachable"
    BAD_ANSWER = "bad_answer"
    STATE_UNWRITABLE = "state_unwritable"
    INTERNAL_ERROR = "internal_error"

    @property
    def transient(self) -> bool:
        """Whether the machine is at fault, not the file: the very same file may be accepted at the next try."""
        return self in {
            Refusal.UNREADABLE,
            Refusal.UNREACHABLE,
            Refusal.PART_MISSING,
            Refusal.BAD_ANSWER,
            Refusal.STATE_UNWRITABLE,
            Refusal.INTERNAL_ERROR,
        }


class SnapshotRefused(AuthzError):
    """A snapshot that must not be used; what was loaded before stays.

    The message is "`what`: found `found`, expected `expected`", without the parts that are not given.

    Attributes:
        code: The `Refusal`.
        found: What the snapshot has, as text.
        expected: What it should have.
    """

    code: Refusal

    def __init__(
        self, code: Refusal, what: str = "", *, found: object = "", expected: object = "", hint: str = ""
    ) -> None:
        self.found, self.expected = str(found), str(expected)
        sides = [f"found {self.found}"] if self.found else []
        sides += [f"expected {self.expected}"] if self.expected else []
        super().__init__(f"{what}: {', '.join(sides)}" if what and sides else what or ", ".join(sides), hint=hint)
        self.code = code

    def copy(self, path: object = "") -> SnapshotRefused:
        """Return the same refusal without its traceback, which would keep the whole file in memory.

        Args:
            path: The file, put before the code and the message where it is given.
        """
        message = f"{path}: {self.code}: {self.message.removeprefix(f'{path}: ')}" if path else self.message
        copied = SnapshotRefused(self.code, message, hint=self.hint)
        copied.found, copied.expected = self.found, self.expected
        return copied


class NoThread(AuthzError):
    """No thread can be started: the process has no memory, or may have no more threads."""

    code = "no_thread"


class StartError(AuthzError):
    """The sidecar cannot start."""

    code = "cannot_start"


class PeerFault(AuthzError):
    """A peer broke a rule of HTTP/2.

    Attributes:
        error_code: Of RST_STREAM or GOAWAY (RFC 9113, 7).
    """

    code = "peer_fault"

    def __init__(self, error_code: int, message: str) -> None:
        super().__init__(message)
        self.error_code = error_code


class ConnectionFault(PeerFault):
    """A fault that ends the connection."""


class StreamFault(PeerFault):
    """A fault that ends one stream."""


class CallFailed(AuthzError):
    """A gRPC call ends with a status other than OK.

    Attributes:
        status: Of gRPC.
    """

    code = "call_failed"

    def __init__(self, status: int, message: str) -> None:
        super().__init__(message)
        self.status = status


class MessageTooLarge(CallFailed):
    """The message of a call is larger than the service takes."""

    code = "message_too_large"
