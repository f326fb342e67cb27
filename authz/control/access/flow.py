"""What a browser takes along to an identity provider, and brings back."""

from __future__ import annotations

from typing import Final

import msgspec

LIFE: Final = 600  # seconds that a person has at the provider


class Flow(msgspec.Struct, frozen=True, array_like=True):
    """A sign-on that was begun.

    Attributes:
        began: Seconds since 1970.
        to: The page of the console to go to.
    """

    state: str
    nonce: str
    verifier: str
    began: int
    to: str
