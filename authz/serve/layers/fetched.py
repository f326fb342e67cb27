"""Sources of other machines: what is common to web servers and object stores.

A file is fetched only where it changed (its entity tag says so), into a temporary file of this machine, with a limit of
its size and of the time that it may take. That file is in the folder of the state: a sidecar may have no other folder
that it can write to.
"""

from __future__ import annotations

import asyncio
import contextlib
import fcntl
import hashlib
import random
import tempfile
import time
from abc import abstractmethod
from pathlib import Path
from typing import IO, TYPE_CHECKING, Final, NamedTuple

from authz.errors import Refusal, SnapshotRefused
from authz.serve.layers.source import Source
from authz.snapshot.rollback_guard import writing

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator

    from authz.snapshot.heading import Requirement

MAX_TIME: Final = 600.0  # seconds that a file may take
MIN_HELD: Final = 0.5  # seconds; a server that says it held its answer back, and is quicker, has not
SMALL: Final = 1024  # bytes; a network gives some pieces that are smaller
MAX_SMALL: Final = 10_000  # pieces; each costs as much as a large one, and a server could send a byte in each
MAX_TAG: Final = 1024  # characters of an entity tag: what is longer makes a request that servers refuse
# What is refused for these may have been damaged on its way, or put together from two files.
_DAMAGED: Final = frozenset({
    Refusal.TRUNCATED, Refusal.BAD_MAGIC, Refusal.BAD_ENVELOPE, Refusal.BAD_SIGNATURE, Refusal.BAD_MANIFEST,
    Refusal.BAD_SECTION, Refusal.BAD_DIGEST, Refusal.TRAILING_BYTES,
})  # fmt: skip
_FIRST_AGAIN, _MAX_AGAIN = 1.0, 600.0  # seconds after which a damaged file is fetched again; doubled each time
_PREFIX: Final = ".authz-fetched-"  # of temporary files; of one that is used, the process has a lock
_LEFT: Final = 60.0  # seconds after which one without a lock was left by a process that was killed
_LOST: Final = "what was fetched cannot be kept"
MAX_BACKOFF: Final = 60.0  # seconds; a server that comes back has all sidecars again within this


class Answer(NamedTuple):
    """A file that is new.

    Attributes:
        tag: Its entity tag, "" where it has none.
        pieces: Its bytes.
        held: See `Pace`.
    """

    tag: str
    pieces: Iterable[bytes]
    held: bool = False


class Pace:
    """Says how long to wait until the next question.

    All times are drawn at random around their mean, so that many sidecars do not ask at the same moment.

    Args:
        poll: Seconds between two questions to a server that answers.
    """

    def __init__(self, poll: float) -> None:
        self._poll = poll
        self._failures = 0
        self._held_in_vain = False
        self.held = False  # whether the server held its answer back until there was something: ask again at once

    def succeeded(self, *, held: bool, in_vain: bool = False) -> None:
        """Note an answer. in_vain: it came at once and had nothing new."""
        self._failures, self.held, self._held_in_vain = 0, held, held and in_vain

    def failed(self) -> None:
        """Note that there was none."""
        self._failures, self.held = self._failures + 1, False

    def next(self, *, refused: bool = False) -> float:
        """Return the seconds to wait. refused: its last file was not taken: whoever sends that again may wait."""
        if self.held and (self._held_in_vain or refused):
            return min(self._poll, 1.0) * random.uniform(0.5, 1.0)  # noqa: S311  # a delay, no secret
        if self.held:
            return 0.0
        if not self._failures:
            return self._poll * random.uniform(0.9, 1.1)  # noqa: S311  # a delay, no secret
        # From a second on: a server that starts beside us is there in a moment.
        most = min(MAX_BACKOFF, float(1 << min(self._failures - 1, 10)))
        return most * random.uniform(0.5, 1.0)  # noqa: S311  # the same


