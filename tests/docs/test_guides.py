"""Quick starts and guides, run as they are written: every command, every configuration."""

from __future__ import annotations

import contextlib
import json
import os
import re
import shlex
import subprocess
import sys
from pathlib import Path
from typing import TYPE_CHECKING

import pytest
from support.processes import Process, free_port, wait_for
from support.proxies.client import ask
from support.proxies.every import PROXIES, start_proxy
from support.proxies.upstream import Upstream
from support.publishing.publisher import Publisher

from authz.engine.decision import outcome, verdict
from authz.engine.request import client_address
from authz.errors import Refusal

if TYPE_CHECKING:
    from collections.abc import Iterator

DOCS = Path(__file__).parents[2] / "docs"
FIRST = (DOCS / "start" / "first-snapshot.md").read_text()
CLIENT = (DOCS / "guides" / "who-is-the-client.md").read_text()
MIGRATE = (DOCS / "guides" / "migrate.md").read_text()
TROUBLE = (DOCS / "operations" / "troubleshooting.md").read_text()


def commands(page: str) -> list[list[str]]:
    """Return the calls of authz in a page, each as its words."""
    return [shlex.split(line, comments=True)[1:] for line in re.findall(r"^    (authz .*)$", page, re.MULTILINE)]


def run(folder: Path, words: list[str], env: dict[str, str] | None = None) -> str:
    """Run a command in a folder, and return what it prints. `> FILE` writes that."""
    file = words[words.index(">") + 1] if ">" in words else None
    plain = words[: words.index(">")] if file else words
    done = subprocess.run(
        [sys.executable, "-m", "authz", *plain],
        cwd=folder, env=env, capture_output=True, text=True, check=False, timeout=60,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    if file:
        (folder / file).write_text(done.stdout)
    return done.stdout


class Start:
    """The folder of the first page, with its sidecar on free ports."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        policy, configuration = re.findall(r"```yaml\n(.*?)```", FIRST, re.DOTALL)
        (folder / "policy.yaml").write_text(policy)
        (folder / "authz.yaml").write_text(configuration)
        listens = {f"AUTHZ_{front}__LISTEN": f"127.0.0.1:{free_port()}" for front in ("GRPC", "HTTP", "ADMIN")}
        self.env = {**os.environ, **listens, "AUTHZ_DRAIN": "0s"}
        self.sidecar = contextlib.nullcontext()

    def serve(self) -> Process:
        """Follow the page up to the running sidecar."""
        *before, serve = commands(FIRST)
        printed = [run(self.folder, words, self.env) for words in before]
        assert "denylisted" in printed[-1]
        sidecar = Process([sys.executable, "-m", "authz", *serve], cwd=self.folder, env=self.env)
        sidecar.wait_for_line("authz: serving$")
        return sidecar


@pytest.fixture(scope="module")
def start(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Start]:
    start = Start(tmp_path_factory.mktemp("start"))
    with start.serve():
        yield start


@pytest.mark.parametrize("proxy", PROXIES)
def test_a_quick_start_shows_what_it_promises(start: Start, proxy: str) -> None:
    page = (DOCS / "start" / f"{proxy}.md").read_text()
    *prints, doctor = commands(page)
    parts = {words[words.index("--part") + 1] if "--part" in words else "main": words for words in prints}
    printed = {part: run(start.folder, words, start.env) for part, words in parts.items()}
    curls = re.findall(r"curl -i -H '(.*?): (.*?)' http://127.0.0.1:8080(\S+) +# (\d+) .*?: (.*)$", page, re.MULTILINE)
    assert [status for *_, status, _ in curls] == ["403", "200"]
    with Upstream() as upstream, start_proxy(start.folder, proxy, printed, upstream) as ports:
        name, good, path, *_ = curls[1]
        wait_for(lambda: ask(ports.edge, path, [(name, good)]).status == 200, "the first answer")
        for name, value, path, status, text in curls:
            for reply in (ask(ports.edge, path, [(name, value)]), ask(ports.proxied, path, peer=value)):
                assert reply.status == int(status)
                assert status == "200" or reply.body.decode().strip() == text
        doctor[doctor.index("http://127.0.0.1:8080")] = f"http://127.0.0.1:{ports.edge}"
        assert doctor[0] == "doctor"


def test_every_way_in_finds_the_client_that_the_page_names(tmp_path: Path) -> None:
    Publisher(tmp_path).publish("version: 1\napplications: {}\n")
    parts = re.split(r"```yaml\n", CLIENT)[1:]
    assert len(parts) == 6
    for part in parts:
        configuration, _, rest = part.partition("```")
        (tmp_path / "authz.yaml").write_text(configuration.replace("keys/2026.pub", "keys/a.pub"))
        (words,) = commands(rest)
        (client,) = re.findall(r"^    authz .*# client (\S+)$", rest, re.MULTILINE)
        assert json.loads(run(tmp_path, [*words, "--json"]))["decision"]["client"] == client


@pytest.mark.parametrize("words", [w for w in commands(MIGRATE) if w[0] == "import"], ids=lambda words: words[1])
def test_an_import_of_the_page_becomes_a_policy_that_builds(tmp_path: Path, words: list[str]) -> None:
    files = dict(re.findall(r"```\w+\n# (\S+)\n(.*?)```", MIGRATE, re.DOTALL))
    (tmp_path / words[2]).write_text(files[words[2]])
    assert "203.0.113." in run(tmp_path, words)
    Publisher(tmp_path)
    build = ["snapshot", "build", "policy.yaml", "-o", "lists.snapshot", "--key", "keys/a.key"]
    run(tmp_path, build)
    run(tmp_path, ["snapshot", "lint", "lists.snapshot"])


def test_every_reason_and_code_of_the_page_of_symptoms_is_one() -> None:
    modules = (outcome, verdict, client_address)
    reasons = {value for module in modules for value in vars(module).values() if isinstance(value, str)}
    first = re.findall(r"^\| `([a-z_]+)`(?:, `([a-z_]+)`)?", TROUBLE, re.MULTILINE)
    told = {word for pair in first for word in pair if word} - {"enforced", "client"}
    assert len(told) > 15
    assert told - reasons - set(Refusal) == set()
