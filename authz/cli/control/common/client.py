"""Asking a control plane: AUTHZ_CONTROL_URL says where it is, AUTHZ_TOKEN who asks."""

from __future__ import annotations

import contextlib
import http.client
import os
import ssl
import sys
from typing import TYPE_CHECKING, Any, TypeVar
from urllib.parse import quote, urlencode, urlsplit

import orjson

from authz.control.model.problems import Refused
from authz.errors import InputError, reason_of, shorten

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

T = TypeVar("T")
URL, TOKEN = "AUTHZ_CONTROL_URL", "AUTHZ_TOKEN"  # names of variables
CA, CERTIFICATE, KEY = "AUTHZ_CA", "AUTHZ_CERTIFICATE", "AUTHZ_KEY"  # the same, of files
_WRONG_NAME = {62, 64}  # X509_V_ERR_HOSTNAME_MISMATCH, X509_V_ERR_IP_ADDRESS_MISMATCH
_WRONG_TIME = {9, 10}  # X509_V_ERR_CERT_NOT_YET_VALID, X509_V_ERR_CERT_HAS_EXPIRED
PATIENCE = 90.0  # seconds: `--wait` takes up to 60
_PIECE = 1 << 20  # bytes


def is_configured() -> bool:
    """Return whether commands are to ask a control plane."""
    return bool(os.environ.get(URL))


def ask(
    method: str, path: str, body: object = None, *, headers: dict[str, str] | None = None, patience: float = PATIENCE,
    **query: Any,
) -> Any:  # fmt: skip
    """Ask the API, and return what it answers. patience: seconds. query: what is None is left out.

    Raises InputError if it cannot be reached, and Refused.
    """
    url, target = _target(path, query)
    sent = _headers() | (headers or {})
    content = None
    if body is not None:
        content = orjson.dumps(body)
        sent["Content-Type"] = "application/json"
    status, answer = _send(url, method, target, content, sent, patience)
    if status >= 400:
        raise _refused(url, status, answer)
    return answer


def _refused(url: str, status: int, answer: Any) -> InputError:
    """Return the error for a refusal: of a control plane, which says why, or of another server."""
    if isinstance(answer, dict) and "code" in answer:
        return Refused(status, answer)
    return InputError(f"{shorten(url)}: answered {status}, not as a control plane", hint=f"is it the right {URL}?")


def all_pages(path: str, most: int | None = None, **query: Any) -> list[dict[str, Any]]:
    """Return the items of all pages, or the first ones. most: how many; None: all."""
    items: list[dict[str, Any]] = []
    cursor = None
    while True:
        room = 1000 if most is None else min(1000, most - len(items))
        page = ask("GET", path, cursor=cursor, limit=room, **query)
        items += page["items"]
        cursor = page["cursor"]
        if cursor is None or (most is not None and len(items) >= most):
            return items


def download(path: str, **query: Any) -> Iterator[bytes]:
    """Ask the API for content, and give it piece by piece; it may be of any size. query: what is None is left out.

    Raises InputError if it cannot be reached or ends early, and Refused.
    """
    url, target = _target(path, query)
    try:
        with contextlib.closing(_connection(url)) as connection:
            connection.request("GET", target, headers=_headers())
            answer = connection.getresponse()
            if answer.status >= 400:
                raise _refused(url, answer.status, _decoded(url, answer.status, answer.read()))
            while piece := answer.read(_PIECE):
                yield piece
    except (OSError, ValueError, http.client.HTTPException) as error:
        raise InputError(f"{shorten(url)}: {reason_of(error)}", hint=_hint_of(error, url)) from error


def json_of(file: Path, kind: type[T]) -> T:
    """Return what a file has, as JSON; that of standard input for `-`. Raises InputError."""
    try:
        content = orjson.loads(sys.stdin.buffer.read() if str(file) == "-" else file.read_bytes())
    except (OSError, orjson.JSONDecodeError) as error:
        raise InputError(f"{file}: cannot be read as JSON: {error}") from error
    if not isinstance(content, kind):
        raise InputError(f"{file}: found {type(content).__name__}, expected {kind.__name__}")
    return content


def segment(text: str) -> str:
    """Return text as one segment of a path."""
    return quote(text, safe="")


