"""What explain and replay share: a decider from a configuration and a snapshot file."""

from __future__ import annotations

import os
import time
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, NamedTuple

import typer

from authz.cli.common.output import warn
from authz.errors import BadValue, InputError, SnapshotRefused
from authz.times import format_moment

if TYPE_CHECKING:
    from authz.engine.decision.decider import Decider
    from authz.engine.entries.opened_snapshot import OpenedSnapshot
    from authz.serve.config.config import Config
    from authz.serve.layers.config import LayerConfig

ConfigFile = Annotated[Path, typer.Option("--config", help="The configuration of the sidecar.")]
SnapshotFile = Annotated[
    Path | None, typer.Option("--snapshot", help="A snapshot; default: the one of the configuration.")
]


class AsOf(NamedTuple):
    """A time to look back to, in seconds since 1970, and the archive that has what served then; None: the usual one."""

    moment: float
    archive: Path | None = None


def open_decider(config_file: Path, file: Path | None, as_of: AsOf | None = None) -> tuple[Config, Decider]:
    """Return the configuration, and a decider with its layers, loaded and verified by the configuration's keys.

    Of a layer behind the policy that is fetched from elsewhere, the last good copy is taken; one that is missing is
    left out. The state file is not touched.

    Args:
        config_file: The configuration of the sidecar.
        file: A snapshot to decide by, instead of all layers; None: those of the configuration.
        as_of: Take the files from the archive that served at that time.

    Raises:
        InputError: The configuration, a key or the archive cannot be used.
        SnapshotRefused: The policy, or a later layer that is there, is not to be used.
    """
    from authz.engine.decision.decider import Decider
    from authz.engine.entries.ruleset import Ruleset
    from authz.serve.config.config import load_config

    config = load_config(config_file, os.environ)
    decider = Decider(config.decision_settings())
    files: list[OpenedSnapshot] = []
    for number, layer in enumerate(config.layers_in_order()):
        path = file if number == 0 and file else _path_of(config, layer, as_of, needed=number == 0)
        if path is not None and (number == 0 or path.exists()):
            moment = time.time() if as_of is None else as_of.moment
            opened = _open(path, layer, moment) if as_of is None else _open_kept(path, layer, moment)
            if number:
                _check_permitted(path, layer, opened, files[0], moment)
            files += opened
        if file:
            break  # that snapshot alone decides
    decider.load(Ruleset(files))
    return config, decider


def _path_of(config: Config, layer: LayerConfig, as_of: AsOf | None, *, needed: bool) -> Path | None:
    """Return where the file of a layer stands; None: a later layer had none then, which is told."""
    from authz.serve.layers.config import last_good_path
    from authz.snapshot.archive import Archive

    path = Path(layer.path) if layer.path else last_good_path(config.state_file, layer.name)
    if as_of is None:
        return path
    archive = Archive(as_of.archive or path.parent / "archive", layer.name)
    if not needed and not archive.folder.is_dir():
        return None
    try:
        return archive.served_at(as_of.moment).path
    except InputError as error:
        if not needed:
            warn(f"{error.message}; decided without the layer {layer.name}")
            return None
        elsewhere = layer.url is not None and as_of.archive is None
        hint = "the layer comes from a server: --archive DIR names its publisher's folder of kept builds"
        raise InputError(error.message, hint=hint if elsewhere else error.hint) from error


def _open(path: Path, layer: LayerConfig, now: float) -> list[OpenedSnapshot]:
    """Return a file and its parts, ready for look-ups."""
    from authz.engine.entries.opened_snapshot import OpenedSnapshot
    from authz.publisher.whole_layer import read_whole
    from authz.snapshot.signing.keys import load_public_key

    keys = [load_public_key(Path(key)) for key in layer.trusted_keys]
    try:
        head, parts = read_whole(path, keys, layer.threshold, now=now)
        return [OpenedSnapshot(snapshot) for snapshot in (head, *parts)]
    except SnapshotRefused as error:
        raise error.copy(path) from error


def _open_kept(path: Path, layer: LayerConfig, moment: float) -> list[OpenedSnapshot]:
    """Return a build of an archive, as `_open` does. That it was made does not say that sidecars took it."""
    from authz.snapshot.heading import read_heading

    try:
        return _open(path, layer, moment)
    except SnapshotRefused as error:
        before = format_moment(read_heading(path).created - 1)
        error.hint = f"sidecars may have refused it, too, and decided by the one before: --as-of {before}"
        raise


def _check_permitted(
    path: Path, layer: LayerConfig, opened: list[OpenedSnapshot], policy: OpenedSnapshot, now: float
) -> None:
    """Refuse a file of a later layer that says more than its keys may, as a sidecar does. Raises SnapshotRefused."""
    from authz.engine.entries.permissions import first_violation
    from authz.serve.layers.config import MayConfig

    limits = (layer.may or MayConfig()).limits()
    violation = first_violation(opened, limits, policy.protected, now, since=policy.created)
    if violation is not None:
        refusal = violation.refusal().copy(path)
        refusal.hint = "sidecars refuse this file, and decide by the last good one; `authz unban ID` ends a ban"
        raise refusal


def parse_past(text: str, where: str) -> float:
    """Return a time as `parse_time` does. Raises InputError for one that is not over."""
    moment = parse_time(text, where)
    if moment > time.time():
        raise InputError(
            f"{where}: found {format_moment(moment)}, which is to come, expected a time that is over, such as -2h",
            hint="--at decides by the present files at any time",
        )
    return moment


def parse_time(text: str, where: str) -> float:
    """Return a time as seconds since 1970: RFC 3339, or a period from now such as `2h` or `-30m`. Raises InputError."""
    from authz.times import parse_time_or_period

    try:
        return parse_time_or_period(text, time.time())
    except BadValue as error:
        raise InputError(f"{where}: {error.message}", hint=error.hint) from None
