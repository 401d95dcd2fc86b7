"""One HTTP exchange as plain values, whatever HTTP library carried it."""

from __future__ import annotations

from collections.abc import AsyncIterator, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from urllib.parse import parse_qsl, quote, urlencode, urlsplit, urlunsplit

from durafold.wire.headers import check_header_name, check_header_value

__all__ = ["Reply", "Request", "merged_headers", "public_url", "with_query"]

_MAX_DIGITS = 16  # 2**53 - 1 has that many


@dataclass(frozen=True, slots=True)
class Request:
    """One HTTP request, complete.

    Attributes:
        method: in capitals.
        url: absolute, with its query.
        headers: ours as PROTOCOL spells them, the user's in any case.
        content: the body: bytes, or chunks that are sent as they come.
        given: the values of the user's headers and parameters, to know which of them a server refused.

    Raises:
        ConfigurationError: HTTP does not allow a header. What is checked here never reaches an HTTP library,
            whose messages show the value, and which cannot tell this from a broken connection.
    """

    method: str
    url: str
    headers: Mapping[str, str]
    content: bytes | AsyncIterator[bytes] = b""
    given: Sequence[str] = ()

    def __post_init__(self) -> None:
        for name, value in self.headers.items():
            check_header_name(name)
            check_header_value(value, f"The header {name!r}")


@dataclass(frozen=True, slots=True)
class Reply:
    """One HTTP answer, complete.

    Attributes:
        status: status code.
        headers: names in lower case.
        body: decoded of any content encoding.
        received_at: when it came, to make sense of dates in its headers.
        stream: the URL that was asked, as messages may show it.
    """

    status: int
    headers: Mapping[str, str]
    body: bytes
    received_at: datetime
    stream: str

    def header(self, name: str) -> str | None:
        """The value of a header, whatever the case of its name."""
        return self.headers.get(name.lower())

    def integer(self, name: str) -> int | None:
        """The value of a header that holds a non-negative integer; None if it is absent or anything else."""
        digits = self.header(name) or ""
        return int(digits) if digits.isascii() and digits.isdigit() and len(digits) <= _MAX_DIGITS else None


def merged_headers(theirs: Mapping[str, str], ours: Mapping[str, str]) -> dict[str, str]:
    """Both; ours replace theirs where names are equal, in whatever case they are written."""
    replaced = {name.lower() for name in ours}
    return {**{name: value for name, value in theirs.items() if name.lower() not in replaced}, **ours}


def public_url(url: str) -> str:
    """The URL as messages and logs may show it: without user, password and query."""
    parts = urlsplit(url)
    return f"{parts.scheme}://{parts.netloc.rpartition('@')[2]}{parts.path}"


def with_query(url: str, params: Mapping[str, str]) -> str:
    """The URL with these query parameters besides its own, which they replace where names are equal.

    PROTOCOL §10.1: parameters are ordered by name, so that caches see one URL for one request.
    """
    if not params and "?" not in url and "#" not in url:
        return url
    parts = urlsplit(url)
    kept = [
        (name, value) for name, value in parse_qsl(parts.query, keep_blank_values=True) if name not in params
    ]
    query = urlencode(sorted([*kept, *params.items()]), quote_via=quote)
    return urlunsplit((parts.scheme, parts.netloc, parts.path, query, ""))
