"""The files of deploy/."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import yaml

ROOT = Path(__file__).parents[3]
DEPLOY = ROOT / "deploy"
MANIFESTS = {path.name: yaml.safe_load(path.read_text()) for path in sorted((DEPLOY / "kubernetes").glob("*.yaml"))}
CONFIGURATIONS = {"envoy": DEPLOY / "authz.yaml", "nginx": DEPLOY / "nginx" / "authz.yaml"}
PRINTED = {"envoy": DEPLOY / "envoy" / "envoy.yaml", "nginx": DEPLOY / "nginx" / "nginx.conf"}


def deployment() -> Any:
    return MANIFESTS["deployment.yaml"]


def pod() -> Any:
    return deployment()["spec"]["template"]["spec"]


def containers() -> dict[str, Any]:
    return {container["name"]: container for container in (*pod()["initContainers"], *pod()["containers"])}
