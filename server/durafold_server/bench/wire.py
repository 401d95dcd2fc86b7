"""HTTP/1.1 as a load generator needs it: requests encoded ahead, responses searched for their end. Pure.

Everything not needed for that is left out on purpose: what the generator spends, the servers lack.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Final

from durafold_server.bench.errors import BenchError

_HEAD_END: Final = b"\r\n\r\n"
_LENGTH: Final = re.compile(rb"\r\ncontent-length: *(\d+)", re.IGNORECASE)
_CHUNKED: Final = re.compile(rb"\r\ntransfer-encoding: *chunked", re.IGNORECASE)
_BODILESS: Final = frozenset({204, 304})
_LONGEST_HEAD: Final = 64 * 1024


def encode_request(
    method: str, target: str, host: str, headers: Mapping[str, str] | None = None, body: bytes = b""
) -> bytes:
    """A whole request.

    Args:
        method: such as `POST`.
        target: path and query.
        host: host and port.
        headers: besides `Host` and `Content-Length`.
        body: may be empty.
    """
    lines = [f"{method} {target} HTTP/1.1", f"Host: {host}"]
    lines += [f"{name}: {value}" for name, value in (headers or {}).items()]
    if body or method in ("POST", "PUT"):
        lines.append(f"Content-Length: {len(body)}")
    return "\r\n".join([*lines, "", ""]).encode() + body


@dataclass(frozen=True, slots=True)
class Response:
    """A whole response; `head` are its status line and headers as they came."""

    status: int
    head: bytes
    body: bytes

    def header(self, name: str) -> str | None:
        """The value of a header, None if there is none."""
        found = re.search(rb"\r\n%b: *([^\r]*)" % re.escape(name.encode()), self.head, re.IGNORECASE)
        return found[1].decode("latin-1") if found else None


class ResponseParser:
    """Reads one response after another; a request is sent only once the response before it is complete.

    Attributes:
        status: of the response that is being read, 0 until its head is complete.
        head: its status line and headers.
        complete: whether all of it was read; the next `feed` begins with a new response.

    Args:
        method: of the requests; responses to HEAD have no body.
    """

    __slots__ = ("_body", "_has_body", "complete", "head", "status")

    def __init__(self, method: str = "") -> None:
        self._has_body = method != "HEAD"
        self._body: _FixedBody | _ChunkedBody | None = None
        self.status = 0
        self.head = b""
        self.complete = False

    def feed(self, data: bytes) -> bytes:
        """Take bytes from the connection; returns those of the body, without their framing.

        Raises:
            BenchError: this is no HTTP response, or more than one.
        """
        if self.complete:
            self._body, self.status, self.head, self.complete = None, 0, b"", False
        if self._body is None:
            self.head += data
            end = self.head.find(_HEAD_END)
            if end < 0:
                self._check_head()
                return b""
            data = self.head[end + 4 :]
            self.head = self.head[: end + 2]
            self._body = self._begin()
        payload = self._body.feed(data)
        self.complete = self._body.complete
        return payload

    def _begin(self) -> _FixedBody | _ChunkedBody:
        self._check_head()
        self.status = int(self.head[9:12])
        if not self._has_body or self.status in _BODILESS:
            return _FixedBody(0)
        length = _LENGTH.search(self.head)
        if length is not None:
            return _FixedBody(int(length[1]))
        if _CHUNKED.search(self.head):
            return _ChunkedBody()
        raise BenchError("the server sent a body with neither a length nor chunks")

    def _check_head(self) -> None:
        if not b"HTTP/1.1 ".startswith(self.head[:9]) or len(self.head) > _LONGEST_HEAD:
            raise BenchError(f"this is not HTTP/1.1: {self.head[:40]!r}")


class _FixedBody:
    """A body of known length."""

    __slots__ = ("_missing",)

    def __init__(self, length: int) -> None:
        self._missing = length

    @property
    def complete(self) -> bool:
        return self._missing == 0

    def feed(self, data: bytes) -> bytes:
        self._missing -= len(data)
        if self._missing < 0:
            raise BenchError("the server sent more than the response it announced")
        return data


class _ChunkedBody:
    """A body in chunks (RFC 9112 §7.1)."""

    __slots__ = ("_missing", "_rest", "_separator", "complete")

    def __init__(self) -> None:
        self.complete = False
        self._missing = 0  # bytes of the current chunk that are still to come
        self._separator = 0  # bytes of the line break that ends the chunk before
        self._rest = b""  # the beginning of a size line

    def feed(self, data: bytes) -> bytes:
        data = self._rest + data
        self._rest = b""
        parts: list[bytes] = []
        position = 0
        while True:
            parts.append(data[position : position + self._missing])
            self._missing -= len(parts[-1])
            position += len(parts[-1])
            if self._missing:
                break
            size_at = position + self._separator
            line_end = data.find(b"\r\n", size_at)
            if line_end < 0 or self._is_last(data, size_at, line_end):
                self._rest = data[position:]
                break
            self._missing = _chunk_size(data[size_at:line_end])
            self._separator = 2
            position = line_end + 2
        return parts[0] if len(parts) == 1 else b"".join(parts)

    def _is_last(self, data: bytes, size_at: int, line_end: int) -> bool:
        """Whether this is the size line of the empty chunk at the end; notes when what follows it is here."""
        if _chunk_size(data[size_at:line_end]):
            return False
        self.complete = data.endswith(_HEAD_END)
        return True


def _chunk_size(line: bytes) -> int:
    try:
        return int(line.partition(b";")[0], 16)
    except ValueError as exc:
        raise BenchError(f"this is no size of a chunk: {line[:40]!r}") from exc
