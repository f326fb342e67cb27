"""The signed envelope (DSSE, https://github.com/secure-systems-lab/dsse): its one JSON form, and its check.

{"payload":"CAESB...","payloadType":"application/vnd...","signatures":[{"keyid":"5a3c...","sig":"Zm9v..."}]}
"""

from __future__ import annotations

import binascii
import json
from typing import TYPE_CHECKING, NamedTuple, Protocol

from authz.errors import Refusal, SnapshotRefused, shorten
from authz.snapshot.cooperative import next_turn
from authz.snapshot.layout import MAX_SIGNATURE_BYTES, MAX_SIGNATURES, PAYLOAD_TYPE

if TYPE_CHECKING:
    from collections.abc import Sequence

    from authz.snapshot.signing.keys import PublicKey

_BEGIN = b'{"payload":"'  # of the canonical form, whose keys are sorted
_STEP = 1 << 17  # bytes of base64 text, a multiple of 4; some 0.3 ms


class Envelope(NamedTuple):
    """A payload and who signed it.

    Attributes:
        payload: A serialized Manifest.
        payload_type: Always `PAYLOAD_TYPE`.
        signatures: By the id of the key.
    """

    payload: bytes
    payload_type: str
    signatures: dict[str, bytes]

    def pae(self) -> bytes:
        """Return the bytes that are signed ("pre-authentication encoding")."""
        kind = self.payload_type.encode()
        return b"DSSEv1 %d %b %d %b" % (len(kind), kind, len(self.payload), self.payload)


class Signature(NamedTuple):
    """A signature in hexadecimal, and the id of the key that made it."""

    keyid: str
    signature: str


class SignatureLike(Protocol):
    """What a signer returns: a `Signature`, or securesystemslib's."""

    @property
    def keyid(self) -> str:
        """The id of the key."""

    @property
    def signature(self) -> str:
        """In hexadecimal."""


class Signer(Protocol):
    """Signs bytes: a key in a file, or one of securesystemslib's signers."""

    def sign(self, payload: bytes) -> SignatureLike:
        """Return the signature of some bytes."""


def sign_envelope(payload: bytes, signers: Sequence[Signer]) -> bytes:
    """Return the envelope of a serialized manifest, in its canonical form, signed by each signer."""
    envelope = Envelope(payload, PAYLOAD_TYPE, {})
    signatures = [signer.sign(envelope.pae()) for signer in signers]
    return canonical(
        envelope._replace(signatures={signature.keyid: bytes.fromhex(signature.signature) for signature in signatures})
    )


def canonical(envelope: Envelope) -> bytes:
    """Return the only form in which an envelope is accepted: sorted keys, no white space, ASCII."""
    signatures = [{"keyid": keyid, "sig": _base64(sig)} for keyid, sig in envelope.signatures.items()]
    content = {"payload": _base64(envelope.payload), "payloadType": envelope.payload_type, "signatures": signatures}
    return json.dumps(content, sort_keys=True, separators=(",", ":")).encode()


def _base64(data: bytes) -> str:
    return binascii.b2a_base64(data, newline=False).decode()


