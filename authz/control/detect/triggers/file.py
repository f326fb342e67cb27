"""triggers.yaml: what is counted, of which requests, and what follows.

    triggers:
      - name: login-guessing
        kind: brute_force            # forced_browsing bola payloads rate api_abuse
        where: {application: shop, path: /login, method: POST, status: [401, 403]}
        count: {over: 30, within: 30s, by: address, v6: /64}
        then: {list: deny, period: 1h, grow: 2, max: 7d, forget: 30d, applications: same}
        breaker: {listings: 200, within: 1m}
        dry_run: true

A kind says what its name promises to count, and fills in what is not written:

    brute_force      requests to given paths                          needs where.path
    forced_browsing  answers 404                                      where.status: [404]
    bola             different values of one path parameter           needs where.path with {id}; distinct: param:id
    payloads         different malicious payloads                     distinct: payload; only events with an attack
    rate             requests
    api_abuse        requests of bots; listed again even after a person deleted the entry
"""

from __future__ import annotations

import re
from typing import TYPE_CHECKING, Annotated, Any, Final, Literal, NamedTuple

import msgspec

from authz.addresses import Network, parse_networks
from authz.control.detect.triggers.path_pattern import PATH_EXPECTED, PathPattern, parse_path
from authz.errors import BadValue
from authz.publisher.feeds.geo.asn_numbers import EXPECTED as EXPECTED_ASN
from authz.publisher.feeds.geo.asn_numbers import parse_asn
from authz.publisher.feeds.geo.place_table import EXPECTED as EXPECTED_CODES
from authz.publisher.feeds.geo.place_table import hint_of_code, is_code
from authz.strict_yaml.document import Document, read_file
from authz.strict_yaml.fields import OneOrMany, Scalar
from authz.times import DURATION_EXPECTED, format_duration, parse_duration

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

MIN_PERIOD: Final = 300.0  # seconds; a shorter ban ends before anybody has seen it
MAX_TRIGGERS: Final = 1000
MAX_WITHIN: Final = 86400  # seconds

Kind = Literal["brute_force", "forced_browsing", "bola", "payloads", "rate", "api_abuse"]


def _name(text: str) -> str:
    if not re.fullmatch(r"[a-z0-9][a-z0-9-]{0,62}", text):
        raise BadValue(text)
    return text


def _status(text: str) -> tuple[int, int]:
    """Return the first and the last status of `404` or `4xx`."""
    if re.fullmatch(r"[1-5]xx", text):
        return int(text[0]) * 100, int(text[0]) * 100 + 99
    if not re.fullmatch(r"[1-5][0-9]{2}", text):
        raise BadValue(text)
    return int(text), int(text)


def _method(text: str) -> str:
    if not re.fullmatch(r"[A-Za-z]{1,32}", text):
        raise BadValue(text)
    return text.upper()


def _count(text: str) -> int:
    if not re.fullmatch(r"[1-9][0-9]{0,8}", text):
        raise BadValue(text)
    return int(text)


def _factor(text: str) -> float:
    if not re.fullmatch(r"[0-9]{1,2}(\.[0-9]{1,3})?", text) or not 1 <= float(text) <= 10:
        raise BadValue(text)
    return float(text)


def _period(text: str) -> float | None:
    """Return seconds; None for `forever`."""
    return None if text == "forever" else parse_duration(text)


def _prefix(longest: int) -> Scalar:
    def parse(text: str) -> int:
        if not re.fullmatch(r"/[0-9]{1,3}", text) or not longest // 4 <= int(text[1:]) <= longest:
            raise BadValue(text)
        return int(text[1:])

    return Scalar(parse, f"a prefix length from /{longest // 4} to /{longest}")


def _distinct(text: str) -> str:
    if text not in {"path", "payload"} and not re.fullmatch(r"param:[a-z_][a-z0-9_]{0,31}", text):
        raise BadValue(text)
    return text


def _networks(text: str) -> tuple[Network, ...]:
    return tuple(parse_networks(text))


def _country(text: str) -> str:
    if not is_code("country", text):
        raise BadValue(text, hint=hint_of_code("country", text))
    return text


def _asn(text: str) -> int:
    number = parse_asn(text)
    if number is None:
        raise BadValue(text)
    return number


