"""The documents say what the code does."""

from __future__ import annotations

import re
import socket
import types
from ipaddress import ip_address, ip_network
from pathlib import Path
from typing import TYPE_CHECKING, Any, Union, get_args, get_origin

import msgspec
import pytest
import yaml
from support.publishing.mmdb import write_mmdb

from authz.analysis.lockout import would_deny
from authz.control.config import ControlConfig
from authz.control.detect.keeping.config import SinkConfig
from authz.control.detect.shared.config import Streams
from authz.control.detect.sources.config import EnvoySource, Sources
from authz.engine.decision import decider as decision
from authz.engine.decision import outcome
from authz.engine.decision import verdict as decide
from authz.engine.entries.opened_snapshot import OpenedSnapshot
from authz.engine.request import client_address
from authz.errors import Refusal
from authz.publisher.build import build_snapshot
from authz.publisher.feeds.hosts import HostOptions
from authz.publisher.policy.read import read_policy
from authz.publisher.policy.schema import PolicyDocument, WrittenFeed
from authz.publisher.policy.subjects import SubjectOptions
from authz.serve.config import config as configuration
from authz.serve.layers.config import LayerConfig
from authz.snapshot.read import inspect_snapshot
from authz.times import parse_duration

if TYPE_CHECKING:
    from collections.abc import Iterator

    from support.publishing.publisher import Publisher

ROOT = Path(__file__).parents[2]
DOCS = sorted([*ROOT.glob("*.md"), *ROOT.glob("docs/**/*.md"), *ROOT.glob("deploy/**/*.md")])


def keys_of(struct: type[msgspec.Struct], prefix: str = "") -> Iterator[tuple[str, Any]]:
    for field in msgspec.structs.fields(struct):
        wanted = field.type
        if get_origin(wanted) in {Union, types.UnionType}:
            wanted = next(a for a in get_args(wanted) if a is not type(None))
        if isinstance(wanted, type) and issubclass(wanted, msgspec.Struct):
            yield from keys_of(wanted, f"{prefix}{field.name}.")
        else:
            yield prefix + field.name, field.default


def documented() -> dict[str, str]:
    text = (ROOT / "docs" / "reference" / "configuration.md").read_text()
    return {
        key: default.strip("`") for key, default in re.findall(r"^\| `([a-z_.]+)` \| ([^|]+) \|", text, re.MULTILINE)
    }


def test_the_configuration_page_has_every_key_and_no_other() -> None:
    assert set(documented()) == {key for key, _ in keys_of(configuration.Config)}


def test_the_configuration_page_has_every_key_of_a_layer_and_no_other() -> None:
    text = (ROOT / "docs" / "reference" / "configuration.md").read_text()
    assert set(re.findall(r"`(layers\[\]\.[a-z0-9_.]+)`", text)) == {
        key for key, _ in keys_of(LayerConfig, "layers[].")
    }


def test_the_guide_of_the_control_plane_has_every_key_of_control_yaml_and_of_its_events() -> None:
    text = (ROOT / "docs" / "guides" / "control.md").read_text().partition("## control.yaml")[2].partition("\n## ")[0]
    rows = dict(re.findall(r"^\| (`[^|]+`) \|[^|]*\|([^\n]*)\|$", text, re.MULTILINE))
    keys = {key for row in rows for key in re.findall(r"`([a-z_.\[\]]+)`", row)}
    assert {field.name for field in msgspec.structs.fields(ControlConfig)} - {"folder"} <= keys  # where it lies
    for struct, row in (
        (Sources, "`sources`"), (EnvoySource, "`sources`"), (Streams, "`streams`"), (SinkConfig, "`sinks`"),
    ):  # fmt: skip
        names = {field.name for field in msgspec.structs.fields(struct)}
        assert {name for name in names if not re.search(rf"\b{name}\b", rows[row])} == set(), row


@pytest.mark.parametrize(("key", "default"), list(keys_of(configuration.Config)))
def test_the_configuration_page_has_the_default_of_each_key(key: str, default: Any) -> None:
    written = documented()[key].strip("` ")
    if default is msgspec.NODEFAULT:
        assert written in {"required", "none"}
    elif default is None or default == ():
        assert written == "none"
    elif isinstance(default, bool):
        assert written == str(default).lower()
    elif key.endswith("unix_mode"):
        assert int(written, 8) == default
    elif isinstance(default, float) and re.fullmatch(r"\d+(ms|s|m|h|d)", written):
        assert parse_duration(written) == default
    else:
        assert written == str(default)


