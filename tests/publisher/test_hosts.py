"""Host names to addresses, with a resolver, a clock and a cache that the test holds in its hand."""

from __future__ import annotations

import json
import threading
from collections import Counter
from typing import TYPE_CHECKING

import pytest

from authz.errors import InputError
from authz.publisher.feeds.hosts import (
    CachedAnswer,
    HostOptions,
    Resolved,
    ask_system,
    load_cache,
    resolve_hosts,
    save_cache,
)

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator
    from pathlib import Path

NOW = 1_795_000_000.75
USUAL = HostOptions()
GONE = OSError(-2, "Name or service not known")


class Resolver:
    """A resolver that knows what it is told. A list of answers is given one by one; an error is raised."""

    def __init__(self, **answers: object) -> None:
        self.answers = {name.replace("_", "."): answer for name, answer in answers.items()}
        self.asked: Counter[str] = Counter()
        self.release = threading.Event()
        self._lock = threading.Lock()

    def __call__(self, name: str) -> list[str]:
        with self._lock:
            self.asked[name] += 1
            answer = self.answers.get(name, GONE)
            if isinstance(answer, tuple):
                answer = answer[min(self.asked[name], len(answer)) - 1]
        if answer == "hangs":
            self.release.wait(30)
            return ["192.0.2.250"]
        if isinstance(answer, BaseException):
            raise answer
        assert isinstance(answer, list)
        return answer


@pytest.fixture
def resolver() -> Iterator[Resolver]:
    made = Resolver()
    yield made
    made.release.set()  # or its threads would outlive the test


def resolve(names: Iterable[str], ask: Resolver, options: HostOptions = USUAL, now: float = NOW) -> dict[str, Resolved]:
    return resolve_hosts(names, options, ask=ask, clock=lambda: now)


def texts(answer: Resolved) -> list[str]:
    return [address.text for address in answer.addresses]


# Answers.


def test_a_name_is_all_its_addresses(resolver: Resolver) -> None:
    resolver.answers = {"a.example": ["192.0.2.1", "2001:db8::1"], "b.example": ["192.0.2.2"]}
    answers = resolve(["a.example", "b.example", "a.example"], resolver)
    assert {name: texts(answer) for name, answer in answers.items()} == {
        "a.example": ["192.0.2.1", "2001:db8::1"], "b.example": ["192.0.2.2"]
    }  # fmt: skip
    assert {(answer.age, answer.problem) for answer in answers.values()} == {(0, "")}
    assert resolver.asked == {"a.example": 1, "b.example": 1}


def test_addresses_are_read_as_everywhere_and_zones_are_left_out(resolver: Resolver) -> None:
    resolver.answers = {"a.example": ["fe80::1%eth0", "::ffff:192.0.2.1", "2001:DB8:0::1", "not an address"]}
    assert texts(resolve(["a.example"], resolver)["a.example"]) == ["fe80::1", "192.0.2.1", "2001:db8::1"]


def test_no_names_ask_nobody_and_write_nothing(resolver: Resolver, tmp_path: Path) -> None:
    assert resolve([], resolver, HostOptions(tmp_path / "hosts.json")) == {}
    assert (resolver.asked, list(tmp_path.iterdir())) == ({}, [])


def test_more_names_than_are_asked_for_at_once_are_all_asked_for(resolver: Resolver) -> None:
    resolver.answers = {f"h{number}.example": [f"192.0.2.{number}"] for number in range(100)}
    answers = resolve(resolver.answers, resolver)
    assert {name: texts(answer) for name, answer in answers.items()} == resolver.answers
    assert set(resolver.asked.values()) == {1}


def test_at_most_32_names_are_asked_for_at_the_same_time() -> None:
    lock, most, now = threading.Lock(), 0, 0
    full = threading.Event()

    def ask(_: str) -> list[str]:
        nonlocal most, now
        with lock:
            now += 1
            most = max(most, now)
            if now == 32:
                full.set()
        full.wait(10)  # until as many as there may be are here
        with lock:
            now -= 1
        return ["192.0.2.1"]

    assert len(resolve_hosts([f"h{number}" for number in range(80)], ask=ask)) == 80
    assert most == 32


def test_the_systems_resolver_knows_this_machine() -> None:
    assert set(ask_system("localhost")) & {"127.0.0.1", "::1"}
    assert "127.0.0.1" in ask_system("127.0.0.1")


# Failures.


@pytest.mark.parametrize(
    ("answer", "problem"),
    [
        (GONE, "name or service not known"),
        (OSError("odd"), "odd"),
        (UnicodeError("label too long"), "not a name that can be asked for"),
        ([], "no address"),
        (["nonsense", "192.0.2.010"], "no address"),
    ],
    ids=["gone", "odd", "label", "empty", "nonsense"],
)
def test_a_name_without_an_address_has_a_problem(resolver: Resolver, answer: object, problem: str) -> None:
    resolver.answers = {"a.example": answer, "b.example": ["192.0.2.2"]}
    answers = resolve(["a.example", "b.example"], resolver)
    assert answers["a.example"] == Resolved((), 0, problem)
    assert texts(answers["b.example"]) == ["192.0.2.2"]