Name = Annotated[str, Scalar(_name, "small letters, digits and '-', at most 63, such as login-guessing")]
Status = Annotated[tuple[int, int], Scalar(_status, "a status such as 404, or 4xx")]
Method = Annotated[str, Scalar(_method, "a method such as POST")]
Count = Annotated[int, Scalar(_count, "a whole number from 1")]
Factor = Annotated[float, Scalar(_factor, "a factor from 1 to 10")]
Duration = Annotated[float, Scalar(parse_duration, DURATION_EXPECTED)]
Period = Annotated[Any, Scalar(_period, "a period such as 5m, 2h or 7d, or forever")]  # float | None
Distinct = Annotated[str, Scalar(_distinct, "path, payload, or param:NAME")]
Pattern = Annotated[PathPattern, Scalar(parse_path, PATH_EXPECTED)]
Country = Annotated[str, Scalar(_country, EXPECTED_CODES["country"])]
Asn = Annotated[int, Scalar(_asn, EXPECTED_ASN)]
Networks = Annotated[tuple[Network, ...], Scalar(_networks, "an address, a network or a range")]


class Where(msgspec.Struct, frozen=True):
    """`where`: which requests count. A key that is absent lets every request through; all that are present must fit.

    status: the answer's. attack: types that a WAF names; `any` for each. decision: requests that authz denied count
    only if this is `deny`: otherwise a banned client that keeps trying would be banned again and again.
    """

    application: Annotated[tuple[str, ...], OneOrMany] = ()
    method: Annotated[tuple[Method, ...], OneOrMany] = ()
    path: Annotated[tuple[Pattern, ...], OneOrMany] = ()
    host: Annotated[tuple[str, ...], OneOrMany] = ()
    status: Annotated[tuple[Status, ...], OneOrMany] = ()
    attack: Annotated[tuple[str, ...], OneOrMany] = ()
    decision: Literal["allow", "deny"] | None = None
    network: Annotated[tuple[Networks, ...], OneOrMany] = ()
    country: Annotated[tuple[Country, ...], OneOrMany] = ()
    asn: Annotated[tuple[Asn, ...], OneOrMany] = ()


class CountRule(msgspec.Struct, frozen=True):
    """`count`: more than `over` in `within` seconds, for each client.

    By `asn`, all addresses of an autonomous system are counted together; while there are too many, those that go on are
    listed, each by itself.

    Attributes:
        v4: What a client is, in prefix bits of IPv4.
        v6: The same for IPv6.
    """

    over: Count
    within: Duration
    by: Literal["address", "network", "asn"] = "address"
    v4: Annotated[int, _prefix(32)] | None = None  # default: /32, by network /24
    v6: Annotated[int, _prefix(128)] | None = None  # default: /64
    distinct: Distinct | None = None

    def lengths(self) -> tuple[int, int]:
        """Return the prefix lengths that make a client, for IPv4 and IPv6."""
        return self.v4 or (24 if self.by == "network" else 32), self.v6 or 64


class Reaction(msgspec.Struct, frozen=True):
    """`then`: what follows. period: seconds, None: forever. grow: each return within `forget` lasts so much longer."""

    list: Literal["deny", "gray", "notify"] = "deny"
    period: Period = 3600.0
    grow: Factor = 1.0
    max: Duration = 7 * 86400.0
    forget: Duration = 30 * 86400.0
    applications: Literal["same", "all"] = "same"


class Breaker(msgspec.Struct, frozen=True):
    """`breaker`: a trigger that lists more than `listings` clients `within` seconds stops and asks a person."""

    listings: Count = 200
    within: Duration = 60.0


class Trigger(msgspec.Struct, frozen=True):
    """One of `triggers`."""

    name: Name
    kind: Kind
    count: CountRule
    where: Where = Where()
    then: Reaction = Reaction()
    breaker: Breaker = Breaker()
    hold: Literal["any", "same"] = "any"  # a deletion by hand keeps every trigger off, or only this one
    dry_run: bool = False


class GeoFiles(msgspec.Struct, frozen=True):
    """`geo`: the databases of countries and systems, as in a policy; paths from the folder of triggers.yaml."""

    country: Annotated[tuple[str, ...], OneOrMany] = ()
    asn: Annotated[tuple[str, ...], OneOrMany] = ()


class TriggersDocument(msgspec.Struct, frozen=True):
    """The whole of triggers.yaml."""

    triggers: tuple[Trigger, ...] = ()
    geo: GeoFiles = GeoFiles()


class Databases(NamedTuple):
    """The files of `geo`, found: each several that are read as one."""

    country: tuple[Path, ...] = ()
    asn: tuple[Path, ...] = ()


