"""Headers that browsers ask for before web pages may use the server (Fetch standard, §3.2)."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Final

from durafold.wire import names
from durafold_server.http.exchange import Header, Headers
from durafold_server.protocol.responses import Reply

_EXPOSED: Final = (
    names.STREAM_NEXT_OFFSET,
    names.STREAM_CURSOR,
    names.STREAM_UP_TO_DATE,
    names.STREAM_CLOSED,
    names.STREAM_TTL,
    names.STREAM_EXPIRES_AT,
    names.STREAM_RETENTION_BYTES,
    names.STREAM_RETENTION_AGE,
    names.STREAM_EARLIEST_OFFSET,
    names.STREAM_SSE_DATA_ENCODING,
    names.PRODUCER_EPOCH,
    names.PRODUCER_SEQ,
    names.PRODUCER_EXPECTED_SEQ,
    names.PRODUCER_RECEIVED_SEQ,
    "ETag",
    "Location",
    "Retry-After",
    "WWW-Authenticate",
    "X-Request-Id",
)
_ACCEPTED: Final = (
    "Authorization",
    "Content-Type",
    "If-None-Match",
    "X-Request-Id",
    names.STREAM_SEQ,
    names.STREAM_TTL,
    names.STREAM_EXPIRES_AT,
    names.STREAM_CLOSED,
    names.STREAM_FORKED_FROM,
    names.STREAM_FORK_OFFSET,
    names.STREAM_FORK_SUB_OFFSET,
    names.STREAM_RETENTION_BYTES,
    names.STREAM_RETENTION_AGE,
    names.PRODUCER_ID,
    names.PRODUCER_EPOCH,
    names.PRODUCER_SEQ,
)
PREFLIGHT: Final = Reply(
    204,
    [
        (b"access-control-allow-methods", b"GET, HEAD, POST, PUT, DELETE, OPTIONS"),
        (b"access-control-allow-headers", ", ".join(_ACCEPTED).encode()),
        (b"access-control-max-age", b"86400"),
    ],
)
_EXPOSE: Final[Header] = (b"access-control-expose-headers", ", ".join(_EXPOSED).encode())
_ANY: Final[Headers] = ((b"access-control-allow-origin", b"*"), _EXPOSE)
_VARY: Final[Header] = (b"vary", b"origin")


class CorsPolicy:
    """Which web pages may read replies.

    Args:
        origins: such as `https://app.example`; none or `*` for any.

    Attributes:
        common_headers: for every reply, whoever asks.
        depends_on_origin: replies need `headers_for` too.
    """

    def __init__(self, origins: Sequence[str] = ()) -> None:
        self._allowed = frozenset(origin.strip().rstrip("/").lower() for origin in origins)
        self.depends_on_origin = bool(self._allowed) and "*" not in self._allowed
        self.common_headers: Headers = (_VARY, _EXPOSE) if self.depends_on_origin else _ANY

    def headers_for(self, origin: str | None) -> Headers:
        """What a reply to a page of this origin needs beside `common_headers`."""
        if origin is None or origin.lower() not in self._allowed:
            return ()
        return ((b"access-control-allow-origin", origin.encode("latin-1")),)
