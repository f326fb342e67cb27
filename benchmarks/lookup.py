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
from benchmarks.rounds import cpu_ns, interleaved, ratios, without_gc
from benchmarks.servers import memory_of

if TYPE_CHECKING:
    from collections.abc import Callable

    from authz.addresses import Network
    from benchmarks.scale import Scale

    Loops = dict[str, Callable[[], None]]

OURS, OURS_LISTED, OURS_TEXT = "authz", "authz, listed", "authz, text"
TRIE, TRIE_TEXT = "pytricia", "pytricia, text"
FLOOR = "empty call"
ONE, BUILD = "time of one look-up", "build time"
MMDB = "maxminddb, text"
_GEO = "data/geo/iptoasn-country.mmdb"
_MOST_CHECKED = 2_000  # addresses of a kind


class Built(NamedTuple):
    """The contenders, made from one table. tries: pytricia's by version; None where it is not installed."""

    lookup: Index
    size: int  # bytes of our arrays
    tries: dict[int, Any] | None


class Case(NamedTuple):
    """Addresses of one kind, looked up in one table by all contenders. table: where it comes from; networks: in it."""

    table: str
    networks: int
    version: int
    kind: str
    texts: list[str]  # the addresses
    loops: Loops


def run(scale: Scale, note: Callable[[str], None]) -> Part:
    """Measure look-ups on tables of all sizes and on the worst ones, building, and memory."""
    part = Part("lookup")
    if _pytricia() is None:
        part.notes.append("pytricia is not installed: no comparison with it")
    cases = []
    for size in scale.sizes:
        note(f"building {size:,} networks")
        table = load_table(size)
        cases += _cases(part, table, _measure_builds(part, table, scale), scale)
    _add_maxminddb(part, cases)
    for version in (4, 6):
        note(f"building the worst table, IPv{version}")
        table = comb(version, scale.sizes[-1])
        cases += _cases(part, table, _build(table), scale)
    note("looking up")
    _measure(part, cases, scale.rounds)
    _compare(part)
    _say_what_is_measured(part, scale)
    return part


def _cases(part: Part, table: Table, built: Built, scale: Scale) -> list[Case]:
    """Check the answers of each version, hits and misses, and return those to measure: where all were right."""
    slow = SlowTable(table)
    cases = []
    for version in (4, 6):
        networks = len(table.of(version))
        if not networks:
            continue
        for kind, values in (
            ("hit", hits(table, version, scale.addresses)),
            ("miss", misses(table, slow, version, scale.addresses)),
        ):
            what = f"{table.source} {networks:,} IPv{version}, {kind}"
            part.checks.append(_check(what, built, slow, version, values[:_MOST_CHECKED]))
            if not part.checks[-1].differences:
                texts = [address(version, value).text for value in values]
                loops = _loops(built, version, values, texts)
                cases.append(Case(table.source, networks, version, kind, texts, loops))
    return cases


def _measure(part: Part, cases: list[Case], rounds: int) -> None:
    """Measure all cases in turn, so that tables compare as well as contenders do."""
    works = {
        (number, name): partial(cpu_ns, loop, len(case.texts))
        for number, case in enumerate(cases)
        for name, loop in case.loops.items()
    }
    with without_gc():
        results = interleaved(works, rounds)
    for number, case in enumerate(cases):
        found = {name: results[number, name] for name in case.loops}
        part.add(ONE, "ns", found, table=f"{case.table} {case.networks:,} IPv{case.version}", address=case.kind)
    _compare_sizes(part, cases, results)


def _compare_sizes(part: Part, cases: list[Case], results: dict[tuple[int, str], list[float]]) -> None:
    """Add how much longer a look-up takes in the largest table than in the smallest."""
    groups: dict[tuple[str, int, str], list[int]] = {}
    for number, case in enumerate(cases):
        groups.setdefault((case.table, case.version, case.kind), []).append(number)
    for (_, version, kind), numbers in groups.items():
        small, large = numbers[0], numbers[-1]
        if small == large:
            continue
        found = {
            name: ratios(results[large, name], results[small, name])
            for name in (OURS, TRIE)
            if (large, name) in results
        }
        which = f"IPv{version}, {cases[large].networks:,} / {cases[small].networks:,}"
        part.add("largest / smallest table", "x", found, networks=which, address=kind)


def _compare(part: Part) -> None:
    part.compare(ONE, TRIE, OURS)
    part.compare(ONE, TRIE_TEXT, OURS_TEXT)
    part.compare(BUILD, TRIE, OURS)


def _say_what_is_measured(part: Part, scale: Scale) -> None:
    if any(measure.labels.get("table", "").startswith("synthetic") for measure in part.measures):
        part.notes.append("the BGP table is not beside the project: synthetic prefixes, lengths as in BGP, seeded")
    part.notes.append(
        f"CPU time of the thread for one look-up, the loop included, over {scale.addresses:,} addresses; a ratio above "
        f"1 means that authz is faster; networks are spread over {OWNERS} entries at random; 'text' parses the address "
        "first; 'listed' also lists the entries of the match set; 'comb' is the worst table we know for our index"
    )


def _loops(built: Built, version: int, values: list[int], texts: list[str]) -> Loops:
    """Return for each contender the loop over all addresses. A loop calls nothing but what is measured."""
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


def _add_maxminddb(part: Part, cases: list[Case]) -> None:
    """Let maxminddb look up the hits of the last table in its own, where package and database are there."""
    path = shared(_GEO)
    try:
        import maxminddb  # noqa: PLC0415  # optional
    except ImportError:
        path = None
    if path is None:
        part.notes.append("maxminddb: the package or the country database is not there, so no point of reference")
        return
    reader = maxminddb.open_database(str(path))
    for case in [case for case in cases[-4:] if case.kind == "hit"]:
        case.loops[MMDB] = _loop(reader.get, case.texts)
    part.notes.append(
        f"maxminddb ({type(reader).__module__}) looks up the same addresses in a table of its own, countries in "
        f"{reader.metadata().node_count:,} nodes, and returns a dictionary: a point of reference, not a comparison"
    )


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
    part.add(BUILD, "s", seconds, **labels)
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
