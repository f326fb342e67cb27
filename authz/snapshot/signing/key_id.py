"""The id of a public key: what securesystemslib gives it, the SHA-256 of its canonical JSON.

{"keytype":"ed25519","keyval":{"public":"8f2d..."},"scheme":"ed25519"}
"""

from __future__ import annotations

from authz.snapshot.layout import digest_of


def key_id(keytype: str, public: str, scheme: str) -> str:
    """Return the id of a public key: 64 hexadecimal digits."""
    # Canonical JSON of securesystemslib leaves line ends as they are, and nothing in here needs an escape.
    text = f'{{"keytype":"{keytype}","keyval":{{"public":"{public}"}},"scheme":"{scheme}"}}'
    return digest_of(text.encode()).hex()
