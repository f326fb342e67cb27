"""Host names to addresses, at build time: A and AAAA, with a timeout, retries, and the last good answer as a fallback.

The sidecar never resolves anything: a name server must not be able to slow a request down, or to decide one. What a
name meant when the snapshot was built holds until the next build.

The cache is a JSON file: {"vpn.example.com": {"addresses": ["192.0.2.1"], "at": 1795000000}}.
"""

from __future__ import annotations

import contextlib
import socket
import time
from concurrent.futures import Future, ThreadPoolExecutor, wait
from typing import TYPE_CHECKING, NamedTuple

import msgspec

from authz.addresses import Address, try_parse_address
from authz.durable import replace_file
from authz.errors import InputError

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable
    from pathlib import Path

MAX_CACHE = 64 << 20  # bytes
_AT_ONCE = 32  # names that are asked for at the same time


class CachedAnswer(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """The last good answer for a name.

    Attributes:
        at: When, in seconds since 1970.
    """

    addresses: tuple[str, ...]
    at: int


class Resolved(NamedTuple):
    """What a name means.

    Attributes:
        age: Seconds since the answer was good; 0 for a fresh one.
        problem: Why it is not fresh.
    """

    addresses: tuple[Address, ...]
    age: int = 0
    problem: str = ""


class HostOptions(NamedTuple):
    """How names are resolved.

    Attributes:
        cache: The file of answers that were good once; None: no cache.
        timeout: Seconds for each try.
        offline: Ask nobody; use the cache.
    """

    cache: Path | None = None
    timeout: float = 5.0
    tries: int = 2
    offline: bool = False


def ask_system(name: str) -> list[str]:
    """Return the addresses that the system's resolver has for a name. Raises OSError."""
    return sorted({str(answer[4][0]) for answer in socket.getaddrinfo(name, None, type=socket.SOCK_STREAM)})


def resolve_hosts(
    names: Iterable[str],
    options: HostOptions = HostOptions(),  # noqa: B008  # it is frozen
    *,
    ask: Callable[[str], list[str]] = ask_system,
    clock: Callable[[], float] = time.time,
) -> dict[str, Resolved]:
    """Return what each name means. Fresh answers are written to the cache.

    A name that neither the resolver nor the cache knows has no addresses.

    Args:
        names: Host names.
        options: How they are resolved.
        ask: Returns the addresses of a name; raises OSError.
        clock: Seconds since 1970.

    Raises:
        InputError: The cache cannot be read or written.
    """
    wanted = sorted(set(names))
    cache = load_cache(options.cache)
    now = int(clock())
    answers = {} if options.offline else _ask_all(wanted, options, ask)
    resolved = {}
    for name in wanted:
        addresses, problem = answers.get(name, ([], "offline"))
        parsed = tuple(address for text in addresses if (address := try_parse_address(text.partition("%")[0])))
        if parsed:
            cache[name] = CachedAnswer(tuple(address.text for address in parsed), now)
            resolved[name] = Resolved(parsed)
        else:
            resolved[name] = _from_cache(cache.get(name), problem or "no address", now)
    if not options.offline and wanted:
        save_cache(options.cache, cache)
    return resolved


def _from_cache(known: CachedAnswer | None, problem: str, now: int) -> Resolved:
    if known is None:
        return Resolved((), 0, problem)
    addresses = tuple(address for text in known.addresses if (address := try_parse_address(text)))
    return Resolved(addresses, max(0, now - known.at), problem)


def _ask_all(
    names: list[str], options: HostOptions, ask: Callable[[str], list[str]]
) -> dict[str, tuple[list[str], str]]:
    """Return (addresses, problem) by name."""
    answers: dict[str, tuple[list[str], str]] = {}
    for _ in range(options.tries):
        left = [name for name in names if name not in answers or answers[name][1]]
        for start in range(0, len(left), _AT_ONCE):
            answers |= _ask_some(left[start : start + _AT_ONCE], options.timeout, ask)
    return answers


def _ask_some(names: list[str], timeout: float, ask: Callable[[str], list[str]]) -> dict[str, tuple[list[str], str]]:
    """Ask for names at the same time. A resolver that hangs is left behind with its thread, which ends when it does.

    The threads are not used again: those that hang would keep the next names waiting.
    """
    pool = ThreadPoolExecutor(len(names), thread_name_prefix="resolve")
    try:
        tries = {pool.submit(ask, name): name for name in names}
        wait(tries, timeout)
        return {name: _outcome(future) for future, name in tries.items()}
    finally:
        pool.shutdown(wait=False, cancel_futures=True)


def _outcome(future: Future[list[str]]) -> tuple[list[str], str]:
    if not future.done():
        return [], "no answer in time"
    error = future.exception()
    if error is None:
        return future.result(), ""
    if isinstance(error, OSError):
        return [], (error.strerror or str(error)).lower()
    if isinstance(error, UnicodeError):
        return [], "not a name that can be asked for"
    raise error


def load_cache(path: Path | None) -> dict[str, CachedAnswer]:
    """Return the cached answers; none if there is no file.

    Args:
        path: The cache.

    Raises:
        InputError: The file cannot be read, or is not a cache.
    """
    if path is None:
        return {}
    try:
        with path.open("rb") as file:
            data = file.read(MAX_CACHE + 1)
        return msgspec.json.decode(data, type=dict[str, CachedAnswer])
    except FileNotFoundError:
        return {}
    except OSError as error:
        raise InputError(f"{path}: cannot be read: {error.strerror}") from error
    except (msgspec.DecodeError, UnicodeDecodeError) as error:
        raise InputError(f"{path}: found no cache of host names: {error}", hint="remove the file") from error


def save_cache(path: Path | None, cache: dict[str, CachedAnswer]) -> None:
    """Write the cached answers. Raises InputError."""
    if path is None:
        return
    try:
        with contextlib.suppress(FileExistsError):
            path.parent.mkdir(parents=True)
        replace_file(path, lambda file: file.write(msgspec.json.encode(cache, order="sorted")))
    except OSError as error:
        raise InputError(f"{path}: cannot be written: {error.strerror}") from error
