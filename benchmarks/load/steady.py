"""Requests at a fixed rate in the background, for as long as something else is done, and what became of them."""

from __future__ import annotations

import tempfile
import threading
from pathlib import Path
from typing import TYPE_CHECKING, Final, Self

from benchmarks.load.paced import paced
from benchmarks.load.reload_traffic import read_series

if TYPE_CHECKING:
    from collections.abc import Sequence
    from types import TracebackType

    from benchmarks.load.reload_traffic import Line

_RUN: Final = 10.0  # seconds; connections are opened anew for each run
_WARM_UP: Final = 0.3  # seconds of each run that are not looked at


class Steady:
    """Sends while a `with` block lasts. requests: all, once it has ended.

    url: of what is asked. rate: requests a second. headers: of which a request has one, in turn. run: seconds after
    which connections are opened anew; the block ends with a whole run.
    """

    def __init__(self, url: str, rate: float, headers: Sequence[tuple[str, str]], run: float = _RUN) -> None:
        self._url, self._rate, self._headers, self._seconds = url, rate, headers, run
        self._over = threading.Event()
        self._failed: Exception | None = None
        self._thread = threading.Thread(target=self._send)
        self.requests: list[Line] = []

    def __enter__(self) -> Self:
        self._thread.start()
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, _: TracebackType | None) -> None:
        self._over.set()
        self._thread.join()
        if self._failed is not None and error is None:
            raise self._failed

    def _send(self) -> None:
        try:
            while not self._over.is_set():
                with tempfile.NamedTemporaryFile() as file:
                    series = Path(file.name)
                    paced(self._url, self._rate, self._seconds, in_turn=self._headers, series=series, urgent=True)
                    lines = read_series(series)
                first = lines[0].due + int(_WARM_UP * 1e9)
                self.requests += [line for line in lines if line.due >= first]
        except Exception as error:  # noqa: BLE001  # raised where the block ends
            self._failed = error
