"""A real control plane."""

from __future__ import annotations

import http.client
import sys
from typing import TYPE_CHECKING

from benchmarks.processes import Child

if TYPE_CHECKING:
    from pathlib import Path


class ControlPlane(Child):
    """A real control plane over a folder of `authz control init`."""

    def __init__(self, folder: Path, url: str) -> None:
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
