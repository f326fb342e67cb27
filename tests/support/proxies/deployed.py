"""The files of deploy/ for one host and for Envoy's pod."""

from __future__ import annotations

from pathlib import Path
from typing import Final

ROOT: Final = Path(__file__).parents[3]
DEPLOY: Final = ROOT / "deploy"
POD: Final = DEPLOY / "kubernetes" / "base" / "sidecar"
CONFIGURATIONS: Final = {
    "envoy": DEPLOY / "envoy" / "authz.yaml",
    "nginx": DEPLOY / "nginx" / "authz.yaml",
    "pod": POD / "authz.yaml",
}
PRINTED: Final = {
    "envoy": DEPLOY / "envoy" / "envoy.yaml",
    "nginx": DEPLOY / "nginx" / "nginx.conf",
    "pod": POD / "envoy.yaml",
}
PROXIES: Final = {"envoy": "envoy", "nginx": "nginx", "pod": "envoy"}
