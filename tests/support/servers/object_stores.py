"""Object stores that a test can start: a bucket of Google's, made here, and Azurite, where it is installed.

No emulator of Google's store in a package registry has its XML API with preconditions, which obstore speaks; so
`GoogleBucket` has the few requests of it that obstore makes for one object.
"""

from __future__ import annotations

import base64
import contextlib
import hashlib
import hmac
import http.server
import json
import os
import shutil
import threading
import urllib.error
import urllib.request
from email.utils import formatdate
from typing import TYPE_CHECKING, Final

import pytest

from support.processes import Process, free_port, wait_for

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

# The account that Azurite and its documentation have: of no use anywhere else.
_ACCOUNT: Final = "devstoreaccount1"
_ACCOUNT_KEY: Final = "Eby8vdM02xNOcqFlqUwJPLlmEtlCDXJ1OUzFT50uSRZ6IFsuFq2UVErCz4I6tq/K1SZFPTOtr/KBHBeksoGMGw=="


class GoogleBucket:
    """Buckets by the XML API of Google Cloud Storage: GET, HEAD and PUT of an object.

    A PUT with `x-goog-if-generation-match: N` is done only over generation N, 0: where nothing is; else the answer is
    412 (https://cloud.google.com/storage/docs/xml-api/reference-headers). A precondition by entity tag is none of a PUT
    there, so it is answered by 400.

    Attributes:
        objects: Generation and content, by path, such as `/lists/policy.snapshot`.
        conditions: `x-goog-if-generation-match` of each PUT.
    """

    def __init__(self) -> None:
        self.objects: dict[str, tuple[int, bytes]] = {}
        self.conditions: list[str] = []
        self._generations = 0
        self._lock = threading.Lock()

    def put(self, path: str, content: bytes) -> None:
        """Put an object where it may stand already."""
        with self._lock:
            self._generations += 1
            self.objects[path] = self._generations, content

    def answer_put(self, path: str, headers: dict[str, str], content: bytes) -> tuple[int, dict[str, str]]:
        """Return status and headers."""
        condition = headers.get("x-goog-if-generation-match", "")
        self.conditions.append(condition)
        if "if-match" in headers or "if-none-match" in headers:
            return 400, {}
        with self._lock:
            generation, _ = self.objects.get(path, (0, b""))
        if condition and int(condition) != generation:
            return 412, {}
        self.put(path, content)
        return 200, self._headers(path)

    def answer_get(self, path: str, headers: dict[str, str]) -> tuple[int, dict[str, str], bytes]:
        """Return status, headers and body."""
        if path not in self.objects:
            return 404, {}, b""
        _, content = self.objects[path]
        described = self._headers(path)
        if headers.get("if-none-match") == described["ETag"]:
            return 304, described, b""
        if "range" in headers:
            first, _, last = headers["range"].removeprefix("bytes=").partition("-")
            part = content[int(first) : int(last) + 1]
            end = int(first) + len(part) - 1
            return 206, described | {"Content-Range": f"bytes {first}-{end}/{len(content)}"}, part
        return 200, described, content

    def _headers(self, path: str) -> dict[str, str]:
        generation, content = self.objects[path]
        tag = hashlib.md5(content).hexdigest()  # as that store makes it
        return {"ETag": f'"{tag}"', "x-goog-generation": str(generation), "Last-Modified": formatdate(usegmt=True)}


@contextlib.contextmanager
def google(folder: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[GoogleBucket]:
    """Serve buckets, and have the environment name them as Google's."""
    bucket = GoogleBucket()

    class Handler(http.server.BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"

        def do_PUT(self) -> None:
            content = self.rfile.read(int(self.headers.get("Content-Length", "0")))
            self.reply(*bucket.answer_put(self.path, self.asked(), content))

        def do_GET(self) -> None:
            self.reply(*bucket.answer_get(self.path, self.asked()))

        do_HEAD = do_GET  # noqa: N815  # the name that http.server calls

        def asked(self) -> dict[str, str]:
            return {name.lower(): value for name, value in self.headers.items()}

        def reply(self, status: int, headers: dict[str, str], body: bytes = b"") -> None:
            self.send_response(status)
            for name, value in (headers | {"Content-Length": str(len(body))}).items():
                self.send_header(name, value)
            self.end_headers()
            if self.command != "HEAD":
                self.wfile.write(body)

        def log_message(self, *_: object) -> None:
            """Say nothing."""

    server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    thread = threading.Thread(target=server.serve_forever, args=(0.02,))
    thread.start()
    account = {"gcs_base_url": f"http://127.0.0.1:{server.server_port}", "disable_oauth": True, "client_email": "",
               "private_key": "", "private_key_id": ""}  # fmt: skip
    (folder / "google.json").write_text(json.dumps(account))
    monkeypatch.setenv("GOOGLE_SERVICE_ACCOUNT", str(folder / "google.json"))
    try:
        yield bucket
    finally:
        server.shutdown()
        server.server_close()
        thread.join()


@contextlib.contextmanager
def azurite(folder: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """Run Azurite with a container `lists`, and have the environment name it as Azure's.

    Skips the test where it is not installed: `npm install azurite`, with its `azurite-blob` in the PATH or named by
    AZURITE_BLOB.
    """
    program = os.environ.get("AZURITE_BLOB") or shutil.which("azurite-blob")
    if program is None:
        pytest.skip("needs azurite-blob (npm install azurite), which plays Azure's store")
    port = free_port()
    command = [program, "--blobHost", "127.0.0.1", "--blobPort", str(port), "--inMemoryPersistence", "--silent",
               "--disableTelemetry", "--skipApiVersionCheck"]  # fmt: skip
    with Process(command, cwd=folder):
        endpoint = f"http://127.0.0.1:{port}"
        wait_for(lambda: _make_container(endpoint, "lists"), "azurite answers")
        for name, value in (("STORAGE_USE_EMULATOR", "true"), ("STORAGE_ACCOUNT_NAME", _ACCOUNT),
                            ("STORAGE_ACCOUNT_KEY", _ACCOUNT_KEY)):  # fmt: skip
            monkeypatch.setenv(f"AZURE_{name}", value)
        monkeypatch.setenv("AZURITE_BLOB_STORAGE_URL", endpoint)
        yield


def _make_container(endpoint: str, name: str) -> bool:
    """Make a container, by a request that is signed with the account's key (Authorize with Shared Key)."""
    path, date, version = f"/{_ACCOUNT}/{name}", formatdate(usegmt=True), "2021-08-06"
    headers = {"x-ms-date": date, "x-ms-version": version, "Content-Length": "0"}
    signed = f"PUT{chr(10) * 12}x-ms-date:{date}\nx-ms-version:{version}\n/{_ACCOUNT}{path}\nrestype:container"
    digest = hmac.digest(base64.b64decode(_ACCOUNT_KEY), signed.encode(), "sha256")
    headers["Authorization"] = f"SharedKey {_ACCOUNT}:{base64.b64encode(digest).decode()}"
    request = urllib.request.Request(f"{endpoint}{path}?restype=container", None, headers, method="PUT")
    try:
        with urllib.request.urlopen(request, timeout=20) as answer:
            return bool(answer.status == 201)
    except urllib.error.HTTPError as error:
        raise AssertionError(f"{error.code}: {error.read()!r}") from error
