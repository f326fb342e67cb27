"""Layers from Google's store and from Azure's: pushed under the same rules as elsewhere, and loaded."""

from __future__ import annotations

from contextlib import contextmanager
from typing import TYPE_CHECKING, Any

import pytest
from support.servers.object_stores import azurite, google
from support.sidecar.running import ALLOWED, HTTP_ONLY, NEW_POLICY, run, running, until

from authz.errors import InputError
from authz.publisher.push import place_of, push

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from contextlib import AbstractContextManager
    from pathlib import Path

    from support.publishing.publisher import Publisher

pytest.importorskip("obstore", reason="needs the extra stores")

STORES: dict[str, Callable[..., AbstractContextManager[Any]]] = {"gs": google, "az": azurite}


@contextmanager
def store(scheme: str, folder: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[tuple[str, Any]]:
    for name in ("http_proxy", "https_proxy", "HTTP_PROXY", "HTTPS_PROXY"):
        monkeypatch.delenv(name, raising=False)
    with STORES[scheme](folder, monkeypatch) as server:
        yield f"{scheme}://lists/edge/policy.snapshot", server


@pytest.mark.parametrize("scheme", STORES)
def test_a_file_is_pushed_and_pushed_over_and_an_older_one_is_refused(
    scheme: str, publisher: Publisher, monkeypatch: pytest.MonkeyPatch
) -> None:
    files = {serial: publisher.publish(serial=serial).read_bytes() for serial in (7, 8, 9)}
    with store(scheme, publisher.folder, monkeypatch) as (url, _):
        assert place_of(url).look() is None
        assert push(files[7], url) is None
        before = push(files[8], url)
        assert before is not None
        assert before.serial == 7
        with pytest.raises(InputError, match="has serial 8, found 7"):
            push(files[7], url)
        place = place_of(url)
        seen = place.look()
        push(files[9], url)
        for there in (None, seen):  # somebody else was quicker
            with pytest.raises(InputError, match="was changed by somebody else"):
                place.put(files[8], there)
        there = place.look()
        assert there is not None
        assert there.serial == 9


def test_google_is_told_the_generation_that_is_replaced(publisher: Publisher, monkeypatch: pytest.MonkeyPatch) -> None:
    files = {serial: publisher.publish(serial=serial).read_bytes() for serial in (7, 8)}
    with store("gs", publisher.folder, monkeypatch) as (url, bucket):
        push(files[7], url)
        push(files[8], url)
        assert bucket.conditions == ["0", "1"]
        assert list(bucket.objects.values()) == [(2, files[8])]


@pytest.mark.parametrize("scheme", STORES)
def test_a_layer_is_loaded_from_the_store_and_again_when_it_changes(
    scheme: str, publisher: Publisher, monkeypatch: pytest.MonkeyPatch
) -> None:
    with store(scheme, publisher.folder, monkeypatch) as (url, _):
        push(publisher.publish(serial=1).read_bytes(), url)
        config = f"layers: [{{name: policy, url: '{url}', trusted_keys: [keys/a.pub], poll: 20ms}}]\n" + HTTP_ONLY

        async def live() -> None:
            async with running(publisher.folder, config) as started:
                assert (started.serial, (await started.ask(ALLOWED)).status) == (1, 200)
                push(publisher.publish(NEW_POLICY, serial=2).read_bytes(), url)
                await until(lambda: started.serial == 2)
                assert (await started.ask(ALLOWED)).status == 403

        run(live())
