"""Load-test a deployment that runs: requests at fixed rates to given URLs, and what became of them.

    python3 -m benchmarks.deployment URL... [--rate 500,2000] [--seconds 10] [--clients FILE] [--header LINE]

Several URLs are asked in turn at each rate: one that authz checks and one that it does not show what the check adds.
`--clients` has an address on each line; each request has one of them, in turn, as X-Forwarded-For, which counts only
where this machine is a trusted proxy. Requests are GET over HTTP/1.1 without TLS: ask the listener behind your TLS.
The exit status is 1 where a request had no answer.
"""

from __future__ import annotations

import argparse
import ipaddress
import math
import socket
import sys
import tempfile
from collections import Counter
from pathlib import Path
from typing import TYPE_CHECKING, Final, NamedTuple
from urllib.parse import urlsplit

sys.path.insert(0, str(Path(__file__).parents[1] / "tests"))  # for support.processes

from benchmarks.load.paced import missing_paced, paced
from benchmarks.load.reload_traffic import read_series

if TYPE_CHECKING:
    from collections.abc import Sequence

    from benchmarks.load.paced import Paced

_LATE: Final = 1_000.0  # us; a generator that sends later than this measures itself


class Target(NamedTuple):
    """A URL as the generator takes it: an address in the place of the name, which goes into the header Host."""

    said: str
    url: str
    host: str


class Run(NamedTuple):
    """What became of the requests of one rate. statuses: how often each; -1: no answer."""

    target: Target
    rate: float
    result: Paced
    statuses: Counter[int]


def target_of(url: str) -> Target:
    """Resolve the name in a URL. Raises ValueError where it is no http URL, or the name has no address."""
    parts = urlsplit(url)
    if parts.scheme != "http" or parts.hostname is None:
        raise ValueError(f"found the URL '{url}', expected http://HOST[:PORT]/PATH: TLS is not spoken here")
    port = parts.port or 80
    try:
        family, _, _, _, address = socket.getaddrinfo(parts.hostname, port, type=socket.SOCK_STREAM)[0]
    except OSError as error:
        raise ValueError(f"{url}: {parts.hostname}: {error.strerror}") from error
    at = f"[{address[0]}]" if family == socket.AF_INET6 else str(address[0])
    path = (parts.path or "/") + (f"?{parts.query}" if parts.query else "")
    return Target(url, f"http://{at}:{port}{path}", parts.netloc.rpartition("@")[2])


def clients_of(path: Path) -> list[str]:
    """Return the addresses of a file. Raises ValueError with the line that has none."""
    clients = [line.strip() for line in path.read_text(encoding="utf-8").splitlines() if line.strip()]
    for number, client in enumerate(clients, start=1):
        try:
            ipaddress.ip_address(client)
        except ValueError as error:
            raise ValueError(f"{path}, line {number}: found '{client}', expected an address") from error
    if not clients:
        raise ValueError(f"{path}: found no address")
    return clients


def rates_of(text: str) -> list[float]:
    """Return the rates. Raises ValueError where one is no number above 0."""
    try:
        rates = [float(rate) for rate in text.split(",")]
    except ValueError:
        rates = []
    if not rates or not all(0 < rate < math.inf for rate in rates):
        raise ValueError(f"found the rate '{text}', expected numbers above 0")
    return rates


def header_of(text: str) -> tuple[str, str]:
    """Split `NAME: VALUE`. Raises ValueError where there is no name."""
    name, colon, value = text.partition(":")
    if not colon or not name.strip():
        raise ValueError(f"found the header '{text}', expected 'NAME: VALUE'")
    return name.strip(), value.strip()


def measured(
    target: Target, rate: float, seconds: float, headers: Sequence[tuple[str, str]], clients: Sequence[str]
) -> Run:
    """Send at one rate."""
    named = any(name.lower() == "host" for name, _ in headers)
    every = [*headers] if named else [("Host", target.host), *headers]
    in_turn = [("X-Forwarded-For", client) for client in clients]
    with tempfile.NamedTemporaryFile() as file:
        series = Path(file.name)
        result = paced(target.url, rate, seconds, headers=every, in_turn=in_turn, series=series)
        return Run(target, rate, result, Counter(line.status for line in read_series(series)))


def described(run: Run) -> str:
    """Return a line of the table; latencies in milliseconds."""
    times = (run.result.p50, run.result.p99, run.result.p999, run.result.worst)
    statuses = ", ".join(
        f"{status if status >= 0 else 'none'}: {count}" for status, count in sorted(run.statuses.items())
    )
    late = " (the generator was late: lower the rate)" if run.result.behind > _LATE else ""
    return (
        f"{run.rate:>8g}" + "".join(f" {time / 1e3:>9.3f}" for time in times) + f"  {statuses}  {run.target.said}{late}"
    )


def main(arguments: Sequence[str] | None = None) -> int:
    """Run all rates and print the table. Returns the exit status."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks.deployment", description=__doc__.split("\n")[0])
    parser.add_argument("urls", nargs="+", metavar="URL", help="http://HOST[:PORT]/PATH")
    parser.add_argument("--rate", default="500", help="requests a second; several with commas")
    parser.add_argument("--seconds", type=float, default=10.0, help="for each URL and rate")
    parser.add_argument("--clients", type=Path, help="file with an address on each line, for X-Forwarded-For")
    parser.add_argument("--header", action="append", default=[], help="'NAME: VALUE' of every request; may be repeated")
    given = parser.parse_args(arguments)
    try:
        rates = rates_of(given.rate)
        targets = [target_of(url) for url in given.urls]
        headers = [header_of(text) for text in given.header]
        clients = clients_of(given.clients) if given.clients else []
    except (OSError, ValueError) as error:
        parser.error(str(error))
    if (reason := missing_paced()) is not None:
        parser.error(reason)
    print(f"{'rate':>8} {'p50 ms':>9} {'p99 ms':>9} {'p99.9 ms':>9} {'max ms':>9}  statuses")
    unanswered = 0
    for rate in rates:
        for target in targets:
            try:
                run = measured(target, rate, given.seconds, headers, clients)
            except RuntimeError as error:  # it could not begin
                parser.exit(1, f"{target.said}: {error}\n")
            print(described(run), flush=True)
            unanswered += run.statuses[-1]
    return 1 if unanswered else 0


if __name__ == "__main__":
    sys.exit(main())
