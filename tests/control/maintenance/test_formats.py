"""Lists of other programs become policies that build, and differences in meaning are told."""

from __future__ import annotations

from typing import TYPE_CHECKING

import msgspec
import pytest
import yaml

from authz.control.maintenance.formats.envoy import read_envoy_rbac
from authz.control.maintenance.formats.gravitee import read_gravitee
from authz.control.maintenance.formats.nginx import read_nginx
from authz.control.maintenance.formats.plain import read_csv, read_fail2ban
from authz.errors import InputError
from authz.publisher.policy.read import read_policy

if TYPE_CHECKING:
    from pathlib import Path

    from authz.control.maintenance.formats.imported import Imported


def built(imported: Imported, tmp_path: Path) -> list[tuple[str, list[str]]]:
    """Return list and networks of each entry, once the policy has been read as policy.yaml is."""
    path = tmp_path / "policy.yaml"
    path.write_text(imported.policy())
    read_policy(path)
    return [(entry["list"], entry["networks"]) for entry in yaml.safe_load(imported.policy())["entries"]]


def test_nginx(tmp_path: Path) -> None:
    text = """\
geo $blocked { # the bad
    default 0;
    203.0.113.0/24 1;
    203.0.113.10 0;
}
location / {
    allow 192.0.2.0/24; allow unix:;
    deny 192.0.2.7;
    deny all;
}
"""
    imported = read_nginx(text, "shop")
    assert built(imported, tmp_path) == [
        ("deny", ["203.0.113.0/24"]), ("allow", ["203.0.113.10"]), ("allow", ["192.0.2.0/24"]), ("deny", ["192.0.2.7"]),
    ]  # fmt: skip
    assert imported.settings == {"default": "deny", "precedence": "most_specific"}
    assert [line for line, _ in imported.notes] == [2, 4, 7, 7]


def test_nginx_every_difference_is_told(tmp_path: Path) -> None:
    text = """\
http { set_real_ip_from 10.0.0.0/8; include conf.d/*.conf;
geo $arg_ip $bad { ranges; proxy 10.0.0.1; default 1; 203.0.113.1-203.0.113.9 "1"; }
server { satisfy any; allow 192.0.2.0/24; deny all;
  location /api { deny 198.51.100.7; allow all; limit_except GET { deny 203.0.113.7; } } } }
"""
    found = read_nginx(text)
    assert built(found, tmp_path) == [
        ("deny", ["203.0.113.1-203.0.113.9"]), ("allow", ["192.0.2.0/24"]), ("deny", ["198.51.100.7"]),
    ]  # fmt: skip
    told = "\n".join(f"{line} {note}" for line, note in sorted(found.notes))
    for expected in (
        "1 left out: set_real_ip_from", "1 left out: what is in 'conf.d/*.conf'", "2 $bad is by $arg_ip",
        "2 left out: 'proxy'", "2 geo $bad has the default '1'", "3 satisfy any", "0 rules of several blocks",
        "4 left out: rules for certain methods", "4 'allow all' here and the other",
    ):  # fmt: skip
        assert expected in told


def test_envoy_rbac_every_difference_is_told() -> None:
    address = {"address_prefix": "203.0.113.0", "prefix_len": 24}
    policies = {
        "peer": {"permissions": [{"any": True}], "principals": [{"direct_remote_ip": address}]},
        "cel": {"permissions": [{"any": True}], "principals": [{"remote_ip": address}], "condition": {"x": 1}},
    }
    rules = {"rules": {"action": "DENY", "policies": policies}}
    found = read_envoy_rbac(yaml.safe_dump([{"shadow_rules": {"policies": policies}} | rules, rules]))
    assert [entry["networks"] for entry in found.entries] == [["203.0.113.0/24"]]
    told = "\n".join(note for _, note in found.notes)
    for expected in ("1 more filters", "shadow_rules", "direct_remote_ip was the peer", "'cel' has a condition"):
        assert expected in told


def test_gravitee_flows_and_steps_that_are_off_are_told() -> None:
    step = {"policy": "ip-filtering", "enabled": False, "configuration": {"blacklistIps": ["203.0.113.9"]}}
    imported = read_gravitee(msgspec.json.encode({"flows": [{"pre": [step, step | {"enabled": True}]}]}).decode())
    assert [note.partition(" ")[0] for _, note in imported.notes] == ["2", "1"]


def test_fail2ban_many_on_one_line() -> None:
    imported = read_fail2ban("203.0.113.9 203.0.113.10\n")
    assert [entry["networks"] for entry in imported.entries] == [["203.0.113.9", "203.0.113.10"]]


def test_envoy_rbac(tmp_path: Path) -> None:
    text = """\
rules:
  action: DENY
  policies:
    bad: {permissions: [{any: true}], principals: [{remote_ip: {address_prefix: 203.0.113.0, prefix_len: 24}},
          {or_ids: {ids: [{source_ip: {address_prefix: "2001:db8::", prefix_len: {value: 32}}}]}}, {header: {name: x}}]}
    paths: {permissions: [{header: {name: ":path"}}], principals: [{any: true}]}
"""
    imported = read_envoy_rbac(text)
    assert built(imported, tmp_path) == [("deny", ["203.0.113.0/24", "2001:db8::/32"])]
    assert len(imported.notes) == 3
    with pytest.raises(InputError):
        read_envoy_rbac("a: 1")


def test_gravitee(tmp_path: Path) -> None:
    lists = '{"whitelistIps": ["192.0.2.0/24", "host.example"], "blacklistIps": ["192.0.2.7"]}'
    text = f'{{"flows": [{{"configuration": {lists}}}]}}'
    imported = read_gravitee(text)
    assert built(imported, tmp_path) == [("allow", ["192.0.2.0/24"]), ("deny", ["192.0.2.7"])]
    assert imported.settings == {"default": "deny", "precedence": "deny_first"}
    assert "host.example" in imported.notes[0][1]


def test_csv(tmp_path: Path) -> None:
    rows = (
        "Network,List,Expires,Reason,Owner",
        "203.0.113.9,,2100-01-01T00:00:00Z,a,b",
        "1.2.3,deny,,,",
        "192.0.2.1,allow,soon,,",
    )
    text = "\n".join(rows) + "\n"
    imported = read_csv(text)
    assert built(imported, tmp_path) == [("deny", ["203.0.113.9"])]
    assert [line for line, _ in imported.notes] == [1, 3, 4]


def test_fail2ban(tmp_path: Path) -> None:
    text = "203.0.113.9 \t2099-11-28 10:00:00 + 600 = 2099-11-28 10:10:00\n203.0.113.10\n"
    imported = read_fail2ban(text)
    assert built(imported, tmp_path) == [("deny", ["203.0.113.9"]), ("deny", ["203.0.113.10"])]
    assert imported.entries[0]["expires"] == "2099-11-28T10:10:00Z"