def test_a_name_that_the_real_encoder_refuses_has_a_problem() -> None:
    (answer,) = resolve_hosts([f"{'a' * 64}.example"]).values()
    assert answer == Resolved((), 0, "not a name that can be asked for")


def test_a_failure_is_tried_again_and_an_answer_is_not(resolver: Resolver) -> None:
    resolver.answers = {
        "late.example": (GONE, GONE, ["192.0.2.1"]),
        "good.example": ["192.0.2.2"],
        "gone.example": GONE,
    }
    answers = resolve(resolver.answers, resolver, HostOptions(tries=3))
    assert [texts(answers[name]) for name in resolver.answers] == [["192.0.2.1"], ["192.0.2.2"], []]
    assert resolver.asked == {"late.example": 3, "good.example": 1, "gone.example": 3}


def test_an_answer_after_the_last_try_does_not_count(resolver: Resolver) -> None:
    resolver.answers = {"late.example": (GONE, GONE, ["192.0.2.1"])}
    assert resolve(["late.example"], resolver, HostOptions(tries=2))["late.example"].addresses == ()
    assert resolver.asked == {"late.example": 2}


def test_a_fault_of_the_resolver_is_not_hidden(resolver: Resolver) -> None:
    resolver.answers = {"a.example": KeyError("a fault")}
    with pytest.raises(KeyError):
        resolve(["a.example"], resolver)


QUICK = HostOptions(timeout=1.0)  # in which whoever does not hang has answered


def test_a_resolver_that_hangs_is_left_behind(resolver: Resolver) -> None:
    resolver.answers = {"slow.example": "hangs", "good.example": ["192.0.2.2"]}
    answers = resolve(["slow.example", "good.example"], resolver, QUICK)
    assert answers["slow.example"] == Resolved((), 0, "no answer in time")
    assert texts(answers["good.example"]) == ["192.0.2.2"]
    assert not resolver.release.is_set()  # it hangs still


def test_many_that_hang_do_not_keep_others_from_being_asked(resolver: Resolver) -> None:
    resolver.answers = {f"a{number}.example": "hangs" for number in range(40)} | {"z.example": ["192.0.2.2"]}
    answers = resolve(resolver.answers, resolver, QUICK)
    assert texts(answers["z.example"]) == ["192.0.2.2"]
    assert set(resolver.asked.values()) == {1, 2}
    assert {resolved.problem for name, resolved in answers.items() if name != "z.example"} == {"no answer in time"}


def test_who_hung_once_may_answer_the_second_time(resolver: Resolver) -> None:
    resolver.answers = {"slow.example": ("hangs", ["192.0.2.1"])}
    assert texts(resolve(["slow.example"], resolver, QUICK)["slow.example"]) == ["192.0.2.1"]


# The cache.


@pytest.fixture
def cache(tmp_path: Path) -> Path:
    path = tmp_path / "kept" / "hosts.json"
    save_cache(path, {"vpn.example": CachedAnswer(("192.0.2.1", "2001:db8::1"), 1_794_996_400)})
    return path


def test_the_last_good_answer_is_taken_with_its_age_and_the_reason(resolver: Resolver, cache: Path) -> None:
    resolved = resolve(["vpn.example"], resolver, HostOptions(cache))["vpn.example"]
    assert (texts(resolved), resolved.age, resolved.problem) == (
        ["192.0.2.1", "2001:db8::1"],
        3600,
        "name or service not known",
    )
    assert load_cache(cache)["vpn.example"].at == 1_794_996_400  # an old answer does not become younger


def test_a_resolver_that_hangs_leaves_the_last_good_answer(resolver: Resolver, cache: Path) -> None:
    resolver.answers = {"vpn.example": "hangs"}
    resolved = resolve(["vpn.example"], resolver, QUICK._replace(cache=cache))["vpn.example"]
    assert (resolved.age, resolved.problem) == (3600, "no answer in time")


def test_a_fresh_answer_takes_the_place_of_the_old_one(resolver: Resolver, cache: Path) -> None:
    resolver.answers = {"vpn.example": ["192.0.2.9"], "new.example": ["192.0.2.8"]}
    answers = resolve(["vpn.example", "new.example", "gone.example"], resolver, HostOptions(cache))
    assert answers["vpn.example"] == Resolved(answers["vpn.example"].addresses, 0, "")
    assert load_cache(cache) == {
        "vpn.example": CachedAnswer(("192.0.2.9",), 1_795_000_000),
        "new.example": CachedAnswer(("192.0.2.8",), 1_795_000_000),
    }


