"""A real control plane."""

from __future__ import annotations

import http.client
import sys
from typing import TYPE_CHECKING

from benchmarks.processes import Child

if TYPE_CHECKING:
    from pathlib import Path

RATE = 1_000_000  # requests a second that a token may ask: one asker with one token is the load here


def take_the_rate_off(folder: Path) -> None:
    """Let one token ask as fast as it can. folder: of `authz control init`."""
    config = folder / "control.yaml"
    text = config.read_text()
    if "\nrate:" not in text:
        config.write_text(f"{text}rate: {RATE}\n")


class ControlPlane(Child):
    """A real control plane over a folder of `authz control init`."""

    def __init__(self, folder: Path, url: str) -> None:
        take_the_rate_off(folder)
        super().__init__(folder, [sys.executable, "-m", "authz", "control", "serve", "--config", "control.yaml"])
        self._host = url.removeprefix("http://")
        self.wait_until(self._ready)

    def _ready(self) -> bool | None:
        connection = http.client.HTTPConnection(self._host, timeout=5.0)
        try:
            connection.request("GET", "/livez")
            return connection.getresponse().status == http.client.OK or None
        except OSError:
            return None
        finally:
            connection.close()

    def check(self) -> None:
        """Raise RuntimeError where it has ended."""
        if self.popen.poll() is not None:
            raise RuntimeError(f"the control plane ended: {self.output[-2000:]}")
