"""What explain and replay share: a decider from a configuration and a snapshot file."""

from __future__ import annotations

import os
import time
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from authz.errors import BadValue, InputError, SnapshotRefused

if TYPE_CHECKING:
    from authz.engine.decider import Decider
    from authz.serve.config import Config

ConfigFile = Annotated[Path, typer.Option("--config", help="The configuration of the sidecar.")]
SnapshotFile = Annotated[
    Path | None, typer.Option("--snapshot", help="A snapshot; default: the one of the configuration.")
]


def open_decider(config_file: Path, file: Path | None) -> tuple[Config, Decider]:
    """Return the configuration, and a decider with the snapshot loaded and verified by the configuration's keys.

    The state file is not touched. Raises InputError, InvalidDocument and SnapshotRefused.
    """
    from authz.engine.decider import Decider
    from authz.engine.opened_snapshot import OpenedSnapshot
    from authz.engine.ruleset import Ruleset
    from authz.serve.config import load_config
    from authz.snapshot.keys import load_public_key
    from authz.snapshot.read import read_snapshot

    config = load_config(config_file, os.environ)
    keys = [load_public_key(Path(path)) for path in config.policy.trusted_keys]
    path = file or config.policy_file
    decider = Decider(config.decision_settings())
    try:
        snapshot = read_snapshot(path, keys, config.policy.threshold, now=time.time())
        decider.load(Ruleset([OpenedSnapshot(snapshot)]))
    except SnapshotRefused as error:
        raise error.copy(path) from error
    return config, decider


def parse_time(text: str, where: str) -> float:
    """Return a time as seconds since 1970: RFC 3339, or a period from now such as `2h` or `-30m`. Raises InputError."""
    from authz.times import parse_time_or_period

    try:
        return parse_time_or_period(text, time.time())
    except BadValue as error:
        raise InputError(f"{where}: {error.message}", hint=error.hint) from None