class TriggersFile(NamedTuple):
    """What a file says: its triggers, with what their kinds fill in; and where databases are."""

    triggers: tuple[Trigger, ...] = ()
    databases: Databases = Databases()


def read_triggers(path: Path) -> TriggersFile:
    """Return what a file says.

    Raises:
        InputError: The file cannot be read.
        InvalidDocument: It has mistakes: all of them are told at once.

    """
    document = read_file(TriggersDocument, path)
    databases = Databases()
    if document.content is not None:
        geo = document.content.geo
        databases = Databases(*(tuple(path.parent / name for name in names) for names in (geo.country, geo.asn)))
        check_triggers(document, document.content.triggers, databases)
    return TriggersFile(tuple(complete(trigger) for trigger in document.checked().triggers), databases)


def check_triggers(document: Document[TriggersDocument], triggers: tuple[Trigger, ...], databases: Databases) -> None:
    """Note the mistakes that lie between keys."""
    if len(triggers) > MAX_TRIGGERS:
        document.mistake("triggers", f"found {len(triggers)}, expected at most {MAX_TRIGGERS}")
    names: set[str] = set()
    for trigger in triggers:
        key = document.key_of(trigger)
        if trigger.name in names:
            document.mistake(f"{key}.name", f"found '{trigger.name}' twice, expected once")
        names.add(trigger.name)
        for below, message in problems(trigger, databases):
            document.mistake(f"{key}.{below}", message)


def problems(trigger: Trigger, databases: Databases) -> list[tuple[str, str]]:
    """Return what several keys of a trigger say together and cannot mean: the key, and what is wrong."""
    return [*_filter_problems(trigger, databases), *_period_problems(trigger.then), *_count_problems(trigger)]


def _filter_problems(trigger: Trigger, databases: Databases) -> Iterator[tuple[str, str]]:
    where = trigger.where
    if trigger.kind in {"brute_force", "bola"} and not where.path:
        yield "where.path", f"missing, and {trigger.kind} counts requests to given paths"
    if where.country and not databases.country:
        yield "where.country", "found countries, and triggers.yaml names no database in geo.country"
    if where.asn and not databases.asn:
        yield "where.asn", "found systems, and triggers.yaml names no database in geo.asn"
    if trigger.count.by == "asn" and not databases.asn:
        yield "count.by", "found asn, and triggers.yaml names no database in geo.asn"


def _period_problems(then: Reaction) -> Iterator[tuple[str, str]]:
    if then.period is not None and then.period < MIN_PERIOD:
        yield "then.period", f"found {format_duration(then.period)}, expected 5m or more"
    if then.period is not None and then.max < then.period:
        least = format_duration(then.period)
        yield "then.max", f"found {format_duration(then.max)}, expected at least the period, {least}"


def _count_problems(trigger: Trigger) -> Iterator[tuple[str, str]]:
    count = complete(trigger).count
    if count.within < 1 or count.within > MAX_WITHIN:
        yield "count.within", f"found {format_duration(count.within)}, expected 1s to 24h"
    kind, _, parameter = (count.distinct or "").partition(":")
    if kind == "param" and not any(parameter in pattern.parameters for pattern in trigger.where.path):
        if trigger.count.distinct is not None:
            yield "count.distinct", f"found 'param:{parameter}', and where.path has no {{{parameter}}}"
        elif trigger.where.path:  # without any, that is the mistake
            expected = "expected a path such as /api/orders/{id}: bola counts the different values of {id}"
            yield "where.path", f"found no parameter, {expected}"
    if count.by != "network" and count.v4 not in {None, 32}:
        yield "count.v4", f"found /{count.v4} with by: {count.by}, expected by: network"


def complete(trigger: Trigger) -> Trigger:
    """Return a trigger with what its kind fills in."""
    replace = msgspec.structs.replace
    where, count = trigger.where, trigger.count
    if trigger.kind == "forced_browsing" and not where.status:
        where = replace(where, status=((404, 404),))
    if trigger.kind == "payloads":
        where = replace(where, attack=where.attack or ("any",))
        count = replace(count, distinct=count.distinct or "payload")
    if trigger.kind == "bola" and count.distinct is None:
        names = [name for pattern in where.path for name in pattern.parameters]
        count = replace(count, distinct=f"param:{names[0]}" if names else "param:id")
    return replace(trigger, where=where, count=count)
