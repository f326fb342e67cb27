"""Looking up an address: our index beside pytricia, and maxminddb as a point of reference.

Each contender is asked in the form that suits it best, a number (IPv4) or bytes (IPv6 in pytricia), and as text, which
is how an address arrives; pytricia is frozen, its fastest form. What they answer is not the same: pytricia gives the
value of the longest prefix; our `find` gives the number of the match set, in which all covering entries are, and
`members` lists them. maxminddb looks into a table of its own: its figure says what a binary trie in a file costs.
"""

from __future__ import annotations

import ctypes
import gc
import multiprocessing
from functools import partial
from typing import TYPE_CHECKING, Any, NamedTuple

from authz.addresses import BITS, try_parse_address
from authz.index.build import EntryNetworks, build_index
from authz.index.lookup import Index
from authz.index.prefixes import Prefixes
from authz.index.sections import TYPES
from benchmarks.data import OWNERS, SlowTable, Table, address, comb, hits, load_table, misses, shared
from benchmarks.report import Check, Part
from benchmarks.rounds import cpu_ns, interleaved, without_gc
from benchmarks.servers import memory_of

if TYPE_CHECKING:
    from collections.abc import Callable

    from authz.addresses import Network
    from benchmarks.scale import Scale

    Loops = dict[str, Callable[[], None]]

OURS, OURS_LISTED, OURS_TEXT = "authz", "authz, listed", "authz, text"
TRIE, TRIE_TEXT = "pytricia", "pytricia, text"
FLOOR = "empty call"
MMDB = "maxminddb, text"
_GEO = "data/geo/iptoasn-country.mmdb"
_MOST_CHECKED = 2_000  # addresses of a kind


class Built(NamedTuple):
    """The contenders, made from one table. tries: pytricia's by version; None where it is not installed."""

    lookup: Index
    size: int  # bytes of our arrays
    tries: dict[int, Any] | None


def run(scale: Scale, note: Callable[[str], None]) -> Part:
    """Measure look-ups on tables of all sizes and on the worst ones, building, and memory."""
    part = Part("lookup")
    if _pytricia() is None:
        part.notes.append("pytricia is not installed: no comparison with it")
    for size in scale.sizes:
        note(f"{size:,} networks")
        table = load_table(size)
        built = _measure_builds(part, table, scale)
        _measure_table(part, table, built, scale, largest=size == scale.sizes[-1])
    for version in (4, 6):
        note(f"the worst table, IPv{version}")
        table = comb(version, scale.sizes[-1])
        _measure_table(part, table, _build(table), scale)
    part.compare("look-up", TRIE, OURS)
    part.compare("look-up", TRIE_TEXT, OURS_TEXT)
    part.compare("build", TRIE, OURS)
    _say_what_is_measured(part, scale)
    return part


def _say_what_is_measured(part: Part, scale: Scale) -> None:
    if any(measure.labels["table"].startswith("synthetic") for measure in part.measures):
        part.notes.append("the BGP table is not beside the project: synthetic prefixes, lengths as in BGP, seeded")
    part.notes.append(
        f"CPU time of the thread for one look-up, the loop included, over {scale.addresses:,} addresses; a ratio above "
        f"1 means that authz is faster; networks are spread over {OWNERS} entries at random; 'text' parses the address "
        "first; 'listed' also lists the entries of the match set; 'comb' is the worst table we know for our index"
    )


def _measure_table(part: Part, table: Table, built: Built, scale: Scale, *, largest: bool = False) -> None:
    """Check the answers, then measure look-ups: each version, hits and misses. Stops at wrong answers."""
    slow = SlowTable(table)
    for version in (4, 6):
        networks = len(table.of(version))
        if not networks:
            continue
        for kind, values in (
            ("hit", hits(table, version, scale.addresses)),
            ("miss", misses(table, slow, version, scale.addresses)),
        ):
            what = f"{table.source} {networks:,} IPv{version}, {kind}"
            check = _check(what, built, slow, version, values[:_MOST_CHECKED])
            part.checks.append(check)
            if check.differences:
                continue
            loops = _loops(built, version, values)
            if largest and kind == "hit":
                loops |= _maxminddb_loop(part, version, values)
            results = _rounds(loops, len(values), scale.rounds)
            labels = {"table": f"{table.source} {networks:,} IPv{version}", "address": kind}
            part.add("look-up", "ns", results, **labels)


def _rounds(loops: Loops, count: int, rounds: int) -> dict[str, list[float]]:
    with without_gc():
        return interleaved({name: partial(cpu_ns, loop, count) for name, loop in loops.items()}, rounds)


def _loops(built: Built, version: int, values: list[int]) -> Loops:
    """Return for each contender the loop over all addresses. A loop calls nothing but what is measured."""
    texts = [address(version, value).text for value in values]
    loops = _our_loops(built.lookup, version, values, texts)
    if built.tries is not None:
        get = built.tries[version].get
        loops[TRIE] = _loop(get, _trie_keys(version, values))
        loops[TRIE_TEXT] = _loop(get, texts)
    return loops


def _our_loops(index: Index, version: int, values: list[int], texts: list[str]) -> Loops:
    find, members = index.find, index.members

    def floor() -> None:
        for value in values:
            _nothing(version, value)

    def ours() -> None:
        for value in values:
            find(version, value)

    def ours_listed() -> None:
        for value in values:
            members(find(version, value))

    def ours_text() -> None:
        for text in texts:
            parsed = try_parse_address(text)
            if parsed is not None:
                find(parsed.version, parsed.value)

    return {FLOOR: floor, OURS: ours, OURS_LISTED: ours_listed, OURS_TEXT: ours_text}


