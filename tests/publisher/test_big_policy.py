"""The full BGP table as one policy: built, verified, served, and right for every address that the oracle knows."""

from __future__ import annotations

import gzip
import http.client
import json
import random
from typing import TYPE_CHECKING, NamedTuple

import pytest
from support.processes import CONFIG, Sidecar
from support.publishing.publisher import Publisher
from support.suite.commands import Commands
from support.suite.shared import shared

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path
    from typing import Any

POLICY = """\
version: 1
entries: [{id: routed, list: deny, sources: [bgp], reason: in the table}]
feeds: [{source: bgp, path: bgp.txt, format: plain}]
"""
NETWORKS = 1_062_046
SAMPLE = 1000  # addresses that are asked over HTTP


class Big(NamedTuple):
    """The folder with the snapshot; what the build printed; the answers that the oracle knows, None for no network."""

    folder: Path
    built: dict[str, Any]
    oracle: list[tuple[str, str | None]]


@pytest.fixture(scope="module")
def big(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Big]:
    """The table, built by the real command."""
    table, answers = shared("data/lpm/bgp-full-table-prefixes.txt.gz"), shared("data/lpm/bgp-lpm-oracle.tsv.gz")
    folder = tmp_path_factory.mktemp("big")
    Publisher(folder)
    (folder / "bgp.txt").write_bytes(gzip.decompress(table.read_bytes()))
    (folder / "policy.yaml").write_text(POLICY)
    (folder / "authz.yaml").write_text(CONFIG)
    oracle = [line.split("\t") for line in gzip.decompress(answers.read_bytes()).decode().splitlines()]
    with pytest.MonkeyPatch.context() as patch:
        ran = Commands(folder, patch).real(
            "snapshot", "build", "policy.yaml", "-o", "lists.snapshot", "--key", "keys/a.key", "--json"
        )
    assert ran.err == ""
    yield Big(folder, ran.json(), [(address, None if network == "-" else network) for address, network in oracle])
    (folder / "bgp.txt").unlink()


@pytest.fixture
def authz(big: Big, monkeypatch: pytest.MonkeyPatch) -> Commands:
    """The command, in the folder of the table."""
    return Commands(big.folder, monkeypatch)


def test_every_network_of_the_table_is_in_the_snapshot(big: Big) -> None:
    assert big.built["networks"] == NETWORKS
    assert big.built["entries"] == 1
    assert big.built["size"] == (big.folder / "lists.snapshot").stat().st_size


def test_the_snapshot_is_good_in_every_element(big: Big, authz: Commands) -> None:
    checked = authz.real("snapshot", "verify", "lists.snapshot", "--trusted-key", "keys/a.pub", "--json").json()
    assert (checked["good"], checked["serial"]) == (True, big.built["serial"])


def test_replay_finds_the_network_of_every_address_of_the_oracle(big: Big, authz: Commands) -> None:
    requests = [{"peer": "127.0.0.1", "headers": [["X-Forwarded-For", address]]} for address, _ in big.oracle]
    (big.folder / "requests.jsonl").write_text("".join(f"{json.dumps(request)}\n" for request in requests))
    ran = authz.real("replay", "requests.jsonl", "--config", "authz.yaml")
    assert (ran.status, ran.err) == (0, "")
    assert len(big.oracle) == 30_000
    wrong = []
    for (address, network), answer in zip(big.oracle, ran.lines(), strict=True):
        matches = [] if network is None else [{"entry": "routed", "list": "deny", "network": network}]
        decision, reason = ("allow", "default_allow") if network is None else ("deny", "denylisted")
        decided = answer["client"], answer["decision"], answer["reason"], answer["matches"]
        if decided != (address, decision, reason, matches):
            wrong.append((address, network, answer))
    assert wrong == []
    assert sum(network is not None for _, network in big.oracle) == 18_139 + 6_839


def test_the_sidecar_answers_as_the_oracle_says(big: Big) -> None:
    sample = random.Random(1).sample(big.oracle, SAMPLE)
    with Sidecar(big.folder) as sidecar:
        connection = http.client.HTTPConnection("127.0.0.1", sidecar.ports["http"], timeout=20)
        answers = []
        for address, _ in sample:
            connection.request("GET", "/v1/auth/shop", headers={"X-Forwarded-For": address})
            answer = connection.getresponse()
            answer.read()
            answers.append((address, answer.status, answer.headers["X-Authz-Client-Address"]))
        connection.close()
    assert answers == [(address, 200 if network is None else 403, address) for address, network in sample]
    assert {status for _, status, _ in answers} == {200, 403}
