"""`workers: N`: one verified copy, one admin view, connections spread, children that are replaced."""

from __future__ import annotations

import asyncio
import contextlib
import functools
import json
import os
import re
import signal
import socket
import sys
from pathlib import Path
from typing import TYPE_CHECKING

import pytest
from support.processes import PATIENCE, Process, Sidecar, free_port, wait_for
from support.publishing.publisher import POLICY, Publisher
from support.servers.certificates import Authority
from support.sidecar.fronts import HttpClient
from support.sidecar.running import ALLOWED, DENIED, NEW_POLICY, config, get

from authz.serve.workers.channel import Message
from authz.serve.workers.share import LAYER
from authz.serve.workers.worker import Worker

if TYPE_CHECKING:
    from collections.abc import Iterator


def several(workers: str = "2", drain: str = "0s", log: str = "decisions.jsonl") -> str:
    text = config("poll: 250ms", f"workers: {workers}\n").replace("drain: 0s", f"drain: {drain}")
    return text.replace('decision_log: {path: "off"}', f'decision_log: {{path: "{log}", allowed: 1}}')


class Family:
    """A sidecar with workers, and ways to look at its children."""

    def __init__(self, sidecar: Sidecar) -> None:
        self.sidecar = sidecar

    @property
    def children(self) -> list[int]:
        """The process ids of the children: the keeper, then the workers, in the order of their start."""
        return list(map(int, Path(f"/proc/{self.sidecar.pid}/task/{self.sidecar.pid}/children").read_text().split()))

    @property
    def http(self) -> int:
        """The port."""
        return self.sidecar.ports["http"]

    def metric(self, name: str) -> float:
        """Return the sum of a metric over its labels."""
        text = get(self.sidecar.ports["admin"], "/metrics").body.decode()
        return sum(float(value) for value in re.findall(rf"^{name}(?:{{.*}})? (\S+)$", text, re.MULTILINE))

    def ready(self) -> bool:
        """Whether all are ready."""
        return get(self.sidecar.ports["admin"], "/readyz").status == 200

    @contextlib.contextmanager
    def connected(self, number: int) -> Iterator[list[HttpClient]]:
        """Give some connections that have been asked once."""
        with contextlib.ExitStack() as stack:
            clients = []
            for _ in range(number):
                connection = socket.create_connection(("127.0.0.1", self.http), timeout=PATIENCE)
                clients.append(HttpClient(stack.enter_context(connection)))
                assert clients[-1].ask("/v1/auth", f"X-Forwarded-For: {ALLOWED}").status == 200
            yield clients

    def connections(self, pid: int) -> int:
        """Return how many connections of the HTTP front a process has."""
        inodes = set()
        for link in Path(f"/proc/{pid}/fd").iterdir():
            with contextlib.suppress(OSError):
                inodes.add(str(link.readlink()))
        established, port = "01", f"{self.http:04X}"
        lines = [line.split() for line in Path("/proc/net/tcp").read_text().splitlines()[1:]]
        return sum(
            f"socket:[{line[9]}]" in inodes for line in lines if line[1].endswith(port) and line[3] == established
        )


@pytest.fixture
def family(publisher: Publisher) -> Iterator[Family]:
    publisher.publish()
    with Sidecar(publisher.folder, several()) as sidecar:
        family = Family(sidecar)
        wait_for(family.ready)
        yield family


def answers(client: HttpClient, status: int) -> bool:
    return client.ask("/v1/auth", f"X-Forwarded-For: {ALLOWED}").status == status


def test_each_worker_decides_and_every_new_snapshot_reaches_all(family: Family, publisher: Publisher) -> None:
    with family.connected(4) as clients:
        for policy, status in ((NEW_POLICY, 403), (POLICY, 200)) * 2:
            publisher.publish(policy)
            for client in clients:
                wait_for(functools.partial(answers, client, status), "the new decision")
        assert {client.ask("/v1/auth", f"X-Forwarded-For: {DENIED}").status for client in clients} == {403}


