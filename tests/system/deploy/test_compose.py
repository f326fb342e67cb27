"""The compose file: no engine runs here, so what it names is looked up, and the sidecar reads what it sets."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING, Any

import pytest
import yaml
from support.proxies.deployed import CONFIGURATIONS, DEPLOY

from authz.control.maintenance.init import sidecar_config
from authz.serve.config.config import load_config

if TYPE_CHECKING:
    from pathlib import Path

COMPOSE: dict[str, Any] = yaml.safe_load((DEPLOY / "compose.yaml").read_text())
SERVICES: dict[str, dict[str, Any]] = COMPOSE["services"]
SIDECARS = {"authz-envoy": "envoy", "authz-nginx": "nginx"}


def bound(service: str) -> dict[str, str]:
    """Return the files that are bound into a service, by their places in it."""
    return {target: source for source, target in volumes(service) if source.startswith("./")}


def volumes(service: str) -> list[tuple[str, str]]:
    """Return what is mounted into a service, and where."""
    given = SERVICES[service].get("volumes", ())
    pairs = (mount.split(":") if isinstance(mount, str) else (mount["source"], mount["target"]) for mount in given)
    return [(source, target) for source, target, *_ in pairs]


def test_every_file_is_there_or_made_by_the_command_that_it_says() -> None:
    for name in SERVICES:
        for file in bound(name).values():
            assert (DEPLOY / file).is_file() or file.startswith("./control"), file
    made = re.findall(r"control init /data/(\S+)", (DEPLOY / "compose.yaml").read_text())
    assert made == ["control"]


def test_every_service_volume_and_stage_that_is_named_is_there() -> None:
    stages = re.findall(r"^FROM \S+ AS (\S+)$", (DEPLOY / "Dockerfile").read_text(), re.MULTILINE)
    for name, service in SERVICES.items():
        mode = service.get("network_mode", "")
        assert not mode or mode.removeprefix("service:") in SERVICES
        assert set(service.get("depends_on", {})) <= SERVICES.keys()
        assert service["build"]["target"] in stages if "build" in service else True
        named = {source for source, _ in volumes(name) if not source.startswith(".")}
        assert named <= COMPOSE["volumes"].keys()
        assert re.fullmatch(r"[a-z/-]+:v?\d[\d.]*", service["image"]), "a version, never latest"


def test_before_init_compose_says_what_is_missing_and_makes_no_folder_in_its_place() -> None:
    """Docker made `control/`, which belonged to root: `init` then could not write to it."""
    mounts = [mount for service in SERVICES.values() for mount in service.get("volumes", ())]
    made = [mount for mount in mounts if "./control" in str(mount)]
    assert len(made) == 5
    assert all(mount["bind"] == {"create_host_path": False} for mount in made)


@pytest.mark.parametrize("service", SIDECARS)
def test_a_sidecar_reads_its_configuration_and_trusts_only_public_keys_that_are_bound(service: str) -> None:
    config = load_config(CONFIGURATIONS[SIDECARS[service]], SERVICES[service]["environment"])
    trusted = [key for layer in config.layers_in_order() for key in layer.trusted_keys]
    assert set(trusted) <= bound(service).keys()
    assert not [file for file in bound(service).values() if file.endswith((".key", "keys"))]
    state = str(config.state_file.parent)
    assert [mount.split(":")[0] for mount in SERVICES[service]["tmpfs"]] == [state]


def test_the_sidecars_ask_for_the_layers_that_init_makes(tmp_path: Path) -> None:
    (tmp_path / "authz.yaml").write_text(sidecar_config("http://control:9194"))
    made = load_config(tmp_path / "authz.yaml", {})
    for service, place in SIDECARS.items():
        config = load_config(CONFIGURATIONS[place], SERVICES[service]["environment"])
        for ours, theirs in zip(config.layers_in_order(), made.layers_in_order(), strict=True):
            assert (ours.name, ours.url, ours.may) == (theirs.name, theirs.url, theirs.may)
        assert config.application.unknown == made.application.unknown


def test_what_is_ours_has_no_rights() -> None:
    for name in ("control", "authz-envoy", "authz-nginx", "envoy"):
        service = SERVICES[name]
        assert (service["read_only"], service["cap_drop"]) == (True, ["ALL"])
        assert service["user"] not in {"0", "root"}
    ports = [port for service in SERVICES.values() for port in service.get("ports", ())]
    assert all(port.startswith("127.0.0.1:") for port in ports)
