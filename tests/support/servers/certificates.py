"""Certificates for tests, of an authority of their own."""

from __future__ import annotations

import datetime as dt
import ipaddress
from typing import TYPE_CHECKING

from cryptography import x509
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.serialization import Encoding, NoEncryption, PrivateFormat
from cryptography.x509.oid import NameOID

if TYPE_CHECKING:
    from collections.abc import Sequence
    from pathlib import Path

    from cryptography.hazmat.primitives.asymmetric.ec import EllipticCurvePrivateKey


class Authority:
    """An authority whose certificate is at `path`."""

    def __init__(self, folder: Path, name: str) -> None:
        self._folder = folder
        self._name = _name(name)
        self._key = ec.generate_private_key(ec.SECP256R1())
        self.path = folder / f"{name}.ca.pem"
        self.path.write_bytes(self._sign(self._key, self._name, authority=True).public_bytes(Encoding.PEM))

    def issue(
        self, name: str, address: str, *names: str, seconds: float = 86400, begins: float = -86400
    ) -> tuple[Path, Path]:
        """Return the files of a certificate for an address and for names (of hosts, or URIs), and of its key.

        begins, seconds: from now to its begin and to its end.
        """
        key = ec.generate_private_key(ec.SECP256R1())
        certificate, private = self._folder / f"{name}.pem", self._folder / f"{name}.key.pem"
        signed = self._sign(key, _name(name), address=address, names=names, seconds=seconds, begins=begins)
        certificate.write_bytes(signed.public_bytes(Encoding.PEM))
        private.touch(0o600)
        private.write_bytes(key.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption()))
        return certificate, private

    def under(self, name: str) -> Authority:
        """Return an authority whose certificate is signed by this one."""
        other = Authority(self._folder, name)
        signed = self._sign(other._key, other._name, authority=True)
        other.path.write_bytes(signed.public_bytes(Encoding.PEM))
        return other

    def revoke(self, *certificates: Path, begins: float = -3600, seconds: float = 86400, delta: bool = False) -> bytes:
        """Return the list of these, which are ours, as PEM. begins, seconds: from now to its begin and to its end."""
        now = dt.datetime.now(dt.UTC)
        builder = x509.CertificateRevocationListBuilder().issuer_name(self._name)
        builder = builder.last_update(now + dt.timedelta(seconds=begins))
        builder = builder.next_update(now + dt.timedelta(seconds=seconds))
        for path in certificates:
            number = x509.load_pem_x509_certificate(path.read_bytes()).serial_number
            revoked = x509.RevokedCertificateBuilder().serial_number(number)
            builder = builder.add_revoked_certificate(revoked.revocation_date(now - dt.timedelta(hours=1)).build())
        if delta:
            builder = builder.add_extension(x509.DeltaCRLIndicator(1), critical=True)
        return builder.sign(self._key, hashes.SHA256()).public_bytes(Encoding.PEM)

    def _sign(
        self,
        key: EllipticCurvePrivateKey,
        subject: x509.Name,
        *,
        address: str = "",
        names: Sequence[str] = (),
        authority: bool = False,
        seconds: float = 86400,
        begins: float = -86400,
    ) -> x509.Certificate:
        now = dt.datetime.now(dt.UTC)
        public = key.public_key()
        builder = (
            x509.CertificateBuilder()
            .subject_name(subject)
            .issuer_name(self._name)
            .public_key(public)
            .serial_number(x509.random_serial_number())
            .not_valid_before(now + dt.timedelta(seconds=begins))
            .not_valid_after(now + dt.timedelta(seconds=seconds))
            .add_extension(x509.BasicConstraints(ca=authority, path_length=None), critical=True)
            .add_extension(x509.SubjectKeyIdentifier.from_public_key(public), critical=False)
            .add_extension(
                x509.AuthorityKeyIdentifier.from_issuer_public_key(self._key.public_key()), critical=False
            )
        )  # fmt: skip
        if address:
            others = [x509.UniformResourceIdentifier(n) if "://" in n else x509.DNSName(n) for n in names]
            alternative = x509.SubjectAlternativeName([x509.IPAddress(ipaddress.ip_address(address)), *others])
            builder = builder.add_extension(alternative, critical=False)
        return builder.sign(self._key, hashes.SHA256())


def _name(text: str) -> x509.Name:
    return x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, text)])
