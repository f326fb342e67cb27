"""Clients that may connect no more while they are connected: revoked, expired, without name or authority."""

from __future__ import annotations

import contextlib
import time
from typing import TYPE_CHECKING

import pytest
from support.processes import wait_for
from support.servers.certificates import Authority
from support.sidecar.fronts import HttpClient
from support.sidecar.http2 import GOAWAY, PING, PREFACE, frame, read_frames, settings
from support.sidecar.running import ALLOWED, get
from support.sidecar.secured import SPIFFE, ended

if TYPE_CHECKING:
    import ssl
    from collections.abc import Callable, Iterator
    from pathlib import Path

    from support.sidecar.secured import Sides

CA = ", client_ca: authority.ca.pem"
AUTH = "/v1/auth"
FORWARDED = f"X-Forwarded-For: {ALLOWED}"


@contextlib.contextmanager
def asking(made: Sides, client: tuple[Path, Path]) -> Iterator[tuple[ssl.SSLSocket, HttpClient]]:
    """Give a connection over which a first request was answered."""
    with made.connect(context=made.context(client)) as secure:
        asker = HttpClient(secure)
        assert asker.ask(AUTH, FORWARDED).status == 200
        yield secure, asker


def goodbye(secure: ssl.SSLSocket, *, busy: bool = False) -> list[int]:
    """Return the last streams that GOAWAYs name until a connection ends. busy: it is used all the time."""
    data = b""
    with contextlib.suppress(OSError):
        while more := secure.recv(65536):
            data += more
            assert len(data) < 10_000, "it goes on"
            if busy:
                time.sleep(0.02)
                with contextlib.suppress(OSError):  # it has ended meanwhile: what was said before is still to be read
                    secure.sendall(frame(PING, 0, 0, bytes(8)))
    return [int.from_bytes(sent.payload[:4], "big") for sent in read_frames(data)[0] if sent.kind == GOAWAY]


def reloads(made: Sides, number: int) -> None:
    """Wait until the files of both fronts were read again so often."""
    wait_for(lambda: made.sidecar.output.count("the certificates were read again") == 2 * number)


def test_a_revoked_client_is_disconnected_and_another_one_stays(sides: Callable[..., Sides], tmp_path: Path) -> None:
    """A leaked key is gone with a SIGHUP: on both fronts, with its sessions."""
    made = sides(CA)
    other = made.authority.issue("other", "127.0.0.1", "other.example.com")
    lists = tmp_path / "revoked.pem"
    lists.write_bytes(made.authority.revoke())
    made.reload(CA + ", client_crl: revoked.pem")
    reloads(made, 1)
    context = made.context(made.envoy)
    with (
        asking(made, made.envoy) as (revoked, _),
        asking(made, other) as (_, stays),
        made.connect("grpc", context) as caller,
        made.connect("grpc", context) as busy,
        made.connect("grpc", made.context(other)) as other_caller,
        made.connect(context=context) as first,
    ):
        assert HttpClient(first).ask(AUTH, FORWARDED).status == 200
        session = first.session
        for secure in (caller, busy, other_caller):
            secure.sendall(PREFACE + settings())
        lists.write_bytes(made.authority.revoke(made.envoy[0]))
        made.reload()
        assert ended(revoked)
        assert goodbye(busy, busy=True)[0] == 2**31 - 1
        assert goodbye(caller) == [2**31 - 1, 0]
        assert stays.ask(AUTH, FORWARDED).status == 200
        other_caller.settimeout(0.05)
        assert goodbye(other_caller) == []  # no end either, within that time
    assert made.status(made.envoy) == 0
    with pytest.raises((OSError, AssertionError)), made.connect(context=context, session=session) as again:
        HttpClient(again).ask(AUTH, FORWARDED)
    assert made.status(other) == 200
    assert made.handshakes()["revoked"] == 2
    assert "http: 2 connections end: their clients may connect no more" in made.sidecar.output
    assert 'authz_tls_crl_expires_seconds{listener="http"}' in page(made)