class FetchedSource(Source):
    """Asks a server now and then. The file is taken from `ask`.

    Args:
        name: For people.
        max_size: Bytes of the file.
        poll: Seconds between two questions.

    Attributes:
        folder: Where a file is kept while it is looked at; None: where the system has its temporary files.

    """

    folder: Path | None = None

    def __init__(self, name: str, max_size: int, poll: float) -> None:
        self.name = name
        self._max_size = max_size
        self._pace = Pace(poll)
        self._tag = ""
        self._digest = b""  # of the last file
        self._again = (_FIRST_AGAIN, 0.0)  # seconds until a damaged file is fetched once more, and when
        self._closed = asyncio.Event()

    @abstractmethod
    @contextlib.contextmanager
    def ask(self, tag: str, suffix: str = "") -> Iterator[Answer | bool]:
        """Ask for the file if it is another one than that of `tag`. suffix: behind its name, for a part.

        Gives the answer, or whether the server held back that there is nothing new. Raises SnapshotRefused and OSError.
        """
        yield False

    @contextlib.contextmanager
    def fetch(self) -> Iterator[Path | None]:
        """Give a temporary file where the server has a new one."""
        path: Path | None
        with contextlib.ExitStack() as stack:
            begin = time.monotonic()
            try:
                answer = stack.enter_context(self.ask(self._tag_to_ask()))
                if isinstance(answer, bool):
                    self._pace.succeeded(held=answer, in_vain=time.monotonic() - begin < MIN_HELD)
                    path = None
                else:
                    path, digest = stack.enter_context(self._stored(answer.pieces))
                    known, self._digest = self._digest, digest
                    self._pace.succeeded(held=answer.held, in_vain=digest == known)
                    self._tag = answer.tag if len(answer.tag) <= MAX_TAG and answer.tag.isprintable() else ""
                    if digest == known:  # under another tag: servers behind a balancer may each have their own
                        path = None
            except SnapshotRefused:
                self._pace.failed()
                raise
            except (OSError, ValueError) as error:
                self._pace.failed()
                why = getattr(error, "strerror", None) or str(error) or type(error).__name__
                raise SnapshotRefused(Refusal.UNREACHABLE, f"{self.name}: {why}") from error
            yield path

    @contextlib.contextmanager
    def fetch_part(self, part: Requirement) -> Iterator[Path]:
        """Give a temporary file with a part, which stands under the name of the file with its serial behind it."""
        with contextlib.ExitStack() as stack:
            try:
                answer = stack.enter_context(self.ask("", f".{part.serial}"))
                if isinstance(answer, bool):  # asked without a tag, no server has that answer
                    raise SnapshotRefused(Refusal.BAD_ANSWER, f"{self.name}: the server has no part {part.serial}")
                path, _ = stack.enter_context(self._stored(answer.pieces))
            except (OSError, ValueError) as error:
                raise SnapshotRefused(Refusal.UNREACHABLE, f"{self.name}: part {part.serial}: {error}") from error
            yield path

    @contextlib.contextmanager
    def _stored(self, pieces: Iterable[bytes]) -> Iterator[tuple[Path, bytes]]:
        """Write the pieces to a file that is there as long as it is looked at; give it and its digest."""
        end = time.monotonic() + MAX_TIME
        with self._temporary() as file:
            path, size, small, digest = Path(file.name), 0, 0, hashlib.sha256()
            for piece in pieces:
                size += len(piece)
                small += len(piece) < SMALL
                if small > MAX_SMALL:
                    raise SnapshotRefused(
                        Refusal.BAD_ANSWER, self.name, found=f"{small} pieces of less than {SMALL} bytes",
                        expected=f"at most {MAX_SMALL}",
                    )  # fmt: skip
                if size > self._max_size:
                    raise self._too_large(f"more than {self._max_size} bytes")
                if time.monotonic() > end:
                    raise TimeoutError(f"not complete after {MAX_TIME:g} seconds")
                with writing(path, _LOST):
                    _write(file, piece)
                digest.update(piece)
            yield path, digest.digest()

    @contextlib.contextmanager
    def _temporary(self) -> Iterator[IO[bytes]]:
        """Give a file that is gone at the end. It has no buffer: who reads it by its name has all that was written."""
        with writing(self.folder or Path(tempfile.gettempdir()), _LOST):
            if self.folder is not None:
                _remove_leftovers(self.folder)
            file = tempfile.NamedTemporaryFile(  # noqa: SIM115  # it is closed below, where other refusals are due
                prefix=_PREFIX, dir=self.folder, buffering=0, delete=False
            )
        try:
            with file:
                with writing(Path(file.name), _LOST):
                    fcntl.flock(file, fcntl.LOCK_EX)
                yield file
        finally:
            with contextlib.suppress(OSError):
                Path(file.name).unlink()

    def _too_large(self, size: str) -> SnapshotRefused:
        return SnapshotRefused(Refusal.TOO_LARGE, self.name, found=size, expected=f"at most {self._max_size}")

    def _tag_to_ask(self) -> str:
        """Return the tag to ask with: now and then none, while the last file is refused as damaged."""
        if self.refused not in _DAMAGED:
            self._again = (_FIRST_AGAIN, 0.0)
            return self._tag
        pause, at = self._again
        if time.monotonic() < at:
            return self._tag
        self._again = (min(2 * pause, _MAX_AGAIN), time.monotonic() + pause)
        return ""

    def forget(self) -> None:
        """Have the next fetch give the file."""
        self._tag, self._digest = "", b""

    async def wait(self, limit: float) -> None:
        """Wait until it is time to ask again."""
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(min(self._pace.next(refused=bool(self.refused)), limit)):
                await self._closed.wait()

    def close(self) -> None:
        """Stop waiting."""
        self._closed.set()


def _write(file: IO[bytes], piece: bytes) -> None:
    rest = memoryview(piece)
    while rest:
        rest = rest[file.write(rest) :]


def _remove_leftovers(folder: Path) -> None:
    """Remove the temporary files of processes that were killed."""
    for path in folder.glob(f"{_PREFIX}*"):
        with contextlib.suppress(OSError), path.open("rb") as file:
            if time.time() - path.stat().st_mtime > _LEFT:  # a new one has no lock yet
                fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
                path.unlink()
