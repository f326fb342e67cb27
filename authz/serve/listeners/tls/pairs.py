"""A certificate of ours and its key: what OpenSSL takes without a word, and what somebody should be told.

Nobody who checks a certificate connects where it has expired, or is not valid yet; and whoever may read its key can
pretend to be us.
"""

from __future__ import annotations

import stat
from pathlib import Path
from typing import TYPE_CHECKING, Final, NamedTuple

from cryptography import x509
from cryptography.hazmat.primitives.serialization import Encoding

from authz.times import format_moment

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator

_OF_OTHERS: Final = {stat.S_IROTH: "read", stat.S_IWOTH: "replace"}  # what a bit lets every user do


class OwnCertificate(NamedTuple):
    """The certificate that we show: the first of its file.

    Attributes:
        der: All of it.
        begins: When it begins to be valid, in seconds since 1970.
        expires: When it expires.
    """

    der: bytes
    begins: float
    expires: float

    def problem(self, now: float) -> str:
        """Return what is wrong with its time; "" while it is valid. now: seconds since 1970."""
        if now > self.expires:
            return f"found a certificate that expired at {format_moment(self.expires)}, expected one that is valid"
        if now < self.begins:
            return f"found a certificate that begins at {format_moment(self.begins)}, expected one that is valid"
        return ""


def read_certificate(path: str) -> OwnCertificate:
    """Return the first certificate of a PEM file; the chain behind it may have parts that nobody needs. Blocks.

    Raises:
        OSError: The file cannot be read.
        ValueError: It has no certificate.
    """
    certificate = x509.load_pem_x509_certificate(Path(path).read_bytes())
    begins, expires = certificate.not_valid_before_utc.timestamp(), certificate.not_valid_after_utc.timestamp()
    return OwnCertificate(certificate.public_bytes(Encoding.DER), begins, expires)


def key_problem(path: str) -> str:
    """Return what is wrong with the mode of a key's file; "" where only its owner and its group can use it. Blocks.

    Raises:
        OSError: There is no such file.
    """
    mode = stat.S_IMODE(Path(path).stat().st_mode)
    others = " and ".join(verb for bit, verb in _OF_OTHERS.items() if mode & bit)
    return f"found the mode {mode:o}, expected 600 or 640: every user of this machine can {others} it" if others else ""


def concerns(files: Iterable[tuple[str, str]], now: float) -> Iterator[tuple[str, str]]:
    """Yield what somebody should be told of certificates and keys, each with the key of the configuration. Blocks.

    Args:
        files: Keys of the configuration and files, of which those at `certificate` and `key` are looked at. One that
            cannot be read is left to whoever needs it.
        now: Seconds since 1970.
    """
    for where, path in files:
        kind = where.rpartition(".")[2]
        try:
            problem = ""
            if kind == "certificate":
                problem = read_certificate(path).problem(now)
            elif kind == "key":
                problem = key_problem(path)
        except (OSError, ValueError):
            continue
        if problem:
            yield where, f"{path}: {problem}"
