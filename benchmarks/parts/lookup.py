"""Looking up an address: our index beside pytricia, py-radix and a scan, and maxminddb as a point of reference.

What they answer is not the same: pytricia gives the value of the longest prefix, py-radix its node, the scan the
network; our `find4` and `find6` give the number of the match set, in which all covering entries are, and `members`
lists them. Text is how an address arrives. maxminddb looks into a table of its own: its figure says what a binary trie
in a file costs.
"""

from __future__ import annotations

from functools import partial
from typing import TYPE_CHECKING, Any, NamedTuple

from authz.addresses import try_parse_address
from authz.engine.entries.lookup import Index
from authz.publisher.index.build import EntryNetworks, build_index
from authz.publisher.index.prefixes import Prefixes
from authz.snapshot.sections import INDEX_TYPES
from benchmarks.contenders.lookup import (
    MMDB,
    RADIX,
    SCAN,
    SCANNED,
    TRIE,
    TRIE_TEXT,
    Contender,
    Loop,
    Scan,
    growths,
    installed,
    loop,
    open_mmdb,
)
from benchmarks.data.networks import OWNERS, SlowTable, Table, address, comb, hits, load_table, misses
from benchmarks.parts.common import table_build
from benchmarks.report.document import Check, Part
from benchmarks.rounds import cpu_ns, interleaved, ratios, without_gc

if TYPE_CHECKING:
    from collections.abc import Callable

    from authz.addresses import Network
    from benchmarks.contenders.lookup import Longest
    from benchmarks.scale import Scale

OURS, OURS_LISTED, OURS_TEXT = "authz", "authz, listed", "authz, text"
FLOOR = "empty call"
ONE, BUILD = "time of one look-up", "build time"
_MAX_CHECKED = 2_000  # addresses of a kind
_LARGE = 1_000_000  # a scale with a table of so many networks builds the whole BGP table, too


class Built(NamedTuple):
    """The contenders, made from one table. size: bytes of our arrays."""

    lookup: Index
    size: int
    others: list[Contender]


class Case(NamedTuple):
    """Addresses of one kind, looked up in one table by all contenders. table: where it comes from; networks: in it."""

    table: str
    networks: int
    version: int
    kind: str
    texts: list[str]  # the addresses
    loops: dict[str, Loop]


def run(scale: Scale, note: Callable[[str], None]) -> Part:
    """Measure look-ups on tables of all sizes and on the worst ones, building, and memory."""
    part = Part("lookup")
    kinds, missing = installed()
    part.notes += [f"{name} is not installed: no comparison with it" for name in missing]
    cases = []
    for size in scale.sizes:
        note(f"building {size:,} networks")
        table = load_table(size)
        cases += _cases(part, table, _measure_builds(part, table, scale), scale)
    _add_maxminddb(part, cases)
    for version in (4, 6):
        note(f"building the worst table, IPv{version}")
        table = comb(version, scale.sizes[-1])
        cases += _cases(part, table, _build(table, [kind(table) for kind in kinds if kind.name == TRIE]), scale)
    note("looking up")
    _measure(part, cases, scale.rounds)
    _compare(part)
    _say_what_is_measured(part, scale)
    note("building the BGP table from a policy")
    table_build.measure(part, scale.builds, None if scale.sizes[-1] >= _LARGE else scale.sizes[-1])
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
            part.checks.append(_check(what, built, slow, version, values[:_MAX_CHECKED]))
            if not part.checks[-1].differences:
                texts = [address(version, value).text for value in values]
                loops = _our_loops(built.lookup, version, values, texts)
                for other in built.others:
                    loops |= other.loops(version, values, texts)
                cases.append(Case(table.source, networks, version, kind, texts, loops))
    return cases


def _measure(part: Part, cases: list[Case], rounds: int) -> None:
    """Measure all cases in turn, so that tables compare as well as contenders do."""
    works = {
        (number, name): partial(cpu_ns, loop.work, loop.addresses)
        for number, case in enumerate(cases)
        for name, loop in case.loops.items()
    }
    with without_gc():
        results = interleaved(works, rounds)
    for number, case in enumerate(cases):
        by_name = {name: results[number, name] for name in case.loops}
        part.add(ONE, "ns", by_name, table=f"{case.table} {case.networks:,} IPv{case.version}", address=case.kind)
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
        growth = {
            name: ratios(results[large, name], results[small, name])
            for name in (OURS, TRIE)
            if (large, name) in results
        }
        which = f"IPv{version}, {cases[large].networks:,} / {cases[small].networks:,}"
        part.add("largest / smallest table", "x", growth, networks=which, address=kind)


def _compare(part: Part) -> None:
    part.compare(ONE, TRIE, OURS)
    part.compare(ONE, TRIE_TEXT, OURS_TEXT)
    part.compare(ONE, RADIX, OURS)
    part.compare(ONE, SCAN, OURS)
    part.compare(BUILD, TRIE, OURS)
    part.compare(BUILD, RADIX, OURS)


