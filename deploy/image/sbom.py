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


def component(one: Distribution) -> dict[str, Any]:
    """Describe a package."""
    name = canonical(one.metadata["Name"])
    found: dict[str, Any] = {
        "type": "application" if name == OURS else "library",
        "bom-ref": url(name, one.version),
        "name": name,
        "version": one.version,
        "purl": url(name, one.version),
    }
    expression, words = one.metadata.get("License-Expression"), one.metadata.get("License")
    if expression:
        found["licenses"] = [{"expression": expression}]
    elif words and len(words) < 80:
        found["licenses"] = [{"license": {"name": words}}]
    return found


def needed(one: Distribution, versions: dict[str, str]) -> list[str]:
    """Return what a package needs of what is installed; extras that were not asked for do not count."""
    names = {canonical(re.match(r"[A-Za-z0-9._-]+", text)[0]) for text in one.requires or () if "extra ==" not in text}  # type: ignore[index]
    return sorted(url(name, versions[name]) for name in names if name in versions)


def bill() -> dict[str, Any]:
    """Return the bill of materials."""
    installed = sorted(distributions(), key=lambda one: canonical(one.metadata["Name"]))
    versions = {canonical(one.metadata["Name"]): one.version for one in installed}
    components = [component(one) for one in installed]
    ours = next(one for one in components if one["name"] == OURS)
    python = ".".join(map(str, sys.version_info[:3]))
    content = " ".join(f"{name}=={version}" for name, version in versions.items()) + f" python=={python}"
    return {
        "bomFormat": "CycloneDX",
        "specVersion": "1.6",
        "serialNumber": f"urn:uuid:{uuid.uuid5(uuid.NAMESPACE_URL, content)}",
        "version": 1,
        "metadata": {"component": ours, "properties": [{"name": "python", "value": python}]},
        "components": [one for one in components if one["name"] != OURS],
        "dependencies": [
            {"ref": url(one.metadata["Name"], one.version), "dependsOn": needed(one, versions)} for one in installed
        ],
    }


if __name__ == "__main__":
    Path(sys.argv[1]).write_text(json.dumps(bill(), indent=1) + "\n")
