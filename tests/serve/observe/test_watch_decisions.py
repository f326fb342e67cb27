"""The latest decisions are kept while somebody looks, and cost nothing while nobody does."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING

from support.sidecar.fronts import Fronts

from authz.engine.request.request import Request
from authz.serve.observe import watch as watching
from authz.serve.observe.metrics import Metrics
from authz.serve.observe.recorder import Recorder
from authz.serve.observe.watch import Watch

if TYPE_CHECKING:
    import pytest
    from support.publishing.publisher import Publisher


def test_decisions_are_kept_from_one_look_to_the_next_and_no_longer(
    publisher: Publisher, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(watching, "PATIENCE", 0.05)
    decider = Fronts(publisher).decider
    recorder = Recorder("grpc", Metrics(), ())

    async def run() -> list[int]:
        watch, counts = Watch(), []
        watch.add(recorder)

        def decide(times: int) -> None:
            for _ in range(times):
                recorder.record(decider.decide(Request("192.0.2.7"), 0.0), "192.0.2.7", 0.0)

        decide(1)
        counts.append(len(watch.look()))
        decide(2)
        kept = watch.look()
        assert {decision["client"] for decision in kept} == {"192.0.2.7"}
        counts.append(len(kept))
        decide(watching.MAX_KEPT + 5)
        counts.append(len(watch.look()))
        await asyncio.sleep(0.2)
        assert "record" not in vars(recorder)
        decide(3)
        counts.append(len(watch.look()))
        await asyncio.sleep(0.2)
        return counts

    assert asyncio.run(run()) == [0, 2, watching.MAX_KEPT, 0]
