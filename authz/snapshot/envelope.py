"""The signed envelope (DSSE, https://github.com/secure-systems-lab/dsse): its one JSON form, and its check."""

from __future__ import annotations

import binascii
import json
from typing import TYPE_CHECKING

from securesystemslib.dsse import Envelope
from securesystemslib.exceptions import UnverifiedSignatureError, VerificationError

from authz.errors import Refusal, SnapshotRefused, shorten
from authz.snapshot.cooperative import next_turn
from authz.snapshot.layout import MAX_SIGNATURE_BYTES, MAX_SIGNATURES, PAYLOAD_TYPE

if TYPE_CHECKING:
    from collections.abc import Sequence

    from securesystemslib.signer import Key

_BEGIN = b'{"payload":"'  # of the canonical form, whose keys are sorted
_STEP = 1 << 17  # bytes of base64 text, a multiple of 4; some 0.3 ms


def canonical(envelope: Envelope) -> bytes:
    """Return the only form in which an envelope is accepted: sorted keys, no white space, ASCII."""
    return json.dumps(envelope.to_dict(), sort_keys=True, separators=(",", ":")).encode()


def parse_envelope(data: bytes | memoryview) -> Envelope:
    """Return the envelope; raises SnapshotRefused(`bad_envelope`).

    Nothing is signed well yet, so nothing is read that could grow: the one form begins with the payload as base64,
    which is cut out, and only the short rest goes through a JSON parser.
    """
    data = memoryview(data)
    tail = max(len(data) - MAX_SIGNATURE_BYTES, len(_BEGIN))
    end = tail + bytes(data[tail:]).find(b'"')
    if data[: len(_BEGIN)] != _BEGIN or end < tail:
        raise SnapshotRefused(Refusal.BAD_ENVELOPE, "the envelope is not in its canonical form")
    try:
        short = _BEGIN + data[end:]
        envelope = Envelope.from_dict(json.loads(short))
        same = canonical(envelope) == short
        envelope.payload = _decoded(data[len(_BEGIN) : end])
    except Exception as error:  # the library lets through whatever a wrong shape runs into
        raise SnapshotRefused(Refusal.BAD_ENVELOPE, f"the envelope is no DSSE: {type(error).__name__}") from error
    if not same:
        raise SnapshotRefused(Refusal.BAD_ENVELOPE, "the envelope is not in its canonical form")
    if envelope.payload_type != PAYLOAD_TYPE:
        found = shorten(envelope.payload_type)
        raise SnapshotRefused(Refusal.BAD_ENVELOPE, found=f"the payload type '{found}'", expected=f"'{PAYLOAD_TYPE}'")
    if len(envelope.signatures) > MAX_SIGNATURES:
        raise SnapshotRefused(
            Refusal.BAD_ENVELOPE, found=f"{len(envelope.signatures)} signatures", expected=f"at most {MAX_SIGNATURES}"
        )
    return envelope


def _decoded(text: memoryview) -> bytes:
    """Return the bytes that base64 text stands for; raises ValueError where it is not the only text for them.

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


def verify_envelope(envelope: Envelope, keys: Sequence[Key], threshold: int) -> list[str]:
    """Check the signatures and return the ids of the keys that signed well, at least `threshold` of them.

    Raises SnapshotRefused: `unsigned`, `unknown_key`, `bad_signature` or `threshold_not_met`.
    """
    try:
        return sorted(envelope.verify(list(keys), threshold))
    except ValueError as error:
        raise SnapshotRefused(
            Refusal.THRESHOLD_NOT_MET, f"{len(keys)} trusted keys, expected {threshold} or more"
        ) from error
    except VerificationError as error:
        raise _why(envelope, keys, threshold) from error


def _why(envelope: Envelope, keys: Sequence[Key], threshold: int) -> SnapshotRefused:
    if not envelope.signatures:
        return SnapshotRefused(Refusal.UNSIGNED, found="no signature", expected="one by a trusted key")
    trusted = {key.keyid: key for key in keys}
    known = [trusted[keyid] for keyid in envelope.signatures if keyid in trusted]
    if not known:
        found = ", ".join(shorten(keyid)[:16] for keyid in envelope.signatures)
        expected = ", ".join(keyid[:16] for keyid in trusted)
        hint = "add its publisher's .pub file to snapshot.trusted_keys, if you trust it"
        return SnapshotRefused(Refusal.UNKNOWN_KEY, f"signed by {found}, expected {expected}", hint=hint)
    good = sum(_verifies(envelope, key) for key in known)
    if good == 0:
        return SnapshotRefused(
            Refusal.BAD_SIGNATURE, f"the signature of {known[0].keyid[:16]} does not fit the manifest"
        )
    return SnapshotRefused(Refusal.THRESHOLD_NOT_MET, found=f"{good} good signatures", expected=threshold)


def _verifies(envelope: Envelope, key: Key) -> bool:
    try:
        key.verify_signature(envelope.signatures[key.keyid], envelope.pae())
    except UnverifiedSignatureError:
        return False
    return True
