"""deploy/README.md on a host, followed in a machine that systemd has booted: the units run, with all their limits."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest
from support.docs.blocks import blocks
from support.docs.machine import run_in_a_machine
from support.proxies.programs.envoy import envoy_path

if TYPE_CHECKING:
    from pathlib import Path

pytestmark = pytest.mark.long

BEFORE = """\
printf 'version: 1\\napplications: {shop: {}, admin: {}}\\nentries:\\n' > policy.yaml
echo '- {id: bad, list: deny, networks: [127.0.0.9], reason: abuse}' >> policy.yaml
useradd --system envoy
"""
# The application that the proxy protects. It listens where the proxy's file says.
APP = """\
mkdir -p /srv/app/shop; echo 'the shop' > /srv/app/shop/index.html
systemd-run --quiet --unit app python3 -m http.server 8000 --bind 127.0.0.1 --directory /srv/app
"""
CHECKS = """\
status() {  # ADDRESS: what a client with this address gets
    curl -s -o /dev/null -w '%{http_code}' --interface "$1" -H 'Host: shop.example.com' http://127.0.0.1:8080/shop/
}
becomes() {  # ADDRESS STATUS
    for _ in $(seq 100); do test "$(status $1)" != $2 || return 0; sleep 0.1; done; return 1
}
becomes 127.0.0.9 403
becomes 127.0.0.10 200
# The socket is held: not one request of a patient proxy fails while the sidecar starts again.
(for _ in $(seq 60); do status 127.0.0.10; echo; sleep 0.02; done > asked) &
asking=$!
systemctl restart authz.service
wait $asking || true
test "$(sort -u asked)" = 200
# A sidecar that was killed is started again.
kill -KILL "$(systemctl show --property MainPID --value authz.service)"
becomes 127.0.0.9 403
# A reload is taken.
systemctl reload authz.service
# The publisher publishes again.
sed -i 's/127.0.0.9/127.0.0.10/' /etc/authz-publisher/policy.yaml
systemctl start authz-feeds.service
becomes 127.0.0.10 403
becomes 127.0.0.9 200
# Nobody but its owner reads the key, and the sidecar has no rights.
test "$(stat -c %U:%a /etc/authz-publisher/keys/2026.key)" = authz-publisher:600
main=$(systemctl show --property MainPID --value authz.service)
grep -q '^CapEff:.0000000000000000$' /proc/$main/status
grep -q '^NoNewPrivs:.1$' /proc/$main/status
grep -q '^Seccomp:.2$' /proc/$main/status
systemctl list-timers --all --no-legend authz-feeds.timer | grep -q authz-feeds.service
systemctl stop authz.service
test "$(systemctl show --property Result --value authz.service)" = success
test -z "$(systemctl --failed --no-legend)"
"""
# The page says so: requests wait for a sidecar that starts, as long as the proxy waits.
PATIENT = {
    "nginx": "sed -Ei 's/proxy_(connect|send|read)_timeout .*/proxy_\\1_timeout 20s;/' /etc/nginx/nginx.conf\n"
    "systemctl reload nginx\n",
    "envoy": "sed -i 's/timeout: 0.25s/timeout: 20s/' /etc/envoy/envoy.yaml\nsystemctl restart envoy\n",
}
ENVOY = """\
cat > /etc/systemd/system/envoy.service <<'END'
[Service]
User=envoy
ExecStart=/usr/local/bin/envoy -c /etc/envoy/envoy.yaml
END
"""


# A sidecar with the layers of the page, which it asks for at the control plane of this machine.
SIDECAR = """\
install -m 644 layers/*.pub /etc/authz/keys/
sed '/^layers:/,/^[a-z]*: /{/^state/!d}' deploy/nginx/authz.yaml | cat - layers.yaml > /etc/authz/authz.yaml
/opt/authz/bin/authz check-config /etc/authz/authz.yaml
systemctl enable --now authz-http.socket authz.service
export AUTHZ_CONTROL_URL=http://127.0.0.1:9194 AUTHZ_TOKEN=$(cat /var/lib/authz-control/first-token)
status() { curl -s -o /dev/null -w '%{http_code}' -H "X-Forwarded-For: $1" http://127.0.0.1:9192/v1/auth/shop; }
becomes() {  # ADDRESS STATUS
    for _ in $(seq 200); do test "$(status $1)" != $2 || return 0; sleep 0.1; done; return 1
}
"""
BANS = """\
becomes 203.0.113.9 200
/opt/authz/bin/authz ban 203.0.113.9 --for 2h --reason 'guesses passwords'
becomes 203.0.113.9 403
# A killed process is started again, and what it did before holds; then there is a new ban.
for name in authz-signer authz-control; do
    kill -KILL "$(systemctl show --property MainPID --value $name.service)"
done
ready() { for _ in $(seq 200); do curl -sf http://127.0.0.1:9194/readyz && return 0; sleep 0.1; done; return 1; }
sleep 0.5; ready
becomes 203.0.113.9 403
/opt/authz/bin/authz ban 203.0.113.10 --for 2h --reason 'guesses passwords'
becomes 203.0.113.10 403
systemctl restart authz-signer.service; ready
/opt/authz/bin/authz unban 203.0.113.9
becomes 203.0.113.9 200
becomes 203.0.113.10 403
# A feed and a host name: the control plane keeps them in its own folder, where the signer may read.
mkdir -p /srv/feeds; seq -f '198.51.100.%g' 0 39 > /srv/feeds/bad.txt; echo '203.0.113.77 bad.example' >> /etc/hosts
systemd-run --quiet --unit feeds python3 -m http.server 8099 --bind 127.0.0.1 --directory /srv/feeds
ask() {  # METHOD PATH BODY
    curl -sSf -o /dev/null -X $1 -H "Authorization: Bearer $AUTHZ_TOKEN" -H 'Content-Type: application/json' -d "$3" \
        $AUTHZ_CONTROL_URL$2
}
feed='"source": "malicious", "path": "feeds/bad.txt", "url": "http://127.0.0.1:8099/bad.txt", "format": "plain"'
ask PUT /v1/policy '{"feeds": [{'"$feed"'}]}'
ask POST /v1/entries '{"list": "deny", "sources": ["malicious"], "expires": "forever"}'
ask POST /v1/entries '{"list": "deny", "hosts": ["bad.example"], "expires": "forever"}'
becomes 198.51.100.7 403
becomes 203.0.113.77 403
# Only the signer reads the keys, and neither has rights; the signer has no network but its socket.
test "$(stat -c %U:%a /etc/authz-signer/bans.key)" = authz-signer:600
if runuser -u authz-control -- cat /etc/authz-signer/bans.key; then exit 1; fi
for name in authz-signer authz-control; do
    main=$(systemctl show --property MainPID --value $name.service)
    grep -q '^CapEff:.0000000000000000$' /proc/$main/status
    grep -q '^NoNewPrivs:.1$' /proc/$main/status
    grep -q '^Seccomp:.2$' /proc/$main/status
done
test "$(nsenter -t $(systemctl show --property MainPID --value authz-signer.service) -n ip -o link | wc -l)" = 1
systemctl stop authz.service authz-control.service authz-signer.service
for name in authz-signer authz-control; do
    test "$(systemctl show --property Result --value $name.service)" = success
done
test -z "$(systemctl --failed --no-legend)"
"""


def texts() -> dict[str, str]:
    """Return the blocks of the page by their first words."""
    return {block.first: block.text for block in blocks("deploy/README.md")}


def block(first: str) -> str:
    (text_of,) = [text for begin, text in texts().items() if begin.startswith(first)]
    return text_of


@pytest.mark.parametrize("proxy", ["nginx", "envoy"])
def test_a_host_that_was_set_up_by_the_page_serves(proxy: str, tmp_path: Path) -> None:
    firsts = ("python3 -m venv", "install -m 644 deploy/systemd", "/opt/authz/bin/authz keys generate")
    before, after = BEFORE + "".join(block(first) for first in firsts), APP
    if proxy == "envoy":
        before += f"install -m 755 {envoy_path()} /usr/local/bin/envoy\n"
        after += ENVOY
    after += block(f"install -m 644 deploy/{proxy}") + PATIENT[proxy] + CHECKS
    printed = run_in_a_machine(tmp_path, before, after)
    assert "HTTP/1.1 200 OK" in printed  # of /readyz


def test_a_control_plane_that_was_set_up_by_the_page_bans(tmp_path: Path) -> None:
    firsts = ("python3 -m venv", "install -m 644 deploy/systemd")
    page = block("/opt/authz/bin/pip install --require-hashes -r deploy/requirements/control").splitlines(keepends=True)
    started = next(number for number, line in enumerate(page) if line.startswith("systemctl"))
    before = "".join([block(first) for first in firsts] + page[:started])
    after = "".join(page[started:]) + f"cat > layers.yaml <<'END'\n{block('layers:')}END\n" + SIDECAR + BANS
    printed = run_in_a_machine(tmp_path, before, after)
    assert "HTTP/1.1 200 OK" in printed  # of /readyz
