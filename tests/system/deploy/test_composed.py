"""compose.yaml, started: both proxies ask their sidecars, and a ban of the control plane reaches both.

By podman and podman-compose, in a network of its own. The images of others come from no registry but are made of this
machine's Envoy and nginx under the same names; the application says which headers it got, as whoami does.
"""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest
from support.proxies.programs.envoy import envoy_path
from support.suite.checkout import checkout

pytestmark = pytest.mark.long

WHOAMI = """\
import http.server, sys
class Handler(http.server.BaseHTTPRequestHandler):
    def do_GET(self):
        body = str(self.headers).encode()
        self.send_response(200)
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)
http.server.ThreadingHTTPServer(("", int(sys.argv[2])), Handler).serve_forever()
"""
# By the name in compose.yaml: what is put into the base.
STAND_INS = {
    "docker.io/traefik/whoami:v1.11": 'COPY whoami.py /\nENTRYPOINT ["python3", "/whoami.py"]',
    "docker.io/envoyproxy/envoy:v1.40.0": "COPY envoy /usr/local/bin/envoy",
    "docker.io/library/nginx:1.28": 'COPY nginx /\nCMD ["nginx", "-g", "daemon off;"]',
}
# An engine without systemd runs no healthcheck, so the script waits where compose.yaml says `service_healthy`.
SCRIPT = """\
set -eEuo pipefail
at=start
logs() { for name in $(podman ps -a --format '{{.Names}}'); do echo "== $name"; podman logs --tail 5 $name; done; }
trap 'echo "failed: $at"; logs' ERR
! mountpoint -q /sys/fs/cgroup/unified || umount /sys/fs/cgroup/unified
ip link set lo up
cd deploy
compose() {
    at="compose $*"
    podman-compose --podman-run-args='--cgroups=disabled --ulimit nofile=1024:1024 --ulimit nproc=1024:1024' "$@"
}
trap 'compose down --timeout 1; compose down --timeout 1 --volumes' EXIT
answers() {  # URL STATUS
    at="$1 answers $2"
    for _ in $(seq 200); do
        test "$(curl -s -o body -w '%{http_code}' "$1")" != $2 || return 0
        sleep 0.3
    done
    return 1
}
if compose up -d --no-build --no-deps control 2> refused; then exit 1; fi
grep 'bind source path does not exist: .*/deploy/control' refused
test ! -e control
mkdir control
compose run --rm --no-deps control control init /data/control --listen 0.0.0.0:9194 | tee made
export AUTHZ_CONTROL_URL=http://127.0.0.1:9194 $(grep -o 'AUTHZ_TOKEN=[A-Za-z0-9_-]*' made)
compose up -d --no-build --no-deps control
answers http://127.0.0.1:9194/readyz 200
podman healthcheck run authz_control_1
compose up -d --no-build --no-deps authz-envoy authz-nginx
compose up -d --no-build --no-deps envoy app-envoy nginx app-nginx
answers http://127.0.0.1:8080/shop/ 200; grep -i 'x-authz-list: none' body
answers http://127.0.0.1:8081/shop/ 200; grep -i 'x-authz-list: none' body
client=$(grep -i 'x-authz-client-address' body | grep -oE '[0-9.]+')
# It is the engine's own address, which what comes from outside has.
authz ban "$client" --for 1h --reason 'guesses passwords' --force
answers http://127.0.0.1:8080/shop/ 403
answers http://127.0.0.1:8081/shop/ 403
with="-e AUTHZ_CONTROL_URL=$AUTHZ_CONTROL_URL -e AUTHZ_TOKEN=$AUTHZ_TOKEN"
podman exec $with authz_control_1 /opt/authz/bin/authz bans | grep "$client"
authz unban "$client"
answers http://127.0.0.1:8080/shop/ 200
answers http://127.0.0.1:8081/shop/ 200
"""


@pytest.fixture
def tree(tmp_path: Path) -> Path:
    """What the build and compose.yaml need of a checkout."""
    return checkout(tmp_path)


def command(*words: str | Path, cwd: Path, env: dict[str, str] | None = None) -> str:
    """Run a command, and return what it printed. Raises AssertionError where it fails."""
    done = subprocess.run(
        words, cwd=cwd, env=env, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True, check=False, timeout=900
    )
    assert done.returncode == 0, done.stdout[-8000:]
    return done.stdout


def make_stand_ins(folder: Path, base: str) -> list[str]:
    """Make the images of others that the engine does not have, and return their names."""
    made = [
        image for image in STAND_INS if subprocess.run(["podman", "image", "exists", image], check=False).returncode
    ]
    (folder / "whoami.py").write_text(WHOAMI)
    shutil.copy(envoy_path(), folder / "envoy")
    nginx = shutil.which("nginx", path=f"{os.environ['PATH']}:/usr/sbin")
    assert nginx is not None
    libraries = [word for word in command("ldd", nginx, cwd=folder).split() if word.startswith("/")]
    for file in (nginx, *libraries):
        to = folder / "nginx" / file.lstrip("/")
        to.parent.mkdir(parents=True, exist_ok=True)
        shutil.copy(file, to)
    (folder / "nginx/var/lib").mkdir(parents=True)
    (folder / "nginx/var/lib/nginx").symlink_to("/var/cache/nginx")  # where the image of nginx has its files
    for number, image in enumerate(made):
        (folder / f"{number}.Dockerfile").write_text(f"FROM {base}\n{STAND_INS[image]}\n")
        options = ["--quiet", "--isolation", "chroot", "--network", "host", "-f", f"{number}.Dockerfile", "-t", image]
        command("buildah", "bud", *options, ".", cwd=folder)
    return made


def test_compose_starts_all_and_a_ban_reaches_both_sidecars(
    tree: Path, tmp_path_factory: pytest.TempPathFactory
) -> None:
    base = os.environ.get("BASE_IMAGE")
    if not base:
        pytest.skip("needs BASE_IMAGE, a Python image that buildah has, by its digest: localhost/python@sha256:...")
    missing = [name for name in ("buildah", "podman", "podman-compose", "nginx") if not shutil.which(name)]
    if missing or os.geteuid():
        pytest.skip(f"needs root and {', '.join(missing)}")
    programs = f"{Path(sys.executable).parent}:{os.environ['PATH']}"  # `authz` of this environment
    env = os.environ | {"PYTHON": base, "USER_ID": "0", "PATH": programs}
    images = make_stand_ins(tmp_path_factory.mktemp("stand-ins"), base)
    try:
        build = "--podman-build-args=--isolation chroot --network host"
        command("podman-compose", build, "build", cwd=tree / "deploy", env=env)
        (tree / "script.sh").write_text(SCRIPT)
        command("unshare", "--net", "--mount", "bash", "script.sh", cwd=tree, env=env)
    finally:
        images += ["authz:0.1.0", "authz-control:0.1.0"]
        subprocess.run(["podman", "rmi", "--force", *images], capture_output=True, check=False)