def test_the_policy_page_has_every_reason() -> None:
    text = (ROOT / "docs" / "reference" / "policy.md").read_text()
    reasons = [
        value
        for module in (decide, decision)
        for name, value in vars(module).items()
        if name.isupper() and isinstance(value, str) and not name.startswith("_") and name != "POLICY_LAYER"
    ]
    assert len(reasons) >= 12
    assert [reason for reason in reasons if f"`{reason}`" not in text and reason != "*"] == []


EXAMPLES = re.findall(r"```yaml\n(.*?)```", (ROOT / "docs" / "reference" / "policy.md").read_text(), re.DOTALL)
NAMED_FILES: dict[str, str | bytes] = {
    "feeds/tor.txt": "198.51.100.200\n",
    "feeds/listed.txt": "198.51.100.206\n",
    "feeds/ipsum.txt": "198.51.100.201\t3\n198.51.100.202\t2\n",
    "feeds/proxies.txt": "socks5://198.51.100.203:1080\nhttp://198.51.100.204:80\n",
    "feeds/ip-ranges.json": '{"syncToken": "1", "prefixes": [{"ip_prefix": "198.51.100.205/32", '
    '"region": "eu-west-1", "service": "EC2", "network_border_group": "eu-west-1"}]}',
    "feeds/inside.txt": "10.0.0.1\n",
    "feeds/partners.txt": "198.51.100.206\n",
    "geo/country.mmdb": write_mmdb(
        {f"203.0.113.{n}/32": {"country": {"iso_code": code}} for n, code in enumerate(("KP", "IR", "NO"))}
    ),
    "geo/city.mmdb": write_mmdb({
        "203.0.113.0/32": {"country": {"iso_code": "KP"}, "continent": {"code": "AS"}},
        "203.0.113.1/32": {"country": {"iso_code": "IR"}, "continent": {"code": "AS"}},
        "203.0.113.2/32": {"country": {"iso_code": "US"}, "subdivisions": [{"iso_code": "CA"}]},
        "203.0.113.3/32": {"country": {"iso_code": "ZA"}, "continent": {"code": "AF"}},
    }),
    "geo/more.csv": "203.0.113.4,203.0.113.5,NO\n",
    "geo/asn.csv": "203.0.113.0,203.0.113.1,64496,One\n",
    "geo/asn6.csv": "2001:db8::,2001:db8::1,64497,Other\n",
    "hosts.json": '{"vpn.example.com": {"addresses": ["192.0.2.44"], "at": 1790000000}}',
}  # fmt: skip


def complete(example: str) -> str:
    """Return an example as the page says that it is meant."""
    return example if example.startswith("version: 1\n") else f"version: 1\n{example}"


def policy_keys(struct: Any, prefix: str = "") -> Iterator[str]:
    """Yield the keys of a policy, those in lists and by name without number and name, as `entries.countries`."""
    for field in msgspec.structs.fields(struct):
        key = f"{prefix}{field.encode_name}"
        yield key
        wanted = [field.type, *get_args(field.type)]
        for kind in wanted:
            if isinstance(kind, type) and issubclass(kind, msgspec.Struct):
                yield from policy_keys(kind, f"{key}.")


def written_keys(content: Any, known: set[str], prefix: str = "") -> Iterator[str]:
    """Yield the keys that an example has, in the same way; names that are the operator's own are passed over."""
    if isinstance(content, list):
        for item in content:
            yield from written_keys(item, known, prefix)
    elif isinstance(content, dict):
        for name, value in content.items():
            key = f"{prefix}.{name}".removeprefix(".")
            if key in known:
                yield key
                yield from written_keys(value, known, key)
            else:
                yield from written_keys(value, known, prefix)


@pytest.mark.parametrize("example", EXAMPLES, ids=lambda text: text.partition("\n")[0])
def test_every_example_of_the_policy_page_builds(publisher: Publisher, example: str) -> None:
    for name, content in NAMED_FILES.items():
        path = publisher.folder / name
        path.parent.mkdir(exist_ok=True)
        path.write_bytes(content.encode() if isinstance(content, str) else content)
    (publisher.folder / "policy.yaml").write_text(complete(example))
    hosts = HostOptions(publisher.folder / "hosts.json", offline=True)
    policy = read_policy(publisher.folder / "policy.yaml", options=SubjectOptions(hosts))
    built = build_snapshot(policy, publisher.folder / "out", [publisher.signer()], serial=1, created=0)
    assert built.entries == len(yaml.safe_load(example).get("entries", ()))
    for networks in policy.networks:
        assert any(len(prefixes) for prefixes in networks.networks.values()), "an example that names nobody"
    loaded = OpenedSnapshot(inspect_snapshot(publisher.folder / "out"))
    assert would_deny(loaded, policy.protected, 0) == []


