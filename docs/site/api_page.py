"""The page of the control plane's API, from its OpenAPI description."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING, Any, cast
from unittest.mock import MagicMock

from authz.control.api.app import create_app

if TYPE_CHECKING:
    from collections.abc import Iterator

    from authz.control.plane import ControlPlane

HEAD = """\
# HTTP API of the control plane

This page is generated from the OpenAPI description by `make docs-generated`. A running control plane has it at
`/schema/openapi.json`, with every field of every body. [The guide](../guides/control.md#the-api) explains what belongs
together. Errors are problems (RFC 9457) with a stable `code`.
"""
METHODS = ("get", "post", "put", "patch", "delete")


def description() -> dict[str, Any]:
    """Return the OpenAPI description, without a store: nothing is started."""
    return create_app(cast("ControlPlane", MagicMock())).openapi_schema.to_schema()


def api_page() -> str:
    """Return the page, as Markdown."""
    items = sorted(description()["paths"].items())
    asked = [(path, method, item[method]) for path, item in items for method in METHODS if method in item]
    return "\n".join([HEAD, *("\n".join(operation(*said)) for said in asked)])


def operation(path: str, method: str, said: dict[str, Any]) -> Iterator[str]:
    """Yield the lines of one operation."""
    yield f"## {method.upper()} {path}\n"
    yield f"{cell(said.get('description') or said.get('summary', ''))}\n"
    parameters = [p for p in said.get("parameters", []) if p["in"] != "path"]
    if parameters:
        yield "| parameter | in | |\n|---|---|---|"
        for p in parameters:
            yield f"| `{p['name']}` | {p['in']} | {cell(p.get('description', ''))} |"
        yield ""
    for kind, content in said.get("requestBody", {}).get("content", {}).items():
        yield f"Body: `{schema_name(content.get('schema', {}))}` as `{kind}`\n"
    yield f"Answers: {', '.join(f'`{status}`' for status in sorted(said['responses']))}\n"


def schema_name(schema: dict[str, Any]) -> str:
    """Return the name of a schema, or its type."""
    if "$ref" in schema:
        return str(schema["$ref"]).rpartition("/")[2]
    several = [schema_name(part) for key in ("oneOf", "anyOf") for part in schema.get(key, [])]
    return " or ".join(several) or str(schema.get("type", "any"))


def cell(text: str) -> str:
    """Return text for a cell of a table."""
    return re.sub(r"([|<*_])", r"\\\1", re.sub(r"\s+", " ", text.strip()))
