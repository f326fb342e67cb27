"""All sources of a configuration, started and stopped together."""

from __future__ import annotations

import threading
from pathlib import Path
from typing import TYPE_CHECKING

from authz.control.detect.sources.feeder import Feeder
from authz.control.detect.sources.file import FollowedFile
from authz.control.detect.sources.syslog import Syslog
from authz.serve.config.values import Listen

if TYPE_CHECKING:
    from authz.control.detect.intake import Intake
    from authz.control.detect.sources.config import Sources
    from authz.control.detect.sources.envoy import EnvoyLogs


class RunningSources:
    """What feeds the intake.

    Args:
        folder: Where relative paths of files begin.
    """

    def __init__(self, sources: Sources, intake: Intake, folder: str) -> None:
        self._sources = sources
        self._intake = intake
        self._folder = Path(folder)
        self._ending = threading.Event()
        self.envoy: EnvoyLogs | None = None
        self.syslog: Syslog | None = None
        self._files: list[FollowedFile] = []
        self.feeders: dict[str, Feeder] = {}

    async def start(self) -> None:
        """Start all. Raises OSError or RuntimeError where a port is taken."""
        sources = self._sources
        if sources.envoy.listen != Listen():
            from authz.control.detect.sources.envoy import EnvoyLogs  # noqa: PLC0415  # gRPC only where it is wanted

            self.envoy = EnvoyLogs(sources.envoy, self._feeder("envoy"), self._ending)
            await self.envoy.start()
        if sources.syslog.listen != Listen():
            self.syslog = Syslog(sources.syslog.listen, self._feeder("syslog", sources.syslog.format))
            await self.syslog.start()
        for file in sources.files:
            followed = FollowedFile(self._folder / file.path, self._feeder(file.path, file.format))
            followed.start()
            self._files.append(followed)

    async def stop(self) -> None:
        """Stop all. A second call is harmless."""
        self._ending.set()
        for file in self._files:
            file.stop()
        if self.syslog is not None:
            await self.syslog.stop()
        if self.envoy is not None:
            await self.envoy.stop()

    def _feeder(self, name: str, log_format: str = "auto") -> Feeder:
        feeder = self.feeders[name] = Feeder(name, self._intake, log_format)
        return feeder
