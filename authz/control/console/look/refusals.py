"""Why a sidecar refuses a file, and what to do about it, for people: what the codes of `authz.errors.Refusal` mean."""

from __future__ import annotations

from typing import Final

from authz.errors import Refusal

_MAY: Final = "its authz.yaml (layers, may) permits this layer less than control.yaml does"
TEXTS: Final[dict[str, str]] = {
    Refusal.UNREACHABLE: "it cannot fetch the file",
    Refusal.BAD_ANSWER: "something else than a file came when it asked for one",
    Refusal.UNKNOWN_KEY: "it does not know the key that signed the file: its trusted_keys need ours",
    Refusal.BAD_SIGNATURE: "the signature does not fit the file: somebody changed it, or it was cut short",
    Refusal.THRESHOLD_NOT_MET: "too few of its trusted keys signed the file",
    Refusal.EXPIRED: "the file is older than it may be: is anything signed at present, and are both clocks right?",
    Refusal.ROLLED_BACK: "it has served a higher serial already: was a backup of the store or signer put back?",
    Refusal.WRONG_LAYER: "the file is of another layer",
    Refusal.STATE_UNWRITABLE: "it cannot write its state: is the disk full, or read-only?",
    Refusal.NOT_PERMITTED_LIST: f"an entry is on a list that it does not permit: {_MAY}",
    Refusal.NOT_PERMITTED_PERIOD: f"an entry lasts longer than it permits (longest): {_MAY}",
    Refusal.NOT_PERMITTED_ENDLESS: f"an entry has no end (longest): {_MAY}",
    Refusal.NOT_PERMITTED_WIDTH: f"an entry names a wider network than it permits (widest_ipv4, widest_ipv6): {_MAY}",
    Refusal.NOT_PERMITTED_APPLICATION: f"an entry is for an application that it does not permit: {_MAY}",
    Refusal.NOT_PERMITTED_ENTRIES: f"there are more entries than it permits (entries): {_MAY}",
    Refusal.NOT_PERMITTED_TOTAL: f"its networks together are more than it permits (total_ipv4, total_ipv6): {_MAY}",
    Refusal.NOT_PERMITTED_PROTECTED: "an entry denies a network that the policy protects",
}


def refusal_text(code: str) -> str:
    """Return what a code means, with the code; empty for none. What needs no words of ours is the code alone."""
    if not code:
        return ""
    text = TEXTS.get(code)
    return f"{text} ({code})" if text else code.replace("_", " ")