def _target(path: str, query: dict[str, Any]) -> tuple[str, str]:
    """Return the URL of the control plane, and the target of a request to it."""
    url = os.environ.get(URL, "")
    if not url:
        raise InputError(f"{URL}: missing, expected the address of a control plane",
                         hint=f"export {URL}=http://127.0.0.1:9194 {TOKEN}=...")  # fmt: skip
    given = urlencode({name: value for name, value in query.items() if value is not None})
    return url, f"{urlsplit(url).path.rstrip('/')}{path}{'?' + given if given else ''}"


def _headers() -> dict[str, str]:
    return {"Authorization": f"Bearer {os.environ.get(TOKEN, '')}", "Authz-Method": "cli"}


def _send(
    url: str, method: str, target: str, content: bytes | None, headers: dict[str, str], patience: float
) -> tuple[int, Any]:  # fmt: skip
    try:
        with contextlib.closing(_connection(url, patience)) as connection:
            connection.request(method, target, body=content, headers=headers)
            answer = connection.getresponse()
            data = answer.read()
    except (OSError, ValueError, http.client.HTTPException) as error:
        raise InputError(f"{shorten(url)}: {reason_of(error)}", hint=_hint_of(error, url)) from error
    return answer.status, _decoded(url, answer.status, data)


def _hint_of(error: Exception, url: str) -> str:
    refused = isinstance(error, ConnectionResetError | BrokenPipeError) and urlsplit(url).scheme == "https"
    if refused or (isinstance(error, ssl.SSLError) and "ALERT" in (error.reason or "")):
        # It has told us why, or closed the connection: with TLS 1.3 we are connected before it reads a certificate.
        shown = os.environ.get(CERTIFICATE)
        return (
            f"if `tls` of its control.yaml has client_ca, it wants a certificate that it accepts in {CERTIFICATE}, and "
            f"the key in {KEY}: found {shown or 'none'}"
        )
    if not isinstance(error, ssl.SSLError):
        return "is the control plane running?"
    if isinstance(error, ssl.SSLCertVerificationError):
        return _hint_of_certificate(error.verify_code)
    if error.reason == "WRONG_VERSION_NUMBER":
        return "it does not speak TLS there: http:// instead of https://?"
    return "the control plane is there, and TLS with it fails"


def _hint_of_certificate(code: int) -> str:
    """Return what to do about a certificate of the control plane that is refused. code: OpenSSL's, of why."""
    if code in _WRONG_NAME:
        return f"{URL} must have a name or an address that the certificate of the control plane has"
    if code in _WRONG_TIME:
        return "give the control plane a new certificate, or correct the clock of this machine"
    ca = os.environ.get(CA)
    now = "it is not set, so the authorities of this system count" if ca is None else f"it is {ca}"
    return f"{CA} must name the PEM file of the authority that signed the certificate of the control plane: {now}"


def _connection(url: str, patience: float = PATIENCE) -> http.client.HTTPConnection:
    parts = urlsplit(url)
    if parts.scheme == "https":
        context = _context()
        return http.client.HTTPSConnection(parts.hostname or "", parts.port, timeout=patience, context=context)
    if parts.scheme == "http":
        return http.client.HTTPConnection(parts.hostname or "", parts.port, timeout=patience)
    raise InputError(f"{URL}: found '{shorten(url)}', expected http://HOST:PORT or https://HOST")


def _context() -> ssl.SSLContext:
    """Return what TLS needs, of the files that the variables name. Raises InputError if one of them cannot be used."""
    ca, certificate, key = map(os.environ.get, (CA, CERTIFICATE, KEY))
    try:
        context = ssl.create_default_context(cafile=ca)
    except OSError as error:
        raise InputError(
            f"{CA}: {ca}: {reason_of(error)}", hint="it is a PEM file of certificates of authorities"
        ) from error
    if certificate:
        try:
            context.load_cert_chain(certificate, key)  # without a key: in the same file
        except OSError as error:
            of_key = "" if key is None else f" with {KEY} {key}"
            raise InputError(
                f"{CERTIFICATE}: {certificate}{of_key}: {reason_of(error)}",
                hint="they are PEM files of a certificate and of its key; without AUTHZ_KEY one file has both",
            ) from error
    return context


def _decoded(url: str, status: int, data: bytes) -> Any:
    try:
        return orjson.loads(data or b"null")
    except orjson.JSONDecodeError as error:
        raise InputError(
            f"{shorten(url)}: found no JSON in the answer {status}", hint=f"is it the right {URL}?"
        ) from error