@pytest.mark.parametrize("number", [2, 4, 8])
def test_few_connections_are_spread_evenly(family: Family, number: int) -> None:
    _, *workers = family.children
    with family.connected(number):
        wait_for(lambda: [family.connections(pid) for pid in workers] == [number // 2] * 2, "an even spread")


def test_metrics_are_the_sum_and_do_not_fall_when_a_worker_dies(family: Family) -> None:
    with family.connected(4) as clients:
        for client in clients:
            for _ in range(25):
                client.ask("/v1/auth", f"X-Forwarded-For: {ALLOWED}")
        wait_for(lambda: family.metric("authz_decisions_total") == 104, "the sum")
        assert family.metric("authz_http_connections") == 4
    os.kill(family.children[1], signal.SIGKILL)
    wait_for(lambda: family.metric("authz_worker_restarts_total") == 1, "a replaced worker")
    wait_for(lambda: family.ready() and len(family.children) == 3, "all workers")
    assert family.metric("authz_decisions_total") == 104
    assert "worker 1 ended (signal 9): it is replaced" in family.sidecar.output
    pids = map(str, family.children)  # in the order of their start
    logged = re.findall(r"authz: (the keeper|worker \d): pid (\d+)$", family.sidecar.output, re.MULTILINE)
    assert [logged[0], *logged[2:]] == list(zip(("the keeper", "worker 2", "worker 1"), pids, strict=True))
    assert f"authz: pid: {family.sidecar.pid}, which takes SIGHUP and SIGTERM" in family.sidecar.output


def test_metrics_do_not_fall_when_the_keeper_dies_after_a_worker_or_with_it(family: Family) -> None:
    def decided(number: int) -> None:
        wait_for(lambda: family.ready() and family.metric("authz_decisions_total") == number, f"{number} decisions")

    for _ in range(40):
        get(family.http, "/v1/auth", ALLOWED)
    decided(40)
    os.kill(family.children[1], signal.SIGKILL)
    wait_for(lambda: family.metric("authz_worker_restarts_total") == 1, "a replaced worker")
    wait_for(lambda: len(family.children) == 3, "its successor, before that of the keeper")
    os.kill(family.children[0], signal.SIGKILL)
    decided(40)
    worker, _, keeper = family.children  # in the order of their start
    os.kill(keeper, signal.SIGKILL)
    os.kill(worker, signal.SIGKILL)
    wait_for(lambda: family.metric("authz_worker_restarts_total") == 2, "another replaced worker")
    decided(40)


def test_what_a_keeper_dies_without_having_read_is_told_to_the_next_one(family: Family) -> None:
    for _ in range(40):
        get(family.http, "/v1/auth", ALLOWED)
    wait_for(lambda: family.metric("authz_decisions_total") == 40, "all of them reported")
    keeper, worker, _ = family.children
    os.kill(keeper, signal.SIGSTOP)
    os.kill(worker, signal.SIGKILL)
    wait_for(lambda: "worker 1 ended" in family.sidecar.output, "the death noticed, and sent to the keeper")
    wait_for(lambda: len(family.children) == 3 and worker not in family.children, "the next worker")
    os.kill(keeper, signal.SIGKILL)
    wait_for(lambda: family.ready() and family.metric("authz_decisions_total") == 40, "40 decisions")
    assert family.metric("authz_worker_restarts_total") == 1


def test_a_worker_that_is_killed_takes_only_its_own_connections_with_it(family: Family) -> None:
    with family.connected(8) as clients:
        os.kill(family.children[1], signal.SIGKILL)
        alive = 0
        for client in clients:
            with contextlib.suppress(OSError, AssertionError):
                alive += client.ask("/v1/auth", f"X-Forwarded-For: {ALLOWED}").status == 200
        assert alive == 4
        for _ in range(200):  # what waits for the dead one is answered by the next
            assert get(family.http, "/v1/auth", ALLOWED).status == 200


def test_without_the_keeper_workers_decide_and_a_new_one_loads(family: Family, publisher: Publisher) -> None:
    keeper = family.children[0]
    os.kill(keeper, signal.SIGKILL)
    wait_for(lambda: keeper not in family.children)
    assert get(family.http, "/v1/auth", ALLOWED).status == 200
    publisher.publish(NEW_POLICY)
    wait_for(lambda: get(family.http, "/v1/auth", ALLOWED).status == 403, "the snapshot of the new keeper")
    wait_for(family.ready)
    os.kill(family.children[0], signal.SIGKILL)
    os.kill(family.children[1], signal.SIGKILL)
    wait_for(lambda: len(family.children) == 3 and family.ready(), "all of them")
    assert get(family.http, "/v1/auth", ALLOWED).status == 403


def test_a_worker_that_is_replaced_without_a_keeper_has_the_latest_snapshot(family: Family) -> None:
    keeper, first, _ = family.children
    os.kill(keeper, signal.SIGSTOP)
    try:
        os.kill(first, signal.SIGKILL)
        wait_for(lambda: first not in family.children and len(family.children) == 3, "the next one")
        with family.connected(6):
            pass
    finally:
        os.kill(keeper, signal.SIGCONT)


def memory(pid: int) -> int:
    """Return the bytes that a process adds: its own pages, and its share of others'."""
    text = Path(f"/proc/{pid}/smaps_rollup").read_text()
    return 1024 * int(re.findall(r"^Pss: +(\d+)", text, re.MULTILINE)[0])


def test_a_worker_adds_less_than_25_mb_and_no_copy_of_the_snapshot(publisher: Publisher) -> None:
    networks = ", ".join(f"10.{a}.{b}.0/24" for a in range(128) for b in range(0, 256, 2))
    publisher.publish(POLICY + f"  - {{id: many, list: deny, networks: [{networks}]}}\n")
    with Sidecar(publisher.folder, several("4")) as sidecar:
        family = Family(sidecar)
        wait_for(family.ready)
        assert get(family.http, "/v1/auth", "10.5.4.1").status == 403
        for pid in family.children:
            assert memory(pid) < 25 << 20
            sealed = re.findall(r"memfd:authz-snapshot", Path(f"/proc/{pid}/maps").read_text())
            assert len(sealed) == 1
        inodes = {
            line.split()[4]
            for pid in family.children
            for line in Path(f"/proc/{pid}/maps").read_text().splitlines()
            if "memfd:authz-snapshot" in line
        }
        assert len(inodes) == 1


def test_lines_of_the_decision_log_are_whole_though_several_write(family: Family, publisher: Publisher) -> None:
    with family.connected(4) as clients:
        for client in clients:
            client.send(f"GET /v1/auth HTTP/1.1\r\nX-Forwarded-For: {ALLOWED}\r\n\r\n".encode() * 500)
        for client in clients:
            assert [client.read().status for _ in range(500)] == [200] * 500
    log = publisher.folder / "decisions.jsonl"
    wait_for(lambda: log.read_text().count("\n") == 2004, "all lines")
    assert {json.loads(line)["decision"] for line in log.read_text().splitlines()} == {"allow"}


def test_decisions_of_all_workers_are_shown_while_somebody_looks(family: Family) -> None:
    with family.connected(2) as clients:
        seen: set[str] = set()

        def both() -> bool:
            for number, client in enumerate(clients):
                client.ask("/v1/auth", f"X-Forwarded-For: 192.0.2.{number + 1}")
            page = json.loads(get(family.sidecar.ports["admin"], "/decisions").body)
            seen.update(decision["client"] for decision in page["decisions"])
            return seen >= {"192.0.2.1", "192.0.2.2"}

        wait_for(both, "decisions of both", pause=0.2)


def test_a_reload_changes_all(family: Family, publisher: Publisher) -> None:
    path = publisher.folder / "authz.yaml"
    path.write_text(path.read_text().replace('trusted_proxies: ["127.0.0.0/8"]', "trusted_proxies: []"))
    path.write_text(path.read_text().replace("workers: 2", "workers: 3"))
    os.kill(family.sidecar.pid, signal.SIGHUP)
    family.sidecar.wait_for_line("keeper: takes effect at a restart: workers: '2' stays, found '3'")

    def clients() -> set[str | None]:
        return {get(family.http, "/v1/auth", DENIED).header("client-address") for _ in range(8)}

    wait_for(lambda: clients() == {"127.0.0.1"}, "the peer as the client, everywhere")
    for worker in family.children[1:]:
        os.kill(worker, signal.SIGKILL)
    wait_for(lambda: family.metric("authz_worker_restarts_total") == 2 and family.ready(), "replaced workers")
    assert clients() == {"127.0.0.1"}  # and not what the configuration said at the start
    assert len(family.children) == 3
    assert family.sidecar.output.count("takes effect at a restart") == 1


def test_all_drain_and_end_together_and_leave_nothing(publisher: Publisher) -> None:
    publisher.publish()
    text = several(drain="300ms").replace('http: {listen: "127.0.0.1:0"', 'http: {listen: "unix:http.sock"')
    text = text.replace("trusted_proxies", "trust_unix: true, trusted_proxies")
    with Sidecar(publisher.folder, text) as sidecar:
        children = Family(sidecar).children
        assert len(children) == 3
        sidecar.popen.terminate()
        assert sidecar.wait() == 0
        assert not (publisher.folder / "http.sock").exists()
        assert not any(Path(f"/proc/{pid}").exists() for pid in children)
        assert "Traceback" not in sidecar.output


def test_workers_that_drain_leave_new_connections_to_the_successors_workers(publisher: Publisher) -> None:
    """Without the step each of them would still get every fourth, and reset what waits when it closes."""
    publisher.publish()
    text = several(drain="1h").replace("127.0.0.1:0", f"127.0.0.1:{free_port()}", 1) + "overlap: true\n"
    text = text.replace("127.0.0.1:0", f"127.0.0.1:{free_port()}", 1)

    def answered() -> list[bool]:
        return ["connection" in get(sidecar.ports["http"], "/v1/auth", ALLOWED).headers for _ in range(40)]

    with Sidecar(publisher.folder, text) as sidecar, Sidecar(publisher.folder, text) as successor:
        sidecar.popen.terminate()
        sidecar.wait_for_line("all workers end")
        wait_for(lambda: not any(answered()), "only those that do not drain")
        assert not any(answered())
        assert successor.popen.poll() is None
        sidecar.popen.terminate()
        assert sidecar.wait() == 0


def test_a_worker_that_hangs_is_said_and_replaced(publisher: Publisher) -> None:
    publisher.publish()
    (publisher.folder / "sitecustomize.py").write_text(
        "import os\nfrom authz.serve.workers import keeper, supervisor\n"
        "class Seconds(float):  # which end once the test has seen what the keeper says\n"
        "    def __lt__(self, passed): return os.path.exists('seen') and float(self) < passed\n"
        "keeper._PATIENCE, supervisor.HUNG = 1.5, Seconds(4.0)\n"
    )
    path = os.pathsep.join(filter(None, (str(publisher.folder), os.environ.get("PYTHONPATH"))))
    with Sidecar(publisher.folder, several(), env=os.environ | {"PYTHONPATH": path}) as sidecar:
        family = Family(sidecar)
        wait_for(family.ready)
        hung = family.children[-1]
        os.kill(hung, signal.SIGSTOP)
        wait_for(lambda: b"does not report" in get(sidecar.ports["admin"], "/readyz").body)
        (publisher.folder / "seen").touch()
        sidecar.wait_for_line("hangs: no sign of life")
        wait_for(lambda: hung not in family.children and len(family.children) == 3 and family.ready())
        assert family.metric("authz_worker_restarts_total") > 0
        with family.connected(4):
            wait_for(lambda: [family.connections(pid) for pid in family.children[1:]] == [2, 2])


def test_readyz_says_that_a_revocation_list_of_the_workers_has_expired(publisher: Publisher) -> None:
    publisher.publish()
    folder = publisher.folder
    authority = Authority(folder, "authority")
    certificate, key = authority.issue("server", "127.0.0.1")
    (folder / "revoked.pem").write_bytes(authority.revoke(seconds=86400))
    files = f"certificate: {certificate}, key: {key}, client_ca: {authority.path}, client_crl: revoked.pem"
    (folder / "sitecustomize.py").write_text(
        "import os, time, types\nfrom authz.serve.listeners.tls import certificates\n"
        "later = lambda: time.time() + 2e5 * os.path.exists('later')\n"
        "certificates.time = types.SimpleNamespace(time=later)\n"
    )
    path = os.pathsep.join(filter(None, (str(folder), os.environ.get("PYTHONPATH"))))
    text = several().replace("http: {", f"http: {{tls: {{{files}}}, ")
    with Sidecar(folder, text, env=os.environ | {"PYTHONPATH": path}) as sidecar:
        family = Family(sidecar)
        wait_for(family.ready)
        (folder / "later").touch()
        wait_for(lambda: b"crl_expired" in get(sidecar.ports["admin"], "/readyz").body)
        page = get(sidecar.ports["admin"], "/readyz")
        assert page.status == 200
        assert page.body.count(b"crl_expired: http: a list in client_crl expired") == 1


def test_when_the_supervisor_is_killed_its_children_end(family: Family) -> None:
    children = family.children
    os.kill(family.sidecar.pid, signal.SIGKILL)
    family.sidecar.wait()
    wait_for(lambda: not any(Path(f"/proc/{pid}").exists() for pid in children), "the end of the children")


def test_what_ends_the_start_of_a_child_is_said_as_with_one_process(publisher: Publisher) -> None:
    publisher.publish()
    port = free_port()
    (publisher.folder / "authz.yaml").write_text(several().replace("keys/a.pub", "keys/none.pub"))
    command = [sys.executable, "-m", "authz", "serve", "--config", "authz.yaml"]
    with Process(command, cwd=publisher.folder) as process:
        assert process.wait() == 2
        assert "authz: error:" in process.output
        assert "none.pub" in process.output
    with socket.create_server(("127.0.0.1", port)):
        (publisher.folder / "authz.yaml").write_text(several().replace("127.0.0.1:0", f"127.0.0.1:{port}", 1))
        with Process(command, cwd=publisher.folder) as process:
            assert process.wait() == 2
            assert "Address already in use" in process.output


def test_a_worker_that_cannot_take_a_layer_gives_its_place_to_another(monkeypatch: pytest.MonkeyPatch) -> None:
    """It went on with the old list, was ready, and nobody was told."""
    killed: list[int] = []
    monkeypatch.setattr(os, "kill", lambda pid, number: killed.append(number) if pid == os.getpid() else None)
    worker = object.__new__(Worker)
    worker._order, worker._given, worker._by_layer = asyncio.Lock(), {}, {}
    file = {"digest": "a", "size": 1, "signed_by": []}
    message = Message(LAYER, {"name": "policy", "last_good": False, "files": [file]})  # without its memory
    asyncio.run(worker._open(message))
    assert killed == [signal.SIGTERM]
