"""The layers that decide together, the first of which has the settings. Never changed after it was made.

The entries of all layers count alike: the match set of an address is the union, in the order of the layers. Only for an
address that the policy protects the other layers do not count. A reload makes a new ruleset and swaps one reference.

A layer may have several files: a small one of what is new, and parts that change seldom. They stand one behind the
other, and a file's tombstones cancel entries of the same layer that stand behind it.
"""

from __future__ import annotations

from bisect import bisect_right
from typing import TYPE_CHECKING, Final, NamedTuple

from authz.addresses import NetworkSet
from authz.snapshot.ban_ids import ban_number
from authz.snapshot.sections import BITS_OF_MARKS, IPV6_MARKS

if TYPE_CHECKING:
    from collections.abc import Callable, Container, Iterable, Sequence

    from authz.addresses import Address
    from authz.engine.entries.opened_snapshot import Covering, OpenedSnapshot
    from authz.engine.model import Application, Match
    from authz.snapshot.sections import Marks

    FindOthers = Callable[[int, int], tuple[int, ...] | None]

_WITH_PARTS: Final = 3  # files of a layer of very many bans


class Place(NamedTuple):
    """What covers an address: numbers that the files of a ruleset gave for it.

    Attributes:
        version: Of the address.
        first: Of the policy's first file.
        others: Of the files behind it that are not empty, in their order; empty if none covers the address.
    """

    version: int
    first: int
    others: tuple[int, ...] = ()


class Ruleset:
    """The lists and settings by which a `Decider` decides. `open_snapshot` makes one from a file.

    Args:
        files: The file of the policy, then those of the layers behind it; each stands for its parts too. The first has
            the settings of applications.

    Attributes:
        policy: The file of the policy.
        files: All files, with their parts, in their order.
        layers: The first file of each layer, by name.
        applications: Those of the policy with their settings; the first is `*`.
        mentioned: Names of applications that only entries name; each has the settings of `*`.
        protected: Addresses for which only the policy counts.
        find_others: The look-up in the files behind the policy's; None where there are none.
        marks: Where they have no bit for an address, `find_others` need not be asked; None: it has to be.
        last_mark: The number of their last byte.

    """

    def __init__(self, files: Sequence[OpenedSnapshot]) -> None:
        self._heads = tuple(files)
        self.files = tuple(file for head in files for file in (head, *head.parts))
        self.policy = self.files[0]
        self.layers: dict[str, OpenedSnapshot] = {}
        for file in self.files:
            self.layers.setdefault(file.layer, file)
        self.applications = self.policy.applications
        # An entry may name an application that the policy does not have: it holds there, by the settings of `*`.
        # Ten thousand names are nothing as a set; as applications, they would stall the event loop for 15 ms.
        self.mentioned = (
            frozenset()
            .union(*(file.mentioned for file in self.files))
            .difference(application.name for application in self.applications)
        )
        self._others = tuple(file for file in self.files[1:] if not file.empty)
        self._cancelled = [self._tombstones(file) for file in self._others]  # numbers of bans
        self.find4, self.find6 = self.policy.find4, self.policy.find6
        self.protected = NetworkSet(self.policy.protected)
        self.find_others: FindOthers | None = None
        self.marks: Marks | None = None
        if self._others:
            self.find_others, self.marks = self._finder_of_others()
        self.last_mark = len(self.marks or ()) - 1

    def _finder_of_others(self) -> tuple[FindOthers, Marks | None]:
        """Return the look-up in the files behind the policy's, and the marks of all of them in one."""
        find = _finder(self._others, self.protected)
        marked = [head.marks for head in self._heads[1:] if head.marks is not None]
        unmarked = [*self.policy.parts]
        for head in self._heads[1:]:
            unmarked += [] if head.marks is not None else [head, *head.parts]
        asked = [file for file in unmarked if not file.empty]
        if len(marked) == 1 and not asked:
            return find, marked[0]
        return (_of_several_layers(find, marked, asked) if marked else find), None

    def _tombstones(self, file: OpenedSnapshot) -> frozenset[int]:
        before = self.files[: self.files.index(file)]
        tombstones = [other.tombstones for other in before if other.layer == file.layer and other.tombstones]
        return tombstones[0] if len(tombstones) == 1 else frozenset().union(*tombstones)

    @property
    def serial(self) -> int:
        """The serial of the policy."""
        return self.policy.serial

    @property
    def general(self) -> Application:
        """The settings of `*`."""
        return self.policy.general

    def without(self, layers: Container[str]) -> Ruleset:
        """Return a ruleset without some layers.

        Args:
            layers: Their names; the policy stays even where it is named.

        Returns:
            A new ruleset of the same files.
        """
        policy = self.policy.layer
        return Ruleset([file for file in self._heads if file.layer == policy or file.layer not in layers])

    def application(self, name: str | None, host: str) -> Application | None:
        """Return the application that a request is for.

        Args:
            name: As the proxy gives it; None or "": it names none.
            host: Of the request; counts only without a name.

        Returns:
            The application with its settings; None: the policy has none of this name or host.
        """
        return self.policy.application(name, host)

    def settings_of(self, name: str) -> Application | None:
        """Return the settings by which requests for an application are decided.

        Args:
            name: Of the application.

        Returns:
            The policy's or, where only entries name the application, those of `*`; None: nothing names it.
        """
        named = next((known for known in self.applications if known.name == name), None)
        return self.general._replace(name=name, hosts=()) if named is None and name in self.mentioned else named

    def serial_of(self, layer: str | None) -> int:
        """Return the serial of a layer.

        Args:
            layer: Its name; None: the policy.

        Returns:
            The serial of the layer's first file.

        Raises:
            KeyError: There is no such layer.
        """
        return self.serial if layer is None else self.layers[layer].serial

    def find(self, address: Address) -> Place:
        """Return what covers an address.

        Args:
            address: Of a client, say.

        Returns:
            A place, which `matches` turns into entries.
        """
        version, value, _ = address
        first = self.find4(value) if version == 4 else self.find6(value)
        others = None
        if self.find_others:
            marks = self.marks
            if marks is None:
                others = self.find_others(version, value)
            elif version == 4:
                if marks[value >> 11 & self.last_mark] & BITS_OF_MARKS[value >> 8 & 7]:
                    others = self.find_others(4, value)
            elif marks[(number := (value >> 80) % IPV6_MARKS) >> 3 & self.last_mark] & BITS_OF_MARKS[number & 7]:
                others = self.find_others(6, value)
        return Place(version, first, others or ())

    def covering(self, address: Address) -> list[Covering]:
        """Return the entries that cover an address.

        Args:
            address: Of a client, say.

        Returns:
            The entries with the network and the layer of each: the longest prefix first, layer by layer. For a
            protected address, only those of the policy.
        """
        covering = self.policy.covering(address)
        if address in self.protected:
            return covering
        for file, cancelled in zip(self._others, self._cancelled, strict=True):
            covering += [c for c in file.covering(address) if ban_number(c.entry.id) not in cancelled]
        return covering

    def matches(self, place: Place) -> list[Match]:
        """Return the entries of a place, as the decision takes them.

        Args:
            place: What `find` of this ruleset returned.

        Returns:
            Each entry with its prefix length and layer, whatever its window and applications.
        """
        version, first, others = place
        matches = self.policy.matches(version, first)
        if others:
            for file, number, cancelled in zip(self._others, others, self._cancelled, strict=True):
                if number:
                    covering = file.matches(version, number)
                    matches += [m for m in covering if ban_number(m.entry.id) not in cancelled]
        return matches

    def places_of(self, addresses: Iterable[Address]) -> frozenset[Place]:
        """Return what covers some addresses.

        Args:
            addresses: Those of a forwarding chain, say.

        Returns:
            The places, each once, without the one that no entry covers.
        """
        places = map(self.find, addresses)
        return frozenset(place for place in places if place.first or place.others)

    def with_denied(self, matches: Iterable[Match], places: Iterable[Place]) -> list[Match]:
        """Return the client's matches, and those of other addresses that are on the deny list.

        Args:
            matches: The client's.
            places: What covers the other addresses.

        Returns:
            Each entry once, with the longest of its prefixes.
        """
        longest = {(match.layer, match.entry.id): match for match in matches}
        for place in places:
            for match in self.matches(place):
                key = match.layer, match.entry.id
                known = longest.get(key)
                if match.entry.list == "deny" and (known is None or known.length < match.length):
                    longest[key] = match
        return list(longest.values())


