"""The files that the sidecar writes: none may be one that it only reads, which would then be gone."""

from __future__ import annotations

import itertools
import os
from typing import TYPE_CHECKING, Any, Protocol

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence
    from pathlib import Path

    from authz.serve.layers.config import LayerConfig

_OF_A_LAYER = ("path", "token", "ca", "certificate", "key")
_OF_A_SENDER = ("token_file", "ca", "certificate", "key")
_OF_TLS = ("certificate", "key", "client_ca", "client_crl")


class _Configured(Protocol):
    """What is needed of a `Config`, which asks us itself: the parts that name files."""

    @property
    def snapshot(self) -> Any: ...

    @property
    def grpc(self) -> Any: ...

    @property
    def http(self) -> Any: ...

    @property
    def admin(self) -> Any: ...

    @property
    def client_address(self) -> Any: ...

    @property
    def decision_log(self) -> Any: ...

    @property
    def events(self) -> Any: ...

    @property
    def traces(self) -> Any: ...

    @property
    def state_file(self) -> Path: ...

    def layers_in_order(self) -> Sequence[LayerConfig]: ...


def overwritten(config: _Configured, path: Path) -> Iterator[tuple[str, str]]:
    """Yield key and problem of each file that the sidecar would write over another of its files.

    Args:
        config: Of absolute paths.
        path: Of the configuration itself.
    """
    state = "state" if config.snapshot is None else "snapshot.state"
    written = [(state, str(config.state_file))]
    if config.decision_log.path not in {"-", "off"}:
        written.append(("decision_log.path", config.decision_log.path))
    read = [("this configuration", str(path)), *files_read(config)]
    for (key, name), (other, same) in itertools.product(written, read):
        if os.path.normpath(name) == os.path.normpath(same):
            yield key, f"found {name}, which is {other}, expected a file of its own: the sidecar would write over it"
    if len(written) > 1 and os.path.normpath(written[0][1]) == os.path.normpath(written[1][1]):
        yield "decision_log.path", f"found {written[1][1]}, which is {state}, expected a file of its own"


def files_read(config: _Configured) -> Iterator[tuple[str, str]]:
    """Yield key and path of each file that the sidecar reads and never writes."""
    for number, layer in enumerate(config.layers_in_order()):
        where = "snapshot" if config.snapshot is not None else f"layers[{number}]"
        yield from ((f"{where}.trusted_keys", key) for key in layer.trusted_keys)
        yield from _named(where, layer, _OF_A_LAYER)
    for name in ("grpc", "http"):
        yield from _named(f"{name}.tls", getattr(config, name).tls, _OF_TLS)
    for name in ("events", "traces"):
        yield from _named(name, getattr(config, name), _OF_A_SENDER)
    yield from _named("admin", config.admin, ("token_file",))
    yield from (("client_address.trusted_proxies_files", name) for name in config.client_address.trusted_proxies_files)


def _named(where: str, part: object, keys: tuple[str, ...]) -> Iterator[tuple[str, str]]:
    for key in keys:
        name = getattr(part, key, None)
        if name is not None:
            yield f"{where}.{key}", name
