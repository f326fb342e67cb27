"""The text of a message by a template of Jinja2, in its sandbox. Templates come from control.yaml.

    {{ count }} by {{ items[0].actor }}: {% for item in items[:3] %}{{ item.networks[0] }} {% endfor %}

`topic`, `count`, `created`, `text` (what would be said without a template) and `items` are known to it.
"""

from __future__ import annotations

import logging
from typing import TYPE_CHECKING, Any, Final

from jinja2 import TemplateError, TemplateSyntaxError
from jinja2.sandbox import ImmutableSandboxedEnvironment

from authz.errors import BadValue

if TYPE_CHECKING:
    from collections.abc import Mapping

MAX_TEXT: Final = 4000  # characters of a message
MAX_TEMPLATE: Final = 4000
_ENVIRONMENT: Final = ImmutableSandboxedEnvironment(autoescape=False)  # plain text, no HTML
_LOG = logging.getLogger("authz.control.notify")


def parse_template(text: str) -> str:
    """Return a template that can be read. Raises BadValue."""
    if len(text) > MAX_TEMPLATE:
        raise BadValue
    try:
        _ENVIRONMENT.parse(text)
    except TemplateSyntaxError as error:
        raise BadValue from error
    return text


def render(template: str, values: Mapping[str, Any]) -> str:
    """Return what a template makes of values; where it fails, the plain text: nobody is told nothing."""
    try:
        said = _ENVIRONMENT.from_string(template).render(values)
    except (TemplateError, ArithmeticError, LookupError, TypeError, ValueError, AttributeError) as error:
        _LOG.warning("a template of notify.channels fails: %s", error)
        said = str(values["text"])
    return said[:MAX_TEXT]