def _of_several_layers(find: FindOthers, all_marks: Sequence[Marks], files: Sequence[OpenedSnapshot]) -> FindOthers:
    """Return the same look-up in several layers. all_marks: of those that have some. files: of the others."""
    finders4, finders6 = [file.find4 for file in files], [file.find6 for file in files]
    pairs = [(marks, len(marks) - 1) for marks in all_marks]

    def find_if_any(version: int, value: int) -> tuple[int, ...] | None:
        place = value >> 8 if version == 4 else (value >> 80) % IPV6_MARKS
        byte, bit = place >> 3, BITS_OF_MARKS[place & 7]
        for marks, last in pairs:
            if marks[byte & last] & bit:
                return find(version, value)
        for find_in in finders4 if version == 4 else finders6:
            if find_in(value):
                return find(version, value)
        return None

    return find_if_any


def _finder(files: Sequence[OpenedSnapshot], protected: NetworkSet) -> FindOthers:
    """Return the look-up in several files: from version and value to their numbers; None if none covers it.

    One file, and a head with two parts, are the usual cases, and have ways of their own.

    protected: addresses for which no file counts.
    """
    bounds = protected.bounds  # see NetworkSet
    finders4, finders6 = [file.find4 for file in files], [file.find6 for file in files]
    find4, find6 = finders4[0], finders6[0]
    second4, third4 = finders4[-2:] if len(files) == _WITH_PARTS else (find4, find4)
    second6, third6 = finders6[-2:] if len(files) == _WITH_PARTS else (find6, find6)

    def find_one(version: int, value: int) -> tuple[int, ...] | None:
        number = find4(value) if version == 4 else find6(value)
        return (number,) if number and not bisect_right(bounds[version], value) & 1 else None

    def find_all(version: int, value: int) -> tuple[int, ...] | None:
        numbers = tuple([find(value) for find in (finders4 if version == 4 else finders6)])
        return numbers if any(numbers) and not bisect_right(bounds[version], value) & 1 else None

    def find_three(version: int, value: int) -> tuple[int, ...] | None:
        if version == 4:
            numbers = find4(value), second4(value), third4(value)
        else:
            numbers = find6(value), second6(value), third6(value)
        return numbers if any(numbers) and not bisect_right(bounds[version], value) & 1 else None

    return {1: find_one, _WITH_PARTS: find_three}.get(len(files), find_all)
