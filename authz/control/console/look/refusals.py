"""Why a sidecar refuses a file, and what to do about it, for people: what the codes of `authz.errors.Refusal` mean."""

from __future__ import annotations

from typing import Final

from authz.errors import Refusal

_MAY: Final = "its authz.yaml (layers, may) permits this layer less than control.yaml does"
TEXTS: Final[dict[str, str]] = {
    Refusal.UNREACHABLE: "it cannot fetch the file",
    Refusal.BAD_ANSWER: "the answer to its request was not a file",
    Refusal.UNKNOWN_KEY: "it does not know the key that signed the file: add the key to its trusted_keys",
    Refusal.BAD_SIGNATURE: "the signature does not match the file: the file was changed or cut short",
    Refusal.THRESHOLD_NOT_MET: "fewer of its trusted keys signed the file than it requires",
    Refusal.EXPIRED: "the file has expired: check that the control plane still signs, and that both clocks are right",
    Refusal.ROLLED_BACK: "it has already served a higher serial: was an older backup of the store or signer restored?",
    Refusal.WRONG_LAYER: "the file belongs to another layer",
    Refusal.STATE_UNWRITABLE: "it cannot write its state: check whether its disk is full or read-only",
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
