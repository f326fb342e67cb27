"""Countries from text: CSV ranges (`start,end,CC`), JSON of ipverse, and archives with a file of networks a country."""

from __future__ import annotations

import io
import tarfile
from collections import Counter
from pathlib import PurePosixPath
from typing import TYPE_CHECKING, Any

import numpy as np
import orjson

from authz.addresses import parse_network
from authz.errors import AddressError, InputError
from authz.publisher.feeds.formats.lines import content_lines
from authz.publisher.feeds.geo.place_table import GeoTable, country_code, is_code, merged
from authz.publisher.feeds.geo.ranges import grouped, read_range_table
from authz.publisher.index.prefixes import Prefixes

if TYPE_CHECKING:
    from collections.abc import Iterator
    from collections.abc import Set as AbstractSet

    from authz.addresses import Network
    from authz.publisher.feeds.geo.place_table import Code, Networks

_IPVERSE = '{"countryCode": "AD", "prefixes": {"ipv4": [..], "ipv6": [..]}}'


def read_geo_csv(data: bytes, name: str, wanted: AbstractSet[Code]) -> GeoTable:
    """Read lines of `start,end,CC`; a range is turned into the fewest networks.

    Raises InputError at the first line that is something else.
    """
    table = read_range_table(data, name)
    rows = zip(table.labels, table.lines, strict=True)
    codes = [country_code(label, f"{name}:{line}") for label, line in rows]
    named = np.array([code is not None for code in codes], np.bool_)
    asked = {number: code for number, code in enumerate(codes) if code is not None and code in wanted}
    by_code: dict[Code, list[Networks]] = {}
    for version, numbers in table.numbers.items():
        chosen = np.isin(numbers, list(asked))
        networks, origins = table.ranges[version].select(chosen).networks()
        for number, part in grouped(networks, numbers[chosen][origins]).items():
            by_code.setdefault(asked[number], []).append({version: part})
    return GeoTable(
        "csv",
        {version: int(named[numbers].sum()) for version, numbers in table.numbers.items()},
        frozenset(code for code in codes if code is not None),
        {code: merged(parts) for code, parts in by_code.items()},
    )


def read_geo_json(data: bytes, name: str, wanted: AbstractSet[Code]) -> GeoTable:
    """Read ipverse's aggregated.json, which is one country.

    Raises InputError if it is other JSON, or has an invalid network.
    """
    try:
        content = orjson.loads(data)
    except orjson.JSONDecodeError as error:
        raise InputError(f"{name}:{error.lineno}: damaged JSON: {error.msg}", hint="download it again") from error
    country = content.get("countryCode") if isinstance(content, dict) else None
    prefixes = content.get("prefixes") if isinstance(content, dict) else None
    code = country_code(country, f"{name}: countryCode") if isinstance(country, str) else None
    if code is None or not isinstance(prefixes, dict):
        raise InputError(f"{name}: found JSON of another shape, expected {_IPVERSE}")
    networks = Prefixes.split(_ipverse_networks(prefixes, name))
    entries = {version: len(part) for version, part in networks.items()}
    return GeoTable("json", entries, frozenset({code}), {code: networks} if code in wanted else {})


def _ipverse_networks(prefixes: dict[str, Any], name: str) -> Iterator[Network]:
    for key in ("ipv4", "ipv6"):
        listed = prefixes.get(key, [])
        if not isinstance(listed, list):
            raise InputError(f"{name}: prefixes.{key}: found no list, expected {_IPVERSE}")
        for number, text in enumerate(listed):
            yield _network(str(text), f"{name}: prefixes.{key}[{number}]")


def read_geo_tar(data: bytes, name: str, wanted: AbstractSet[Code]) -> GeoTable:
    """Read an archive of files `ipv4/cc.cidr` and `ipv6/cc.cidr`, one network a line; other files are not read.

    An address may be in two countries there. Nothing is written to disk. Raises InputError if the archive or a file
    of it is damaged.
    """
    known: set[Code] = set()
    by_code: dict[Code, list[Networks]] = {}
    entries: Counter[int] = Counter({4: 0, 6: 0})
    for member, content in _country_files(data, name):
        code: Code = ("country", PurePosixPath(member).stem.upper())
        lines = content_lines(content)
        networks = Prefixes.split(_network(line, f"{name}: {member}:{number}") for number, line in lines)
        known.add(code)
        entries.update({version: len(part) for version, part in networks.items()})
        if code in wanted:
            by_code.setdefault(code, []).append(networks)
    if not known:
        raise InputError(
            f"{name}: found no file such as ipv4/kp.cidr in the archive",
            hint="an archive with an .mmdb file in it has to be unpacked first",
        )
    return GeoTable("tar", dict(entries), frozenset(known), {code: merged(parts) for code, parts in by_code.items()})


def _country_files(data: bytes, name: str) -> Iterator[tuple[str, bytes]]:
    try:
        with tarfile.open(fileobj=io.BytesIO(data), mode="r:") as archive:
            for member in archive:
                path = PurePosixPath(member.name)
                if not (member.isreg() and path.suffix == ".cidr" and is_code("country", path.stem.upper())):
                    continue
                # A sparse file may claim any size.
                content = None if member.issparse() else archive.extractfile(member)
                if content is None:
                    raise InputError(f"{name}: {member.name}: found a sparse file, expected a plain one")
                yield member.name, content.read()
    except (tarfile.TarError, ValueError, OSError) as error:
        raise InputError(f"{name}: damaged archive: {error}", hint="download it again") from error


def _network(text: str, place: str) -> Network:
    try:
        return parse_network(text)
    except AddressError as error:
        raise InputError(f"{place}: {error.message}", hint=error.hint) from error
