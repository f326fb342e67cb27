"""A certificate of ours that is not valid now, and a key that others may read."""

from __future__ import annotations

import asyncio
import time
from types import SimpleNamespace
from typing import TYPE_CHECKING

import pytest
from support.servers.certificates import Authority
from support.sidecar.running import get, until

from authz.serve.http2.grpc_methods import Service
from authz.serve.http2.listener import Http2Listener
from authz.serve.listeners.budget import HeldBytes
from authz.serve.listeners.tls import certificates as certificates_module
from authz.serve.listeners.tls.certificates import Certificates
from authz.serve.listeners.tls.config import Tls
from authz.serve.listeners.tls.pairs import concerns, key_problem, read_certificate
from authz.serve.observe.metrics import Metrics

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    from support.sidecar.secured import Sides

EXPIRED = "found a certificate that expired at "
STAY = "the certificates stay as they were: "


class Kept:
    """The certificates of a listener, and the authority that issues them."""

    def __init__(self, folder: Path, **times: float) -> None:
        self.authority = Authority(folder, "authority")
        self.certificate, self.key = self.authority.issue("server", "127.0.0.1", **times)
        self.metrics = Metrics()
        self.certificates = self.of(Tls(certificate=str(self.certificate), key=str(self.key)))

    def of(self, tls: Tls) -> Certificates:
        return Certificates("http", tls, ["h2"], self.metrics, HeldBytes(), Http2Listener(Service({}, 1)))

    def replace(self, **times: float) -> None:
        """Write another pair over the one that is there."""
        self.authority.issue("server", "127.0.0.1", **times)


def test_an_expired_pair_replaces_no_valid_one(sides: Callable[..., Sides]) -> None:
    made = sides()
    made.authority.issue("server", "127.0.0.1", seconds=-60)
    made.reload()
    made.sidecar.wait_for_line(f"{STAY}http.tls: {made.certificate}: {EXPIRED}.*, expected one that is valid")
    assert made.status() == 200
    page = get(made.sidecar.ports["admin"], "/metrics").body.decode()
    assert 'authz_tls_reloads_total{listener="http",result="refused"} 1.0' in page
    made.authority.issue("server", "127.0.0.1")
    made.reload()
    made.sidecar.wait_for_line("http: the certificates were read again")
    assert made.status() == 200


@pytest.mark.parametrize(("times", "text"), [
    ({"seconds": -60}, EXPIRED), ({"begins": 3600}, "found a certificate that begins at "),
])  # fmt: skip
def test_a_start_with_a_pair_that_is_not_valid_serves_and_says_so(
    tmp_path: Path, caplog: pytest.LogCaptureFixture, times: dict[str, float], text: str
) -> None:
    kept = Kept(tmp_path, **times)
    kept.certificates.load()
    assert [record.levelname for record in caplog.records] == ["ERROR"]
    said = caplog.records[0].message
    assert said.startswith(f"http.tls: {kept.certificate}: {text}")
    assert said.endswith("expected one that is valid: clients that check it cannot connect")


def test_where_none_is_valid_the_same_one_stays_and_keeps_no_other_change_away(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    kept = Kept(tmp_path, seconds=-60)
    kept.certificates.load()
    tls = Tls(certificate=str(kept.certificate), key=str(kept.key), client_ca=str(kept.authority.path))
    assert asyncio.run(kept.certificates.reload(tls))
    assert kept.certificates.clients.source is not None
    assert [record.message for record in caplog.records if EXPIRED in record.message] == [caplog.messages[0]] * 2
    kept.replace(seconds=-30)
    assert not asyncio.run(kept.certificates.reload())
    kept.replace()
    assert asyncio.run(kept.certificates.reload())


def test_a_pair_that_is_not_valid_yet_is_used_once_it_is(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.setattr(certificates_module, "LOOK", 0.01)
    kept = Kept(tmp_path, seconds=7 * 86400)
    kept.certificates.load()
    first = kept.certificates.context

    async def live() -> None:
        watch = asyncio.get_running_loop().create_task(kept.certificates.watch())
        kept.replace(begins=3600)
        await until(lambda: STAY in caplog.text and "begins at" in caplog.text)
        for _ in range(5):  # it is not read at each look
            await asyncio.sleep(0.01)
        assert kept.certificates.context is first
        assert sum("begins at" in message for message in caplog.messages) == 1
        monkeypatch.setattr(certificates_module, "time", SimpleNamespace(time=lambda: time.time() + 7200))
        await until(lambda: kept.certificates.context is not first)
        watch.cancel()

    asyncio.run(live())


def test_a_certificate_that_expires_in_use_is_said_once(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.setattr(certificates_module, "LOOK", 0.01)
    kept = Kept(tmp_path)
    kept.certificates.load()
    assert caplog.messages == []
    looks: list[float] = []

    def later() -> float:
        looks.append(time.time() + 2e5)
        return looks[-1]

    monkeypatch.setattr(certificates_module, "time", SimpleNamespace(time=later))

    async def live() -> None:
        watch = asyncio.get_running_loop().create_task(kept.certificates.watch())
        await until(lambda: len(looks) > 10)
        watch.cancel()

    asyncio.run(live())
    assert [message.partition(" at ")[0] for message in caplog.messages] == [
        f"http.tls: {kept.certificate}: {EXPIRED.removesuffix(' at ')}"
    ]


@pytest.mark.parametrize(("mode", "others"), [
    (0o600, ""), (0o640, ""), (0o644, "read"), (0o602, "replace"), (0o666, "read and replace"),
])  # fmt: skip
def test_a_key_that_others_may_use_is_said(
    tmp_path: Path, caplog: pytest.LogCaptureFixture, mode: int, others: str
) -> None:
    kept = Kept(tmp_path)
    kept.key.chmod(mode)
    text = f"found the mode {mode:o}, expected 600 or 640: every user of this machine can {others} it" if others else ""
    assert key_problem(str(kept.key)) == text
    kept.certificates.load()
    assert caplog.messages == ([f"http.tls: {kept.key}: {text}"] if text else [])


def test_files_that_cannot_be_read_are_left_to_those_who_need_them(tmp_path: Path) -> None:
    (tmp_path / "a.pem").write_text("no certificate")
    names = [("http.tls.certificate", "a.pem"), ("http.tls.certificate", "no.pem"), ("http.tls.key", "no.key.pem")]
    assert list(concerns([(key, str(tmp_path / name)) for key, name in names], time.time())) == []


def test_the_first_certificate_of_a_file_counts(tmp_path: Path) -> None:
    kept, other = Kept(tmp_path), Authority(tmp_path, "other").issue("old", "127.0.0.1", seconds=-60)[0]
    own = read_certificate(str(kept.certificate))
    kept.certificate.write_bytes(kept.certificate.read_bytes() + other.read_bytes())
    assert read_certificate(str(kept.certificate)) == own
