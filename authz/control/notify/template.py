"""The text of a message by a template of Jinja2, in its sandbox. Templates come from control.yaml.

    {{ count }} by {{ items[0].actor }}: {% for item in items[:3] %}{{ item.networks[0] }} {% endfor %}

`topic`, `count`, `created`, `text` (what would be said without a template) and `items` are known to it.
"""

from __future__ import annotations

import logging
import re
from typing import TYPE_CHECKING, Any, Final

from jinja2 import TemplateSyntaxError
from jinja2.exceptions import SecurityError
from jinja2.sandbox import ImmutableSandboxedEnvironment

from authz.errors import BadValue

if TYPE_CHECKING:
    from collections.abc import Mapping

    from jinja2.runtime import Context

MAX_TEXT: Final = 4000  # characters of a message
MAX_TEMPLATE: Final = 4000
_LARGE: Final = 10**9
_WIDE: Final = re.compile(r"\d{4}|\*")  # of a format
_LOG = logging.getLogger("authz.control.notify")


class _Sandbox(ImmutableSandboxedEnvironment):
    """Jinja's sandbox, without the operations by which few characters make very many."""

    intercepted_binops = frozenset({"*", "**", "%"})

    def call_binop(self, context: Context, operator: str, left: Any, right: Any) -> Any:
        """Calculate with numbers that are not large, and fill in a format. Raises SecurityError for all else."""
        if operator == "%" and isinstance(left, str):
            may = not _WIDE.search(left)
        else:
            may = operator != "**" and all(
                isinstance(value, int | float) and abs(value) < _LARGE for value in (left, right)
            )
        if not may:
            raise SecurityError(f"found '{operator}', expected it between numbers below {_LARGE:,}, and no '**'")
        return super().call_binop(context, operator, left, right)


_ENVIRONMENT: Final = _Sandbox(autoescape=False)  # plain text, no HTML
del _ENVIRONMENT.globals["lipsum"]


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
    said = ""
    try:
        for part in _ENVIRONMENT.from_string(template).generate(values):
            said += part
            if len(said) > MAX_TEXT:
                break
    except Exception as error:  # noqa: BLE001  # one template must not keep the messages of all channels back
        _LOG.warning("a template of notify.channels fails: %s: %s", type(error).__name__, error)
        said = str(values["text"])
    return said[:MAX_TEXT]