def _nothing(_: int, value: int) -> int:
    return value


def _loop(get: Callable[[Any], object], keys: list[Any]) -> Callable[[], None]:
    def loop() -> None:
        for key in keys:
            get(key)

    return loop


def _maxminddb_loop(part: Part, version: int, values: list[int]) -> Loops:
    path = shared(_GEO)
    try:
        import maxminddb  # noqa: PLC0415  # optional
    except ImportError:
        path = None
    if path is None:
        part.notes.append("maxminddb: the package or the country database is not there, so no point of reference")
        return {}
    reader = maxminddb.open_database(str(path))
    texts = [address(version, value).text for value in values]
    found = sum(reader.get(text) is not None for text in texts)
    part.notes.append(
        f"maxminddb ({type(reader).__module__}) looks into its own table of {reader.metadata().node_count:,} nodes, "
        f"found {found / len(texts):.0%} of the IPv{version} addresses, and returns a dictionary: a point of "
        "reference, not a comparison"
    )
    return {MMDB: _loop(reader.get, texts)}


def _check(what: str, built: Built, slow: SlowTable, version: int, values: list[int]) -> Check:
    """Compare the answers of index and trie with those of the slow table: owner and length of the longest prefix."""
    check = Check(what, len(values))
    for value in values:
        expected = slow.longest(version, value)
        for name, found in _answers(built, version, value):
            if found != expected:
                text = address(version, value).text
                check.differences.append(f"{text}: {name} found {found}, expected {expected}")
    return check


def _answers(built: Built, version: int, value: int) -> list[tuple[str, tuple[int, int] | None]]:
    members = built.lookup.members(built.lookup.find(version, value))
    answers: list[tuple[str, tuple[int, int] | None]] = [("authz", members[0] if members else None)]
    if built.tries is not None:
        trie, key = built.tries[version], _trie_keys(version, [value])[0]
        network = trie.get_key(key)
        found = None if network is None else (trie.get(key), int(network.rpartition("/")[2]))
        answers.append(("pytricia", found))
    return answers


def _measure_builds(part: Part, table: Table, scale: Scale) -> Built:
    """Measure building from the same parsed networks, and bytes a network. Returns the contenders."""
    builders: dict[str, Callable[[], object]] = {OURS: partial(_build_index, table)}
    if _pytricia() is not None:
        builders[TRIE] = partial(_build_tries, table)
    with without_gc():
        works = {name: partial(_seconds, work) for name, work in builders.items()}
        seconds = interleaved(works, scale.builds, warm_up=0)
    count = len(table.networks)
    labels = {"table": f"{table.source} {count:,}"}
    part.add("build", "s", seconds, **labels)
    built = _build(table)
    one = _size(build_index([_entry_networks(table.networks)]))
    sizes = {OURS: [built.size / count], "authz, all in one entry": [one / count]}
    if built.tries is not None:
        sizes[TRIE] = [_trie_growth(count) / count]
    part.add("memory", "bytes a network", sizes, **labels)
    return built


def _seconds(work: Callable[[], object]) -> float:
    return cpu_ns(work) / 1e9


def _build(table: Table) -> Built:
    arrays = _build_index(table)
    index = Index({name: memoryview(arrays[name].tobytes()) for name in TYPES})
    return Built(index, _size(arrays), None if _pytricia() is None else _build_tries(table))


def _build_index(table: Table) -> dict[str, Any]:
    return build_index([_entry_networks(networks) for networks in table.by_owner()])


def _entry_networks(networks: list[Network]) -> EntryNetworks:
    return EntryNetworks(Prefixes.split(networks), Prefixes.split(()))


def _size(arrays: dict[str, Any]) -> int:
    return sum(int(array.nbytes) for array in arrays.values())


def _build_tries(table: Table) -> dict[int, Any]:
    """Return frozen tries by version. The value of a network is its owner."""
    pytricia = _pytricia()
    tries = {version: pytricia.PyTricia(bits) for version, bits in BITS.items()}
    insert, insert6 = tries[4].insert, tries[6].insert
    for (version, value, length), owner in zip(table.networks, table.owners, strict=True):
        if version == 4:
            insert(value, length, owner)
        else:
            insert6((value.to_bytes(16, "big"), length), owner)
    for trie in tries.values():
        trie.freeze()
    return tries


def _trie_keys(version: int, values: list[int]) -> list[Any]:
    """Return the addresses in the form that pytricia reads fastest."""
    return list(values) if version == 4 else [value.to_bytes(16, "big") for value in values]


def _pytricia() -> Any:
    try:
        import pytricia  # noqa: PLC0415  # optional
    except ImportError:
        return None
    return pytricia


def _trie_growth(size: int) -> int:
    """Return by how many bytes a process grows when it builds the tries of a table: a fresh one, to see it alone."""
    with multiprocessing.get_context("spawn").Pool(1) as pool:
        return pool.apply(_growth, (size,))


def _growth(size: int) -> int:
    table = load_table(size)
    gc.collect()
    ctypes.CDLL(None).malloc_trim(0)  # else the trie would move into what loading the table has left free
    before = memory_of("self")["VmRSS"]
    tries = _build_tries(table)
    grown = memory_of("self")["VmRSS"] - before
    del tries
    return grown
