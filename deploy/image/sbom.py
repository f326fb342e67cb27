"""Writes what is installed in this virtual environment as a bill of materials: CycloneDX 1.6 in JSON.

    /opt/authz/bin/python sbom.py /opt/authz/sbom.cdx.json

The same packages give the same bytes. What the base image has is not in it: its publisher has a bill of its own.
"""

from __future__ import annotations

import json
import re
import sys
import uuid
from importlib.metadata import Distribution, distributions
from pathlib import Path
from typing import Any

OURS = "authz"


def canonical(name: str) -> str:
    """Return the name of a package as PyPI has it (PEP 503)."""
    return re.sub(r"[-_.]+", "-", name).lower()


def url(name: str, version: str) -> str:
    """Return the package URL."""
    return f"pkg:pypi/{canonical(name)}@{version}"


def component(distribution: Distribution) -> dict[str, Any]:
    """Describe a package."""
    name = canonical(distribution.metadata["Name"])
    described: dict[str, Any] = {
        "type": "application" if name == OURS else "library",
        "bom-ref": url(name, distribution.version),
        "name": name,
        "version": distribution.version,
        "purl": url(name, distribution.version),
    }
    expression, words = distribution.metadata.get("License-Expression"), distribution.metadata.get("License")
    if expression:
        described["licenses"] = [{"expression": expression}]
    elif words and len(words) < 80:
        described["licenses"] = [{"license": {"name": words}}]
    return described


def needed(distribution: Distribution, versions: dict[str, str]) -> list[str]:
    """Return what a package needs of what is installed; extras that were not asked for do not count."""
    wanted = [text for text in distribution.requires or () if "extra ==" not in text]
    names = {canonical(re.match(r"[A-Za-z0-9._-]+", text)[0]) for text in wanted}  # type: ignore[index]
    return sorted(url(name, versions[name]) for name in names if name in versions)


def bill() -> dict[str, Any]:
    """Return the bill of materials."""
    installed = sorted(distributions(), key=lambda distribution: canonical(distribution.metadata["Name"]))
    versions = {canonical(distribution.metadata["Name"]): distribution.version for distribution in installed}
    components = [component(distribution) for distribution in installed]
    ours = next(entry for entry in components if entry["name"] == OURS)
    python = ".".join(map(str, sys.version_info[:3]))
    content = " ".join(f"{name}=={version}" for name, version in versions.items()) + f" python=={python}"
    return {
        "bomFormat": "CycloneDX",
        "specVersion": "1.6",
        "serialNumber": f"urn:uuid:{uuid.uuid5(uuid.NAMESPACE_URL, content)}",
        "version": 1,
        "metadata": {"component": ours, "properties": [{"name": "python", "value": python}]},
        "components": [entry for entry in components if entry["name"] != OURS],
        "dependencies": [
            {
                "ref": url(distribution.metadata["Name"], distribution.version),
                "dependsOn": needed(distribution, versions),
            }
            for distribution in installed
        ],
    }


if __name__ == "__main__":
    Path(sys.argv[1]).write_text(json.dumps(bill(), indent=1) + "\n")