def parse_envelope(data: bytes | memoryview) -> Envelope:
    """Return the envelope.

    No signature is verified yet, so nothing is read that could grow: the one form begins with the payload as base64,
    which is cut out, and only the short rest goes through a JSON parser.

    Args:
        data: The bytes of the envelope.

    Raises:
        SnapshotRefused: `bad_envelope`: it does not have the one form.
    """
    data = memoryview(data)
    tail = max(len(data) - MAX_SIGNATURE_BYTES, len(_BEGIN))
    end = tail + bytes(data[tail:]).find(b'"')
    if data[: len(_BEGIN)] != _BEGIN or end < tail:
        raise SnapshotRefused(Refusal.BAD_ENVELOPE, "the envelope is not in its canonical form")
    try:
        short = _BEGIN + data[end:]
        written = json.loads(short)
        signatures = {
            _text(signature["keyid"]): binascii.a2b_base64(signature["sig"], strict_mode=True)
            for signature in written["signatures"]
        }
        envelope = Envelope(b"", _text(written["payloadType"]), signatures)
        same = canonical(envelope) == short  # not if there is anything else, or a key id twice
        envelope = envelope._replace(payload=_decoded(data[len(_BEGIN) : end]))
    except (ValueError, KeyError, TypeError, RecursionError) as error:
        raise SnapshotRefused(Refusal.BAD_ENVELOPE, f"the envelope is not DSSE: {type(error).__name__}") from error
    if not same:
        raise SnapshotRefused(Refusal.BAD_ENVELOPE, "the envelope is not in its canonical form")
    if envelope.payload_type != PAYLOAD_TYPE:
        kind = shorten(envelope.payload_type)
        raise SnapshotRefused(Refusal.BAD_ENVELOPE, found=f"the payload type '{kind}'", expected=f"'{PAYLOAD_TYPE}'")
    if len(signatures) > MAX_SIGNATURES:
        raise SnapshotRefused(
            Refusal.BAD_ENVELOPE, found=f"{len(signatures)} signatures", expected=f"at most {MAX_SIGNATURES}"
        )
    return envelope


def _text(value: object) -> str:
    if not isinstance(value, str):
        raise TypeError(type(value).__name__)
    return value


def _decoded(text: memoryview) -> bytes:
    """Return the bytes that base64 text stands for; raises ValueError if it is not the only text for them.

    In steps: in one, a text of megabytes would keep the interpreter, and every request, waiting for as long.
    """
    parts = []
    for start in range(0, len(text), _STEP):
        step = text[start : start + _STEP]
        part = binascii.a2b_base64(step, strict_mode=True)
        padded = len(part) % 3 and start + _STEP < len(text)
        if padded or binascii.b2a_base64(part, newline=False) != step:
            raise ValueError("not the canonical base64")
        parts.append(part)
        next_turn()
    return b"".join(parts)


def verify_envelope(envelope: Envelope, keys: Sequence[PublicKey], threshold: int) -> list[str]:
    """Check the signatures, and return the ids of the keys that signed.

    Args:
        envelope: The envelope.
        keys: The keys that are trusted.
        threshold: How many of them must have signed.

    Raises:
        SnapshotRefused: `unsigned`, `unknown_key`, `bad_signature` or `threshold_not_met`.
    """
    trusted = {key.keyid: key for key in keys}
    if threshold < 1 or len(trusted) < threshold:
        keys_there = "1 trusted key" if len(trusted) == 1 else f"{len(trusted)} trusted keys"
        raise SnapshotRefused(Refusal.THRESHOLD_NOT_MET, found=keys_there, expected=f"{max(threshold, 1)} or more")
    known = [trusted[keyid] for keyid in envelope.signatures if keyid in trusted]
    signed = envelope.pae()
    good = sorted(key.keyid for key in known if key.verifies(envelope.signatures[key.keyid], signed))
    if len(good) < threshold:
        raise _refused(envelope, trusted, known, good, threshold)
    return good


def _refused(
    envelope: Envelope, trusted: dict[str, PublicKey], known: list[PublicKey], good: list[str], threshold: int
) -> SnapshotRefused:
    if not envelope.signatures:
        return SnapshotRefused(Refusal.UNSIGNED, found="no signature", expected="one by a trusted key")
    if not known:
        signers = ", ".join(shorten(keyid)[:16] for keyid in envelope.signatures)
        return SnapshotRefused(
            Refusal.UNKNOWN_KEY,
            f"signed by {signers}, expected {', '.join(keyid[:16] for keyid in trusted)}",
            hint="add its publisher's .pub file to trusted_keys in authz.yaml, if you trust it",
        )
    if not good:
        message = f"the signature of {known[0].keyid[:16]} does not fit the manifest"
        return SnapshotRefused(Refusal.BAD_SIGNATURE, message)
    return SnapshotRefused(
        Refusal.THRESHOLD_NOT_MET, found=f"{len(good)} good signature{'s' * (len(good) > 1)}", expected=str(threshold)
    )
