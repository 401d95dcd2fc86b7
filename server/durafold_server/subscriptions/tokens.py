"""Callback and claim tokens: JWTs signed with HMAC-SHA256 (PROTOCOL §12.9).

Only what this server signed is ever decoded, and the header is compared as a whole, so a token cannot choose
its own algorithm.
"""

from __future__ import annotations

import base64
import binascii
import hashlib
import hmac
from typing import Final

import msgspec

from durafold_server.protocol.model import Value
from durafold_server.subscriptions.errors import TokenExpired, TokenInvalid

TTL_S: Final = 24 * 3600
"""Longer than any sensible lease is extended: what ends a wake is its generation, not its token's age."""


class Claims(Value, frozen=True, rename={"subscription": "sub", "expires_s": "exp"}):
    """What a token says: who may speak for which wake, and until when (seconds since 1970)."""

    subscription: str
    generation: int
    wake_id: str
    expires_s: int


_decoder: Final = msgspec.json.Decoder(Claims)


def for_wake(secret: bytes, subscription: str, generation: int, wake_id: str, now_s: int) -> str:
    """The token of whoever is told of a wake now (seconds since 1970)."""
    return issue(secret, Claims(subscription, generation, wake_id, now_s + TTL_S))


def issue(secret: bytes, claims: Claims) -> str:
    """The token that carries these claims."""
    signed = f"{_HEADER}.{_encode(msgspec.json.encode(claims))}"
    return f"{signed}.{_signature(secret, signed)}"


def verify(secret: bytes, token: str, *, subscription: str, now_s: int) -> Claims:
    """The claims of a token.

    Args:
        secret: what it must be signed with.
        token: as the client sent it.
        subscription: id of the one it must be for.
        now_s: seconds since 1970.

    Raises:
        TokenInvalid: this server did not make it for this subscription.
        TokenExpired: it is too old.
    """
    signed, _, signature = token.rpartition(".")
    header, _, payload = signed.partition(".")
    if header != _HEADER or not _equal(signature, _signature(secret, signed)):
        raise TokenInvalid("The token is not one of this server's.")
    try:
        claims = _decoder.decode(base64.urlsafe_b64decode(payload + "=="))
    except (binascii.Error, msgspec.MsgspecError) as exc:
        raise TokenInvalid("The token is of another version of this server.") from exc
    if claims.subscription != subscription:
        raise TokenInvalid("The token is for another subscription.")
    if now_s >= claims.expires_s:
        raise TokenExpired
    return claims


def _signature(secret: bytes, signed: str) -> str:
    return _encode(hmac.digest(secret, signed.encode("utf-8", "replace"), hashlib.sha256))


def _equal(one: str, other: str) -> bool:
    return hmac.compare_digest(one.encode("utf-8", "replace"), other.encode())


def _encode(data: bytes) -> str:
    return base64.urlsafe_b64encode(data).rstrip(b"=").decode()


_HEADER: Final = _encode(b'{"alg":"HS256","typ":"JWT"}')
