"""Typed requests as the server's rules get them, in one line each.

Headers are given as keywords, `content_type="text/plain"` for `content-type`.
"""

from __future__ import annotations

from typing import Final, Literal

from durafold_server.protocol.requests import (
    AppendRequest,
    CreateRequest,
    ReadRequest,
    parse_append,
    parse_create,
    parse_read,
)
from durafold_server.protocol.responses import Reply

__all__ = [
    "JSON",
    "ROOT",
    "TEXT",
    "append_request",
    "create_request",
    "header_map",
    "next_offset",
    "read_request",
]

ROOT: Final = "/v1/stream"
JSON: Final = "application/json"
TEXT: Final = "text/plain"


def header_map(headers: dict[str, str]) -> dict[str, str]:
    """Keywords → header names as they arrive."""
    return {name.replace("_", "-"): value for name, value in headers.items()}


def create_request(path: str = "s", body: bytes = b"", /, **headers: str) -> CreateRequest:
    """A PUT."""
    return parse_create(path, header_map(headers), body, root=ROOT)


def append_request(path: str = "s", body: bytes = b"", /, **headers: str) -> AppendRequest:
    """A POST."""
    return parse_append(path, header_map(headers), body)


def read_request(
    path: str = "s",
    offset: str | None = None,
    live: Literal["long-poll", "sse"] | None = None,
    cursor: str | None = None,
) -> ReadRequest:
    """A GET."""
    query = {"offset": offset, "live": live, "cursor": cursor}
    return parse_read(path, {}, {name: [value] for name, value in query.items() if value is not None})


def next_offset(reply: Reply) -> str:
    """The offset that a response tells its client to go on from."""
    return dict(reply.headers)[b"stream-next-offset"].decode()
