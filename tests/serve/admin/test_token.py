"""The token of the admin listener."""

from __future__ import annotations

import os
import socket
from pathlib import Path
from typing import TYPE_CHECKING

import pytest
from support.processes import PATIENCE, Sidecar
from support.sidecar.fronts import HttpClient
from support.sidecar.running import config, get

from authz.errors import StartError
from authz.serve.admin.token import read_token

if TYPE_CHECKING:
    from support.publishing.publisher import Publisher

TOKEN = "a-token-of-32-characters-at-least"


def test_pages_want_the_token_and_probes_do_not(publisher: Publisher) -> None:
    publisher.publish()
    (publisher.folder / "token").write_text(f"{TOKEN}\n")
    text = config().replace('admin: {listen: "127.0.0.1:0"', 'admin: {listen: "127.0.0.1:0", token_file: token')
    with Sidecar(publisher.folder, text) as sidecar:
        port = sidecar.ports["admin"]
        for page in ("/metrics", "/snapshot", "/decisions", "/explain?address=192.0.2.1"):
            answer = get(port, page)
            assert (answer.status, answer.headers["www-authenticate"]) == (401, "Bearer")
            for wrong in (f"Bearer {TOKEN}x", f"Bearer{TOKEN}", f"Basic {TOKEN}", TOKEN, "Bearer ", "Basic YTpi"):
                with socket.create_connection(("127.0.0.1", port), timeout=PATIENCE) as connection:
                    assert HttpClient(connection).ask(page, f"Authorization: {wrong}").status == 401
            with socket.create_connection(("127.0.0.1", port), timeout=PATIENCE) as connection:
                client = HttpClient(connection)
                for scheme in ("Bearer", "bearer"):
                    assert client.ask(page, f"Authorization: {scheme} {TOKEN}").status == 200
        assert [get(port, probe).status for probe in ("/livez", "/readyz")] == [200, 200]
        assert "access-control" not in str(get(port, "/livez").headers)
        assert TOKEN not in sidecar.output
        environment = Path(f"/proc/{sidecar.pid}/cmdline").read_bytes()
        assert TOKEN.encode() not in environment


@pytest.mark.parametrize("content", [b"", b"short", b"two words of a token", b"\xff" * 20, b"x" * 600])
def test_a_file_without_a_token_ends_the_start_and_is_not_shown(tmp_path: Path, content: bytes) -> None:
    path = tmp_path / "token"
    path.write_bytes(content)
    with pytest.raises(StartError) as caught:
        read_token(str(path))
    assert "admin.token_file" in caught.value.message
    assert not content or content.decode("latin-1") not in caught.value.message
    with pytest.raises(StartError, match="No such file"):
        read_token(os.fspath(tmp_path / "none"))
