"""Ed25519 signatures of notifications, and the public keys to check them with (PROTOCOL §6.5, §7.1).

The only module that imports `cryptography`, and only once webhooks are on.
"""

from __future__ import annotations

import base64
import hashlib
import importlib
from typing import Final

import msgspec

SEED_BYTES: Final = 32


class SigningUnavailable(Exception):
    """Webhooks are on, but what signs them is not installed. The message says what to install."""


def require() -> None:
    """Check that notifications can be signed.

    Raises:
        SigningUnavailable: the extra is missing.
    """
    try:
        importlib.import_module("cryptography")
    except ModuleNotFoundError as exc:
        raise SigningUnavailable(
            'webhooks are signed with Ed25519, which needs: pip install "durafold[webhooks]"'
        ) from exc


class Signer:
    """Signs notifications with one key.

    Args:
        seed: the private key's 32 bytes.

    Raises:
        SigningUnavailable: the extra is missing.
    """

    def __init__(self, seed: bytes) -> None:
        require()
        from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey

        self._key = Ed25519PrivateKey.from_private_bytes(seed)
        self._x = _encode(self._key.public_key().public_bytes_raw())
        # RFC 7638: the thumbprint is over the required members, in this order and without spaces.
        thumbprint = hashlib.sha256(f'{{"crv":"Ed25519","kty":"OKP","x":"{self._x}"}}'.encode())
        self.kid = f"ds_{_encode(thumbprint.digest())}"
        """Id of the key; follows from the key itself, so it stays the same for as long as the key does."""

    def header(self, body: bytes, now_s: int) -> str:
        """The value of `Webhook-Signature` for a body that is sent now (seconds since 1970)."""
        signature = self._key.sign(b"%d.%b" % (now_s, body))
        return f"t={now_s},kid={self.kid},ed25519={_encode(signature)}"

    def jwks(self) -> bytes:
        """The JSON Web Key Set that receivers fetch."""
        key = {
            "kty": "OKP",
            "crv": "Ed25519",
            "kid": self.kid,
            "use": "sig",
            "alg": "EdDSA",
            "x": self._x,
        }
        return msgspec.json.encode({"keys": [key]})


def _encode(data: bytes) -> str:
    return base64.urlsafe_b64encode(data).rstrip(b"=").decode()
