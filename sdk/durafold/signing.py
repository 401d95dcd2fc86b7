"""Digests and signatures of JSON values: that a value is whole, or comes from somebody who has the secret.

What is signed is the value's JSON text with sorted keys and without spaces, so that it survives being parsed
and written again.
"""

from __future__ import annotations

import hashlib
import hmac
import json
from typing import Any, Final

from durafold.errors import ConfigurationError

__all__ = ["digest", "is_digest", "require_secret"]

_MIN_SECRET_BYTES: Final = 16


def require_secret(secret: bytes) -> None:
    """Check that a secret can be used.

    Raises:
        ConfigurationError: it is shorter than 16 bytes.
    """
    if len(secret) < _MIN_SECRET_BYTES:
        raise ConfigurationError(
            f"A secret of {len(secret)} bytes is too short", hint="Use secrets.token_bytes(32), and keep it"
        )


def digest(value: Any, secret: bytes | None, *, purpose: bytes = b"") -> str:
    """64 hexadecimal digits: HMAC-SHA256 with a secret, plain SHA-256 without.

    Args:
        value: a plain JSON value.
        secret: at least 16 bytes, or None.
        purpose: put before the text, so that a signature made for one purpose is worth nothing for another.

    Raises:
        ConfigurationError: the secret is too short.
    """
    text = purpose + json.dumps(value, sort_keys=True, separators=(",", ":")).encode()
    if secret is None:
        return hashlib.sha256(text).hexdigest()
    require_secret(secret)
    return hmac.new(secret, text, hashlib.sha256).hexdigest()


def is_digest(given: object, value: Any, secret: bytes | None, *, purpose: bytes = b"") -> bool:
    """Whether it is the digest of the value; anything may be given. It takes as long for wrong ones.

    Raises:
        ConfigurationError: the secret is too short.
    """
    expected = digest(value, secret, purpose=purpose)
    return isinstance(given, str) and hmac.compare_digest(given.encode(), expected.encode())