def test_every_key_of_a_policy_is_in_an_example_and_is_explained() -> None:
    known = set(policy_keys(PolicyDocument))
    assert len(known) > 40
    written = {key for text in EXAMPLES for key in written_keys(yaml.safe_load(complete(text)), known)}
    assert known - written == set()
    page = re.sub(r"```yaml\n.*?```", "", (ROOT / "docs" / "reference" / "policy.md").read_text(), flags=re.DOTALL)
    names = {key.rpartition(".")[2] for key in known} - {"version", "applications", "entries", "feeds", "limits"}
    assert [name for name in sorted(names) if f"`{name}`" not in page and f"## {name}\n" not in page] == []


def test_the_policy_page_has_the_values_and_defaults_of_a_feed() -> None:
    page = (ROOT / "docs" / "reference" / "policy.md").read_text()
    written = dict(re.findall(r"^\| `([a-z_]+)` \| ([^|]+) \|", page.partition("## feeds")[2], re.MULTILINE))
    # What a feed says that names no preset, where the code has nothing.
    usual = {"source": "required", "path": "required", "format": "auto", "min_count": "0"}
    for field in msgspec.structs.fields(WrittenFeed):
        nothing = field.default in {None, "", msgspec.NODEFAULT}
        expected = usual.get(field.name, "none" if nothing else str(field.default))
        assert written[field.name].strip(" `") == expected, field.name


def test_the_example_policy_builds(publisher: Publisher) -> None:
    policy = read_policy(ROOT / "examples" / "policy.yaml")
    built = build_snapshot(policy, publisher.folder / "out", [publisher.signer()], serial=1, created=0)
    assert built.entries == 4


@pytest.mark.parametrize("page", DOCS, ids=lambda page: str(page.relative_to(ROOT)))
def test_every_link_to_a_file_leads_somewhere(page: Path) -> None:
    links = re.findall(r"\]\(([^)#]+)(?:#[^)]*)?\)", page.read_text())
    local = [link for link in links if not link.startswith("http")]
    assert [link for link in local if not (page.parent / link).exists()] == []


def test_every_picture_is_shown_on_a_page() -> None:
    pictures = {path.name for path in (ROOT / "docs").rglob("*.png")}
    assert pictures
    shown = {name for page in DOCS for name in re.findall(r"pictures/([\w-]+\.png)", page.read_text())}
    assert pictures - shown == set()


def test_every_test_that_a_page_names_exists() -> None:
    defined = {
        name
        for path in (ROOT / "tests").rglob("test_*.py")
        for name in re.findall(r"^(?:async )?def (test_\w+)", path.read_text(), re.MULTILINE)
    }
    named = {(page.name, name) for page in DOCS for name in re.findall(r"`(test_\w+)`", page.read_text())}
    assert [place for place in sorted(named) if place[1] not in defined] == []


def test_every_hole_that_was_closed_names_its_test() -> None:
    _, _, section = (ROOT / "SECURITY.md").read_text().partition("\n## Found and closed\n")
    lines = re.findall(r"^- (.+(?:\n+  .+)*)", section, re.MULTILINE)
    assert len(lines) > 20
    assert [line for line in lines if not re.search(r"`test_\w+`", line)] == []


def test_every_reason_and_code_of_the_page_of_symptoms_is_one() -> None:
    page = (ROOT / "docs" / "operations" / "troubleshooting.md").read_text()
    modules = (outcome, decide, client_address)
    reasons = {value for module in modules for value in vars(module).values() if isinstance(value, str)}
    first = re.findall(r"^\| `([a-z_]+)`(?:, `([a-z_]+)`)?", page, re.MULTILINE)
    told = {word for pair in first for word in pair if word} - {"enforced", "client"}
    assert len(told) > 15
    assert told - reasons - set(Refusal) == set()


def test_the_office_of_the_readme_has_no_address_of_this_machine() -> None:
    """Documentation space is what some hosts really have."""
    policy = re.findall(r"```yaml\n(version: 1\n.*?)```", (ROOT / "README.md").read_text(), re.DOTALL)[0]
    networks = [ip_network(n) for entry in yaml.safe_load(policy)["entries"] for n in entry["networks"]]
    own = {ip_address(info[4][0]) for info in socket.getaddrinfo(socket.gethostname(), None, socket.AF_INET)}
    assert [address for address in own if any(address in network for network in networks)] == []
