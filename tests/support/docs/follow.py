"""Follows a guide in an empty folder: one script of all its commands, in a network and with processes of its own.

The ports are those of the page, so the script has a network namespace; all that it starts ends with its PID namespace.
"""

from __future__ import annotations

import os
import re
import shlex
import shutil
import subprocess
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Final

import pytest
from support.docs.blocks import ROOT

if TYPE_CHECKING:
    from collections.abc import Sequence

    from support.docs.plan import Step

# Programs that go on: the name that the plan has for each, and the port on which it then listens.
_SERVERS: Final = {
    "authz serve": ("authz", 9192),
    "authz control serve": ("control", 9194),
    "python3 -m http.server": ("app", 8000),
    "envoy": ("envoy", 8080),
    "nginx": ("nginx", 8080),
    "haproxy": ("haproxy", 8080),
    "apache2": ("apache", 8080),
    "traefik": ("traefik", 8080),
    "caddy run": ("caddy", 8080),
}
_START: Final = """\
set -eEuo pipefail
shopt -s nullglob
if test -n "${OWN_NETWORK-}"; then
    ip link set lo up
    for hidden in /var/log/nginx /var/lib/nginx; do test ! -d $hidden || mount -t tmpfs tmpfs $hidden; done
fi
export HOME=$PWD PYTHONDONTWRITEBYTECODE=1 AUTHZ_DRAIN=0s NO_COLOR=1 COLUMNS=200
unset PYTHONPATH
exec 9>&1
at=start
trap '{ echo "failed: $at"; tail -n 8 ./*.log last printed | cut -c-300; } >&9 2>&9' ERR
listens() { (exec 3<>/dev/tcp/127.0.0.1/$1) 2>/dev/null; }
start() {  # NAME PORT COMMAND: starts a server, and waits until it listens
    bash -c "exec $3" > "$1.log" 2>&1 & pids[$1]=$!
    for _ in $(seq 1200); do
        listens "$2" && return
        kill -0 "${pids[$1]}" 2>/dev/null || { echo "$1 ended"; return 1; }
        sleep 0.05
    done
    echo "$1 does not listen on $2"; return 1
}
stop() {  # NAME
    kill "${pids[$1]}"; wait "${pids[$1]}" || true
    unset "pids[$1]"
}
declare -A pids
sidecar_files() {  # what a page takes as there, each unless it is
    test -e policy.yaml || printf '%s\n' 'version: 1' 'applications: {shop: {}, api: {}}' \\
        'entries: [{id: bad, list: deny, networks: [203.0.112.0/24], reason: abuse}]' > policy.yaml
    test -e keys/2026.key || authz keys generate keys --name 2026
    authz snapshot build policy.yaml -o lists.snapshot --key keys/2026.key
    test -e authz.yaml || echo 'snapshot: {path: lists.snapshot, trusted_keys: [keys/2026.pub]}' > authz.yaml
}
with_control() {  # FRAGMENT: the control plane takes it into its configuration
    cat control/control.yaml "$1" > control/with.yaml
    authz control check --config control/with.yaml
}
"""


def namespaces() -> list[str]:
    """Return the command that gives a program namespaces of its own, or skip the test."""
    command = ["unshare", "--net", "--mount", "--pid", "--fork", "--kill-child", "--mount-proc"]
    command += ["--map-root-user"] if os.geteuid() else []
    if not shutil.which("unshare") or not shutil.which("ip"):
        pytest.skip("needs unshare and ip, of Debian's util-linux and iproute2")
    if subprocess.run([*command, "true"], capture_output=True, check=False).returncode:
        pytest.skip("needs the right to make namespaces")
    return command


def follow(steps: Sequence[Step], folder: Path, programs: Path | None = None) -> None:
    """Follow a guide. Raises AssertionError with the output of the command that failed.

    programs: a folder of programs that reach a server outside; without it, the guide has a network of its own.
    """
    own = [] if programs else namespaces()
    tools = f"{programs or '/nowhere'}:{Path(sys.executable).parent}:{os.environ['PATH']}:/usr/sbin:/usr/local/sbin"
    have = {name for step in steps for name in _needs(step) if shutil.which(name, path=tools)}
    (folder / "guide.sh").write_text(_START + "".join(_script(step) for step in steps if _needs(step) <= have))
    env = {"PATH": tools, "ROOT": str(ROOT), "OWN_NETWORK": "yes" if own else ""}
    done = subprocess.run(
        [*own, "bash", "guide.sh"], cwd=folder, env=os.environ | env,
        capture_output=True, text=True, check=False, timeout=900,
    )  # fmt: skip
    assert done.returncode == 0, done.stdout[-6000:] + done.stderr[-3000:]


def _needs(step: Step) -> set[str]:
    return set(str(step.more.get("needs", "")).split())


def _script(step: Step) -> str:
    if step.do == "write":
        script = (
            f"mkdir -p $(dirname {step.value}); cat > {step.value} <<'END_OF_BLOCK'\n{step.block.text}END_OF_BLOCK\n"
        )
    elif step.do == "run":
        script = step.more.get("before", "") + "\n: > printed\n" + _commands(step)
        script += f"grep -q -- {shlex.quote(step.more['prints'])} printed\n" if "prints" in step.more else ""
    else:
        return ""
    at = f"at={shlex.quote(f'{step.page}, line {step.block.line}')}\n"
    return f"{at}{script}{step.more.get('after', '')}\n"


def _commands(step: Step) -> str:
    return "".join(_command(line, step.more.get("status", 0)) for line in commands(step))


def commands(step: Step) -> list[str]:
    """Return the commands of a block, each on its own lines, with what a person replaces."""
    text = re.sub(r"^\$ ", "", step.block.text, flags=re.MULTILINE)
    joined = re.sub(r"( \\|\|)\n", r"\1\0", text).split("\n")
    lines = [line.replace("\0", "\n") for line in joined if line.strip()]
    left_out = step.more.get("but", {})
    lines = [line for line in lines if not any(line.startswith(but) for but in left_out)]
    for old, new in step.more.get("with", {}).items():
        assert any(old in line for line in lines), f"{step.page}: nothing to replace: {old}"
        lines = [line.replace(old, new) for line in lines]
    return lines


def _command(line: str, status: int) -> str:
    server = next((server for program, server in _SERVERS.items() if re.match(rf"{program}\b", line)), None)
    if server:
        plain = re.sub(r"\s*(&|\s#.*)$", "", line)
        return f"at+={shlex.quote(': ' + line)}; start {server[0]} {server[1]} {shlex.quote(plain)}\n"
    at = f"at+={shlex.quote(': ' + line)}\n"
    held = "".join(f" && grep -qE -- {shlex.quote(promise)} last" for promise in _promises(line))
    run = f"{{ {line}\n}} > last 2>&1"
    # A proxy may listen before it has read its routes; and as it is printed it waits for a check 250 ms.
    if line.startswith(("curl", "authz doctor")):
        again = f"for again in $(seq 100); do {run}{held} && break; test $again -lt 100; sleep 0.1; done"
        return f"{at}{again}\ncat last >> printed\n"
    run += f" || ended=$?\ntest ${{ended-0}} = {status}" if status else ""
    return f"{at}{run}\ncat last >> printed\ntrue{held}\n"


def _promises(line: str) -> list[str]:
    """Return what the comment of a command says that it prints."""
    curl = re.search(r"# (\d{3}) [\w ]+: (.*)$", line)
    if curl:
        return [f"^HTTP/1[.][01] {curl[1]}", re.escape(curl[2])]
    client = re.search(r"# client (\S+)$", line)
    return [rf"\b{re.escape(client[1])}\b"] if client else []
