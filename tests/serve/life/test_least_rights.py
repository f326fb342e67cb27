"""The sidecar under the seccomp profile of deploy/: it starts, answers, loads, is told to reload, and ends."""

from __future__ import annotations

import ctypes.util
import os
import signal
import sys
from pathlib import Path
from typing import TYPE_CHECKING

import pytest
from support.processes import Process, ports_of, wait_for
from support.servers.certificates import Authority
from support.sidecar.running import ALLOWED, DENIED, NEW_POLICY, config, get

if TYPE_CHECKING:
    from support.publishing.publisher import Publisher

PROFILE = Path(__file__).parents[3] / "deploy" / "seccomp" / "authz.json"
# Loads the profile by libseccomp, and goes on as the sidecar.
CONFINED = """\
import ctypes, json, os, sys
library = ctypes.CDLL("libseccomp.so.2")
library.seccomp_init.restype = ctypes.c_void_p
profile = json.load(open(sys.argv[1]))
assert profile["defaultAction"] == "SCMP_ACT_ERRNO"
context = ctypes.c_void_p(library.seccomp_init(0x00050000 | profile["defaultErrnoRet"]))
for rule in profile["syscalls"]:
    for name in rule["names"]:
        number = library.seccomp_syscall_resolve_name(name.encode())
        if number >= 0:
            assert library.seccomp_rule_add(context, 0x7FFF0000, number, 0) == 0
assert library.seccomp_load(context) == 0
os.execv(sys.executable, [sys.executable, "-m", "authz", "serve", "--config", "authz.yaml"])
"""
TLS = ", tls: {certificate: server.pem, key: server.key.pem}"
MODES = {
    "plain": "",
    "tls": "",
    "grpcio": "",
    "workers": "workers: 2\n",
    "overlap": "overlap: true\n",
}


@pytest.mark.skipif(ctypes.util.find_library("seccomp") is None, reason="needs libseccomp (Debian package libseccomp2)")
@pytest.mark.parametrize("mode", MODES)
def test_under_the_profile_it_does_all_that_it_does(publisher: Publisher, mode: str) -> None:
    folder = publisher.folder
    publisher.publish()
    Authority(folder, "authority").issue("server", "127.0.0.1")
    engine = ", engine: grpcio" if mode == "grpcio" else ""
    text = config("poll: 1s", MODES[mode]).replace('"off"', f'"127.0.0.1:0"{engine}{TLS if mode == "tls" else ""}', 1)
    text = text.replace('decision_log: {path: "off"}', "decision_log: {path: decisions.jsonl, allowed: 1}")
    (folder / "authz.yaml").write_text(text)
    with Process([sys.executable, "-c", CONFINED, PROFILE], cwd=folder) as process:
        process.wait_for_line(r"authz: serving")
        ports = ports_of(process.output)
        wait_for(lambda: get(ports["admin"], "/readyz").status == 200)
        assert get(ports["http"], "/v1/auth", ALLOWED).status == 200
        assert get(ports["http"], "/v1/auth", DENIED).status == 403
        publisher.publish(NEW_POLICY)
        wait_for(lambda: get(ports["http"], "/v1/auth", ALLOWED).status == 403, "the new snapshot")
        os.kill(process.pid, signal.SIGHUP)
        process.wait_for_line("the configuration was read again")
        for page in ("/metrics", "/snapshot", "/decisions", "/explain?address=192.0.2.1"):
            assert get(ports["admin"], page).status == 200
        assert "Seccomp:\t2" in Path(f"/proc/{process.pid}/status").read_text()
        process.popen.terminate()
        assert process.wait() == 0
        assert "Operation not permitted" not in process.output
        assert "Traceback" not in process.output
    assert (folder / "decisions.jsonl").read_text().count("\n") >= 2