def _say_what_is_measured(part: Part, scale: Scale) -> None:
    if any(measure.labels.get("table", "").startswith("synthetic") for measure in part.measures):
        part.notes.append("the BGP table is not beside the project: synthetic prefixes, lengths as in BGP, seeded")
    part.notes.append(
        f"CPU time of the thread for one look-up, the loop included, over {scale.addresses:,} addresses; a ratio above "
        f"1 means that authz is faster; networks are spread over {OWNERS} entries at random; 'text' parses the address "
        "first; 'listed' also lists the entries of the match set; 'comb' is the worst table we know for our index; the "
        f"scan of `ipaddress` networks is linear, so only the smallest table, {SCANNED} addresses of a kind"
    )


def _our_loops(index: Index, version: int, values: list[int], texts: list[str]) -> dict[str, Loop]:
    find, members = index.find4 if version == 4 else index.find6, index.members

    def listed() -> None:
        for value in values:
            members(find(value))

    def parsed() -> None:
        for text in texts:
            address = try_parse_address(text)
            if address is not None:
                index.find(address.version, address.value)

    return {
        FLOOR: loop(_nothing, values),
        OURS: loop(find, values),
        OURS_LISTED: Loop(listed, len(values)),
        OURS_TEXT: Loop(parsed, len(texts)),
    }


def _nothing(value: int) -> int:
    return value


def _add_maxminddb(part: Part, cases: list[Case]) -> None:
    """Let maxminddb look up the hits of the last table in its own, where package and database are there."""
    get, note = open_mmdb()
    part.notes.append(note)
    if get is not None:
        for case in [case for case in cases[-4:] if case.kind == "hit"]:
            case.loops[MMDB] = loop(get, case.texts)


def _check(what: str, built: Built, slow: SlowTable, version: int, values: list[int]) -> Check:
    """Compare all answers with those of the slow table: entry and length of the longest prefix."""
    check = Check(what, len(values))
    for number, value in enumerate(values):
        expected = slow.longest(version, value)
        for name, found in _answers(built, version, value, slowly=number < SCANNED):
            if found != expected:
                text = address(version, value).text
                check.differences.append(f"{text}: {name} found {found}, expected {expected}")
    return check


def _answers(built: Built, version: int, value: int, *, slowly: bool) -> list[tuple[str, Longest | None]]:
    members = built.lookup.members(built.lookup.find(version, value))
    answers: list[tuple[str, Longest | None]] = [("authz", members[0] if members else None)]
    others = [contender for contender in built.others if slowly or not isinstance(contender, Scan)]
    return answers + [(contender.name, contender.longest(version, value)) for contender in others]


def _measure_builds(part: Part, table: Table, scale: Scale) -> Built:
    """Measure building from the same parsed networks, and bytes a network. Returns the contenders."""
    kinds, _ = installed()
    made: dict[str, Contender] = {}
    builders: dict[str, Callable[[], object]] = {OURS: partial(_build_index, table)}
    builders |= {kind.name: partial(_make, kind, table, made) for kind in kinds}
    with without_gc():
        works = {name: partial(_seconds, work) for name, work in builders.items()}
        seconds = interleaved(works, scale.builds, warm_up=0)
    count = len(table.networks)
    labels = {"table": f"{table.source} {count:,}"}
    part.add(BUILD, "s", seconds, **labels)
    others = [*made.values()]
    if count == scale.sizes[0]:
        others.append(Scan(table))  # linear: with a million networks a look-up would take a tenth of a second
    built = _build(table, others)
    smallest = _size(build_index([_entry_networks(table.networks)]))
    sizes = {OURS: [built.size / count], "authz, all in one entry": [smallest / count]}
    sizes |= {name: [grown / count] for name, grown in growths(kinds, count).items()}
    part.add("memory", "bytes a network", sizes, **labels)
    return built


def _make(kind: Callable[[Table], Contender], table: Table, made: dict[str, Contender]) -> None:
    contender = kind(table)
    made[contender.name] = contender  # the last one is kept, to be asked


def _seconds(work: Callable[[], object]) -> float:
    return cpu_ns(work) / 1e9


def _build(table: Table, others: list[Contender]) -> Built:
    arrays = _build_index(table)
    index = Index({name: memoryview(arrays[name].tobytes()) for name in INDEX_TYPES})
    return Built(index, _size(arrays), others)


def _build_index(table: Table) -> dict[str, Any]:
    return build_index([_entry_networks(networks) for networks in table.by_owner()])


def _entry_networks(networks: list[Network]) -> EntryNetworks:
    return EntryNetworks(Prefixes.split(networks), Prefixes.split(()))


def _size(arrays: dict[str, Any]) -> int:
    return sum(int(array.nbytes) for array in arrays.values())
