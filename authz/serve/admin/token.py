"""The token that the admin listener may want: whoever asks shows it as `Authorization: Bearer TOKEN` (RFC 6750)."""

from __future__ import annotations

import hmac
import re
from pathlib import Path
from typing import TYPE_CHECKING, Final

from authz.errors import StartError
from authz.serve.http1.messages import Answer, plain_answer, status_line

if TYPE_CHECKING:
    from authz.serve.http1.messages import RequestHead

AUTHORIZATION: Final = b"authorization"
_TOKEN: Final = re.compile(r"[!-~]{16,512}")


def read_token(path: str) -> str:
    """Return the token in a file. Blocks.

    Args:
        path: The file.

    Raises:
        StartError: The file cannot be read, or has no token. The error does not say what is in it.
    """
    try:
        token = Path(path).read_text(encoding="ascii").strip()
    except (OSError, ValueError) as error:
        what = error.strerror if isinstance(error, OSError) else "expected ASCII"
        raise StartError(f"admin.token_file: {path}: {what}") from error
    if not _TOKEN.fullmatch(token):
        raise StartError(f"admin.token_file: {path}: expected one token of 16 to 512 printable ASCII characters")
    return token


def refusal(head: RequestHead, token: str) -> Answer | None:
    """Return the answer to a request that does not show the token; None if it does. token: "" for none."""
    if not token:
        return None
    shown = head.headers.get(AUTHORIZATION, [])
    scheme, _, secret = shown[0].partition(b" ") if len(shown) == 1 else (b"", b"", b"")
    # The name of a scheme may be in capitals or not (RFC 9110, 11.1).
    if scheme.lower() == b"bearer" and hmac.compare_digest(secret.lstrip(b" "), token.encode()):
        return None
    plain = plain_answer(401, b"401: show the token of admin.token_file: Authorization: Bearer TOKEN\n")
    line = len(status_line(401))
    return Answer(plain.head[:line] + b"WWW-Authenticate: Bearer\r\n" + plain.head[line:], plain.body)