def page(made: Sides) -> str:
    return get(made.sidecar.ports["admin"], "/metrics").body.decode()


def test_a_client_whose_name_was_removed_is_disconnected(sides: Callable[..., Sides]) -> None:
    made = sides(f'{CA}, clients: [other.example.com, "{SPIFFE}"]')
    other = made.authority.issue("other", "127.0.0.1", "other.example.com")
    with asking(made, made.envoy) as (removed, _), asking(made, other) as (_, stays):
        made.reload(f"{CA}, clients: [other.example.com]")
        assert ended(removed)
        assert stays.ask(AUTH, FORWARDED).status == 200
    assert made.status(made.envoy) == 0
    assert "takes effect at a restart" not in made.sidecar.output


def test_a_client_whose_authority_was_removed_is_disconnected_however_busy_it_is(
    sides: Callable[..., Sides], tmp_path: Path
) -> None:
    (tmp_path / "both.pem").write_bytes(Authority(tmp_path, "unused").path.read_bytes())
    made = sides(", client_ca: both.pem")
    own, strangers = made.authority.path.read_bytes(), (tmp_path / "strangers.ca.pem").read_bytes()
    (tmp_path / "both.pem").write_bytes(own + strangers)
    made.reload()
    reloads(made, 1)
    with asking(made, made.stranger) as (_, busy), asking(made, made.envoy) as (_, stays):
        (tmp_path / "both.pem").write_bytes(own)
        made.reload()
        with contextlib.suppress(OSError, AssertionError):
            while busy.ask(AUTH, FORWARDED).headers.get("connection") != "close":
                pass
            assert busy.rest() == b""
        with pytest.raises((OSError, AssertionError)):
            busy.ask(AUTH, FORWARDED)
        assert stays.ask(AUTH, FORWARDED).status == 200
    assert made.status(made.stranger) == 0


def test_a_change_that_changes_nothing_about_clients_ends_no_connection(sides: Callable[..., Sides]) -> None:
    made = sides(CA)
    with asking(made, made.envoy) as (secure, stays):
        for number, more in enumerate(("# a comment\n", Authority(made.folder, "added").path.read_text()), 1):
            with made.authority.path.open("a") as file:
                file.write(more)
            made.authority.issue("server", "127.0.0.1")
            made.reload()
            reloads(made, number)
            assert stays.ask(AUTH, FORWARDED).headers.get("connection") != "close"
        secure.settimeout(1.2)
        with pytest.raises(TimeoutError):
            secure.recv(1)
    assert "connections end" not in made.sidecar.output


def test_a_client_without_a_certificate_is_disconnected_once_one_is_wanted(sides: Callable[..., Sides]) -> None:
    made = sides()
    with made.connect() as secure:
        assert HttpClient(secure).ask(AUTH, FORWARDED).status == 200
        made.reload(CA)
        assert ended(secure)
    assert (made.status(), made.status(made.envoy)) == (0, 200)


def test_a_list_that_cannot_be_used_changes_nothing(sides: Callable[..., Sides], tmp_path: Path) -> None:
    (tmp_path / "revoked.pem").write_bytes(b"")
    made = sides(CA)
    (tmp_path / "revoked.pem").write_bytes(made.authority.revoke())
    made.reload(CA + ", client_crl: revoked.pem")
    reloads(made, 1)
    with asking(made, made.envoy) as (_, stays):
        (tmp_path / "revoked.pem").write_bytes(made.authority.revoke(made.envoy[0], seconds=-1))
        made.reload()
        made.sidecar.wait_for_line("the certificates stay as they were: http.tls: .*revoked.pem: .* that expired at")
        assert stays.ask(AUTH, FORWARDED).status == 200
        assert made.status(made.envoy) == 200
    assert 'authz_tls_reloads_total{listener="http",result="refused"} 1.0' in page(made)
