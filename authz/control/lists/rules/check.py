"""Whether what an entry says is well-formed: the same rules as in policy.yaml, with a pointer to each mistake."""

from __future__ import annotations

from bisect import bisect_right
from typing import TYPE_CHECKING, Any, Final, get_args

from authz.addresses import NetworkSet, parse_networks
from authz.control.model.problems import FieldMistake, Invalid
from authz.control.model.records import SUBJECTS, Written
from authz.errors import AddressError, BadValue, shorten
from authz.publisher.policy.schema import Asn, Continent, Country, Host, Region, Source, Token

if TYPE_CHECKING:
    from collections.abc import Iterator

    from authz.addresses import Network

MAX_SUBJECTS = 10_000  # of one entry; more belong into a feed
MAX_TEXT = 1000  # characters of a reason or an author
_SCALARS: Final[dict[str, Any]] = {
    "hosts": Host,
    "countries": Country,
    "regions": Region,
    "continents": Continent,
    "asns": Asn,
    "sources": Source,
    "applications": Token,
}
Named = frozenset[tuple[str, str | int]]  # kinds of subjects, with a value each


def check_written(entry: Written) -> None:
    """Raise Invalid with all that is wrong with an entry."""
    mistakes = list(_mistakes(entry))
    if mistakes:
        raise Invalid(mistakes)


def _mistakes(entry: Written) -> Iterator[FieldMistake]:
    if not any(getattr(entry, name) for name in SUBJECTS):
        yield FieldMistake("", f"names nobody, expected one or more of {', '.join(SUBJECTS)}")
    if sum(len(getattr(entry, name)) for name in (*SUBJECTS, "except_")) > MAX_SUBJECTS:
        yield FieldMistake("", f"names over {MAX_SUBJECTS} subjects, expected fewer: make a feed of them")
        return
    yield from network_mistakes(entry.networks, "/networks")
    yield from network_mistakes(entry.except_, "/except")
    for name, kind in _SCALARS.items():
        yield from _scalar_mistakes(getattr(entry, name), get_args(kind)[1], name)
    if entry.action == "warn" and entry.list != "deny":
        yield FieldMistake("/action", f"found 'warn' on the {entry.list} list, expected it on the deny list only")
    for name in ("reason", "author"):
        yield from text_mistakes(getattr(entry, name), f"/{name}")
    if entry.starts is not None and entry.expires is not None and entry.expires <= entry.starts:
        yield FieldMistake("/expires", "found an end that is not after the start")


def check_exceptions(entry: Written) -> None:
    """Raise Invalid where an entry names networks only, and an exception takes nothing out of them."""
    if any(getattr(entry, name) for name in SUBJECTS if name != "networks"):
        return  # what the others stand for is known later
    bounds = NetworkSet(network for text in entry.networks for network in parse_networks(text)).bounds
    expected = entry.networks[0] if len(entry.networks) == 1 else "one of the networks of the entry"
    mistakes = [
        FieldMistake(f"/except/{number}", f"found '{shorten(text)}', expected an address or network in {expected}")
        for number, text in enumerate(entry.except_)
        if not any(_meets(bounds[network.version], network) for network in parse_networks(text))
    ]
    spared = NetworkSet(network for text in entry.except_ for network in parse_networks(text)).bounds
    if entry.except_ and all(
        _inside(spared[network.version], network) for text in entry.networks for network in parse_networks(text)
    ):
        mistakes = [FieldMistake("/except", "covers all networks of the entry, which would name nobody")]
    if mistakes:
        raise Invalid(mistakes)


def _inside(bounds: list[int], network: Network) -> bool:
    place = bisect_right(bounds, network.value)
    return place & 1 == 1 and network.last < bounds[place]


def _meets(bounds: list[int], network: Network) -> bool:
    place = bisect_right(bounds, network.value)
    return place & 1 == 1 or place != bisect_right(bounds, network.last)


def named_subjects(entry: Written) -> Named:
    """Return the subjects of an entry that are no networks, parsed. Raises BadValue and ValueError."""
    return frozenset(
        (name, get_args(kind)[1].parse(str(value)))
        for name, kind in _SCALARS.items()
        if name in SUBJECTS
        for value in getattr(entry, name)
    )


def network_mistakes(written: tuple[str, ...], pointer: str) -> Iterator[FieldMistake]:
    """Give what is not a network, range or address, or has host bits set."""
    for number, text in enumerate(written):
        try:
            parse_networks(text)
        except AddressError as error:
            hint = f": {error.hint}" if error.hint else ""
            yield FieldMistake(f"{pointer}/{number}", f"{error.message}{hint}")


def text_mistakes(text: str, pointer: str) -> Iterator[FieldMistake]:
    """Give what is wrong with free text: too long, or a NUL, which no database keeps."""
    if len(text) > MAX_TEXT:
        yield FieldMistake(pointer, f"found {len(text)} characters, expected at most {MAX_TEXT}")
    if "\0" in text or any("\ud800" <= c <= "\udfff" for c in text):
        yield FieldMistake(pointer, "found a NUL or half of a surrogate pair, expected text")


def _scalar_mistakes(values: tuple[Any, ...], scalar: Any, name: str) -> Iterator[FieldMistake]:
    for number, value in enumerate(values):
        try:
            scalar.parse(str(value))
        except (BadValue, ValueError):
            yield FieldMistake(f"/{name}/{number}", f"found '{shorten(value)}', expected {scalar.expected}")


def parsed_network(text: str, pointer: str) -> str:
    """Return a network, range or address as it is kept. Raises Invalid."""
    mistakes = list(network_mistakes((text,), pointer))
    if mistakes:
        first = mistakes[0]
        raise Invalid([FieldMistake(pointer, first.detail)])
    networks = parse_networks(text)
    if len(networks) == 1:
        network = networks[0]
        full = network.length == (32 if network.version == 4 else 128)
        return str(network).partition("/")[0] if full else str(network)
    return text
