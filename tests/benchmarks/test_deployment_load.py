"""The command that load-tests somebody's own deployment, run as benchmarks/README.md says, at a real HTTP front."""

from __future__ import annotations

import re
import shlex
import subprocess
import sys
from collections import Counter
from pathlib import Path
from typing import TYPE_CHECKING

import pytest
from support.processes import free_port
from support.publishing.publisher import Publisher
from support.sidecar.http_questions import serving

if TYPE_CHECKING:
    from collections.abc import Iterator

    from support.sidecar.fronts import HttpServer

ROOT = Path(__file__).parents[2]


@pytest.fixture(autouse=True)
def _importable(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.syspath_prepend(str(ROOT))
    from benchmarks.load.paced import missing_paced

    reason = missing_paced()
    if reason is not None:
        pytest.skip(reason)


@pytest.fixture
def server(tmp_path: Path) -> Iterator[HttpServer]:
    with serving(Publisher(tmp_path)) as server:
        yield server


def run(*arguments: str | Path) -> subprocess.CompletedProcess[str]:
    """Run it as the page does: without any package that is installed."""
    command = [sys.executable, "-S", "-m", "benchmarks.deployment", *map(str, arguments)]
    return subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=False, timeout=60)


def statuses(line: str) -> Counter[str]:
    return Counter({status: int(count) for status, count in re.findall(r"(\d{3}|none): (\d+)", line)})


def test_the_command_of_the_page_counts_what_each_url_answers(server: HttpServer) -> None:
    page = (ROOT / "benchmarks" / "README.md").read_text()
    (command,) = re.findall(r"^    python3 -m benchmarks\.deployment (.+)$", page, re.MULTILINE)
    checked, open_to_all, *options = shlex.split(command)
    assert checked.startswith("http://")
    assert open_to_all.startswith("http://")
    options[options.index("--rate") + 1], options[options.index("--seconds") + 1] = "100,200", "0.3"
    options += ["--header", "X-Forwarded-For: 203.0.113.9"]
    at = f"http://localhost:{server.port}/v1/auth"
    done = run(f"{at}/shop", f"{at}/trial", *options)
    assert done.returncode == 0, done.stderr
    head, *lines = done.stdout.splitlines()
    assert head.split() == ["rate", "p50", "ms", "p99", "ms", "p99.9", "ms", "max", "ms", "statuses"]
    assert [(float(line.split()[0]), statuses(line)) for line in lines] == [
        (100, Counter({"403": 30})), (100, Counter({"200": 30})),
        (200, Counter({"403": 60})), (200, Counter({"200": 60})),
    ]  # fmt: skip
    for line in lines:
        p50, p99, p999, slowest = map(float, line.split()[1:5])
        assert 0 < p50 <= p99 <= p999 <= slowest


def test_clients_are_asked_for_in_turn(server: HttpServer, tmp_path: Path) -> None:
    (tmp_path / "clients").write_text("203.0.113.9\n192.0.2.7\n198.51.100.7\n")
    done = run(
        f"http://127.0.0.1:{server.port}/v1/auth/shop", "--rate=100", "--seconds=0.3", "--clients", tmp_path / "clients"
    )
    assert statuses(done.stdout.splitlines()[1]) == Counter({"403": 10, "200": 20})


def test_a_deployment_that_does_not_answer_is_no_success() -> None:
    done = run(url := f"http://127.0.0.1:{free_port()}/shop/", "--rate=10", "--seconds=0.1")
    assert done.returncode == 1
    assert f"{url}: the load generator failed: paced: connect: connection refused" in done.stderr


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["https://shop.example.com/"], "found the URL 'https://shop.example.com/', expected http://HOST"),
        (["http://127.0.0.1:1/", "--rate", "0"], "found the rate '0', expected numbers above 0"),
        (["http://127.0.0.1:1/", "--rate", "fast"], "found the rate 'fast', expected numbers above 0"),
        (["http://127.0.0.1:1/", "--header", "no colon"], "found the header 'no colon', expected 'NAME: VALUE'"),
        (["http://127.0.0.1:1/", "--clients", "/nowhere"], "No such file or directory: '/nowhere'"),
        (["http://127.0.0.1:1/", "--clients", str(ROOT / "LICENSE")], "expected an address"),
        (["http://nowhere.invalid/"], "nowhere.invalid: "),
    ],
)
def test_a_mistake_is_named(arguments: list[str], message: str) -> None:
    done = run(*arguments)
    assert done.returncode == 2
    assert message in done.stderr
