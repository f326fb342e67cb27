"""The threads that follow the store, one a layer: changes that are not published are signed and offered.

    commit -> signal -> lease held? -> changes since the last order -> signer -> publication in the store -> signal

While one file is made, and for as long again after it, further changes gather for the next: under load, where a file
takes long, many share one; at rest each has its own. Each file costs every sidecar a fetch, a check and a swap; a dozen
large ones a second are as quick for a waiting caller as a hundred, and leave the processors to the requests. No layer
waits for another: a ban does not wait while the first layer is built from large feeds. Several control planes may run
this; the one with the lease publishes.
"""

from __future__ import annotations

import logging
import threading
import time
from typing import TYPE_CHECKING, Final

from authz.control.model.problems import Problem, SignerGone
from authz.control.model.records import POLICY_LAYER
from authz.control.publish.one_layer import LayerPublisher, Published

if TYPE_CHECKING:
    from collections.abc import Callable

    from authz.control.config import ControlConfig
    from authz.control.publish.client import AsksSigner
    from authz.control.publish.lease import Lease
    from authz.control.publish.one_layer import Offering
    from authz.control.publish.order import Refused
    from authz.control.store.database import Store
    from authz.control.store.published.publications import Publication
    from authz.control.store.signals import Signals

LOOK: Final = 1.0  # seconds between looks, should no signal come
GATHER: Final = 0.005  # seconds after a signal: what comes together goes together
SPACING: Final = 0.08  # seconds between the beginnings of two files of a layer that changes wait for, at most
SHARE: Final = 2.0  # how many times as long as it takes to make a file the next one begins later
_LOG = logging.getLogger("authz.control.publish")


class Publisher:
    """Publishes all layers.

    Args:
        signer_of: Gives a layer's signer.
        prepare: Is called before the first layer is built.
        offer: See `Published`.
    """

    def __init__(
        self, config: ControlConfig, store: Store, signals: Signals, signer_of: Callable[[str], AsksSigner],
        lease: Lease, prepare: Callable[[], None] = lambda: None, offer: Offering = lambda *_: False,
    ) -> None:  # fmt: skip
        shared = Published(store, signals, config.refresh, offer)
        self._layers = [
            LayerPublisher(
                layer.name, layer.file, signer_of(layer.name), shared,
                prepare if layer.name == POLICY_LAYER else lambda: None,
            )
            for layer in config.layers
        ]  # fmt: skip
        self._lease = lease
        self._lock = threading.Lock()
        self._end = threading.Event()
        self._threads: list[threading.Thread] = []
        self._wakes = [threading.Event() for _ in self._layers]
        self.leading = False
        for layer, wake in zip(self._layers, self._wakes, strict=True):
            signals.on("changed", wake.set, layer=layer.layer)

    @property
    def problems(self) -> dict[str, Refused]:
        """By layer, why its newest changes are not published."""
        return {layer.layer: layer.problem for layer in self._layers if layer.problem is not None}

    @property
    def warnings(self) -> dict[str, tuple[str, ...]]:
        """By layer, what its newest file was warned of, such as a feed that broke."""
        return {layer.layer: layer.warnings for layer in self._layers}

    def start(self) -> None:
        """Begin to follow the store."""
        for layer, wake in zip(self._layers, self._wakes, strict=True):
            thread = threading.Thread(target=self._run, args=(layer, wake), name=f"publish {layer.layer}", daemon=True)
            self._threads.append(thread)
            thread.start()

    def close(self) -> None:
        """End: what is being published is finished first."""
        self._end.set()
        for wake in self._wakes:
            wake.set()
        for thread in self._threads:
            thread.join(30.0)
        for layer in self._layers:
            layer.close()
        self._lease.close()

    def publish_due(self) -> list[Publication]:
        """Publish every layer that has changes, or was signed long ago. Not while the threads run."""
        return [publication for layer in self._layers if (publication := layer.publish_due()) is not None]

    def lead(self) -> bool:
        """Return whether this control plane is the one that publishes, and fetches what the first layer needs."""
        with self._lock:
            self.leading = not self._end.is_set() and self._lease.held()
            return self.leading

    def _run(self, layer: LayerPublisher, wake: threading.Event) -> None:
        begun = apart = 0.0
        while not self._end.is_set():
            try:
                tried = time.monotonic()
                if self.lead() and layer.publish_due() is not None:
                    begun, apart = tried, spacing(time.monotonic() - tried)
                layer.note_outcome(None)
            except (Problem, SignerGone, OSError) as error:
                _LOG.warning("layer %s: cannot publish: %s", layer.layer, error)
                layer.note_outcome(error)
                self._end.wait(0.2)
            except Exception as error:  # noqa: BLE001  # a bug in authz must not stop the publisher
                _LOG.exception("layer %s: cannot publish", layer.layer)
                layer.note_outcome(error)
                self._end.wait(1.0)
            if wake.wait(LOOK):
                self._end.wait(max(GATHER, begun + apart - time.monotonic()))
                wake.clear()  # what is written from here on is signalled again


def spacing(took: float) -> float:
    """Return how long after the beginning of a file that took so long the next one may begin. Both: seconds."""
    return min(SPACING, SHARE * took)
