"""What of a configuration can change while the sidecar runs, and what needs a restart.

Listeners stay where they are, and so does what the fronts read of a request; the rest changes at once: layers and keys,
trusted proxies, limits, the decision log, files and clients of TLS.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Final, get_type_hints

import msgspec

from authz.errors import InputError
from authz.serve.config.values import Rights, Workers
from authz.strict_yaml.scalars import Duration
from authz.times import format_duration

if TYPE_CHECKING:
    from collections.abc import Iterator

    from authz.serve.config.config import Config

# Keys of authz.yaml that stay as they are, by section; () for the whole section.
FIXED: Final[dict[str, tuple[str, ...]]] = {
    "grpc": (),
    "http": ("listen", "unix_mode", "tls", "cache"),
    "admin": (),
    "client_address": ("header",),
    "application": ("context_key", "http", "header"),
    "attack_signal": (),
    "events": (),
    "traces": (),
}
FIXED_AT_THE_TOP: Final = ("workers", "overlap")


def merge(old: Config, new: Config) -> tuple[Config, list[str]]:
    """Return the new configuration with what cannot change as in the old one, and a line for each of those keys.

    Raises:
        InputError: Another layer is the first: its file may have been accepted with the rights of a later one, and
            applications would be decided by settings that nobody meant for them.
    """
    first, now_first = (config.layers_in_order()[0].name for config in (old, new))
    if first != now_first:
        raise InputError(
            f"layers: found '{now_first}' first, expected '{first}': the policy is another layer only after a restart"
        )
    replace = msgspec.structs.replace
    kept: dict[str, Any] = {}
    lines: list[str] = []
    for section, keys in FIXED.items():
        before, after = getattr(old, section), getattr(new, section)
        names = keys or before.__struct_fields__
        if _tls_can_change(before, after):
            names = tuple(name for name in names if name != "tls")
        lines += _differences(section, before, after, names)
        kept[section] = replace(after, **{name: getattr(before, name) for name in names})
    lines += _differences("", old, new, FIXED_AT_THE_TOP)
    kept |= {name: getattr(old, name) for name in FIXED_AT_THE_TOP}
    if old.state_file != new.state_file:
        lines.append(f"state: '{old.state_file}' stays, found '{new.state_file}'")
    if new.snapshot is not None:
        kept["snapshot"] = replace(new.snapshot, state=str(old.state_file))
    log = new.decision_log
    if (old.decision_log.path == "off") != (log.path == "off"):
        lines.append(f"decision_log.path: '{old.decision_log.path}' stays, found '{log.path}'")
        kept["decision_log"] = replace(log, path=old.decision_log.path)
    return replace(new, state=str(old.state_file), **kept), lines


def _tls_can_change(before: Any, after: Any) -> bool:
    """Return whether a section has TLS before and after, and its engine reads it again."""
    both = getattr(before, "tls", None) is not None and getattr(after, "tls", None) is not None
    return both and getattr(before, "engine", "native") != "grpcio"


def _differences(section: str, before: object, after: object, names: tuple[str, ...]) -> Iterator[str]:
    kinds = get_type_hints(type(before), include_extras=True)
    for name in names:
        one, other = getattr(before, name), getattr(after, name)
        if one != other:
            one, other = (_as_written(value, kinds[name]) for value in (one, other))
            yield f"{section}{'.' if section else ''}{name}: '{one}' stays, found '{other}'"


def _as_written(value: Any, kind: Any) -> str:
    """Return a value as it can stand in authz.yaml. kind: the type that its key is declared with."""
    if value is None or isinstance(value, bool):
        return {None: "null", False: "false", True: "true"}[value]
    if kind == Duration:
        return format_duration(value)
    if kind == Rights:
        return f"{value:o}"
    return "auto" if kind == Workers and not value else str(value)