def test_names_that_nobody_asks_for_stay_in_the_cache(resolver: Resolver, cache: Path) -> None:
    resolver.answers = {"new.example": ["192.0.2.8"]}
    resolve(["new.example"], resolver, HostOptions(cache))
    assert load_cache(cache).keys() == {"vpn.example", "new.example"}


def test_the_cache_is_made_with_its_folder_and_is_the_same_for_the_same_answers(
    resolver: Resolver, tmp_path: Path
) -> None:
    resolver.answers = {"b.example": ["192.0.2.8"], "a.example": ["192.0.2.9"]}
    path = tmp_path / "new" / "folder" / "hosts.json"
    resolve(["b.example", "a.example"], resolver, HostOptions(path))
    first = path.read_bytes()
    assert list(json.loads(first)) == ["a.example", "b.example"]
    resolve(["a.example", "b.example"], resolver, HostOptions(path))
    assert path.read_bytes() == first
    assert [answer.name for answer in path.parent.iterdir()] == ["hosts.json"]


def test_a_clock_that_went_back_makes_no_negative_age(resolver: Resolver, cache: Path) -> None:
    assert resolve(["vpn.example"], resolver, HostOptions(cache), now=1000)["vpn.example"].age == 0


def test_offline_asks_nobody_and_writes_nothing(resolver: Resolver, cache: Path) -> None:
    resolver.answers = {"vpn.example": ["192.0.2.9"], "new.example": ["192.0.2.8"]}
    before = cache.stat()
    answers = resolve(["vpn.example", "new.example"], resolver, HostOptions(cache, offline=True))
    assert (texts(answers["vpn.example"]), answers["vpn.example"].age) == (["192.0.2.1", "2001:db8::1"], 3600)
    assert {answer.problem for answer in answers.values()} == {"offline"}
    assert answers["new.example"].addresses == ()
    assert resolver.asked == {}
    after = cache.stat()
    assert (before.st_ino, before.st_mtime_ns) == (after.st_ino, after.st_mtime_ns)


def test_offline_without_a_cache_makes_none(resolver: Resolver, tmp_path: Path) -> None:
    answer = resolve(["vpn.example"], resolver, HostOptions(tmp_path / "new" / "hosts.json", offline=True))
    assert answer["vpn.example"] == Resolved((), 0, "offline")
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize(
    "content",
    [b"", b"nonsense", b"[]", b'{"a": 1}', b'{"a": {"addresses": "192.0.2.1", "at": 1}}', b'{"a": {"addresses": []}}',
     b'{"a": {"addresses": [], "at": "1"}}', b'{"a": {"addresses": [], "at": 1, "by": 1}}', b'{"a": {}}x',
     b'{"\xff": {}}', b'{"a": {"addresses": ["\xc3("], "at": 1}}'],
)  # fmt: skip
@pytest.mark.parametrize("offline", [False, True])
def test_a_damaged_cache_is_an_error_and_stays_as_it_is(
    resolver: Resolver, tmp_path: Path, content: bytes, *, offline: bool
) -> None:
    path = tmp_path / "hosts.json"
    path.write_bytes(content)
    with pytest.raises(InputError) as caught:
        resolve(["vpn.example"], resolver, HostOptions(path, offline=offline))
    assert caught.value.message.startswith(f"{path}: found no cache of host names: ")
    assert caught.value.hint == "remove the file"
    assert (path.read_bytes(), resolver.asked) == (content, {})


def test_an_address_in_the_cache_that_is_none_is_left_out(resolver: Resolver, cache: Path) -> None:
    save_cache(
        cache, {"vpn.example": CachedAnswer(("192.0.2.010", "192.0.2.1"), 1), "bad.example": CachedAnswer(("x",), 1)}
    )
    answers = resolve(["vpn.example", "bad.example"], resolver, HostOptions(cache, offline=True))
    assert [texts(answer) for answer in answers.values()] == [[], ["192.0.2.1"]]


def test_a_cache_that_cannot_be_read_or_written_is_an_error(resolver: Resolver, tmp_path: Path) -> None:
    resolver.answers = {"vpn.example": ["192.0.2.9"]}
    with pytest.raises(InputError) as caught:
        resolve(["vpn.example"], resolver, HostOptions(tmp_path))
    assert caught.value.message == f"{tmp_path}: cannot be read: Is a directory"
    (tmp_path / "file").write_text("")
    with pytest.raises(InputError) as caught:
        resolve(["vpn.example"], resolver, HostOptions(tmp_path / "file" / "hosts.json"))
    assert caught.value.message == f"{tmp_path}/file/hosts.json: cannot be read: Not a directory"
    with pytest.raises(InputError) as caught:
        save_cache(tmp_path / "file" / "hosts.json", {})
    assert caught.value.message.startswith(f"{tmp_path}/file/hosts.json: cannot be written: ")
