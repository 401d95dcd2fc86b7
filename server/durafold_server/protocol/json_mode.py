"""JSON mode: validate a body, flatten one array level, keep the bytes (PROTOCOL §9.1).

Messages are cut out as raw bytes and never decoded to Python values: big integers, floats, key order and
escapes come back exactly as they were sent.
"""

from __future__ import annotations

from typing import Final

import msgspec

from durafold_server.protocol.errors import EmptyBody, InvalidJson
from durafold_server.protocol.model import NO_PAYLOAD, Payload

MAX_DEPTH: Final = 128
"""Deepest nesting of one message. Common JSON readers fail near 500 to 1,000 levels."""

_WHITESPACE: Final = b" \t\n\r"
_one = msgspec.json.Decoder(msgspec.Raw)
_array = msgspec.json.Decoder(list[msgspec.Raw])
_NOT_BRACKETS: Final = bytes(c for c in range(256) if c not in b"[]{}")
_TO_SQUARE: Final = bytes.maketrans(b"{}", b"[]")


def flatten(body: bytes, *, allow_empty: bool = False, max_depth: int = MAX_DEPTH) -> Payload:
    """The messages of a body: an array's elements, or the one value that it is.

    Args:
        body: the request's body.
        allow_empty: whether `[]` is fine, as it is at creation (PROTOCOL §9.1.3).
        max_depth: deepest nesting of one message, at most 500.

    Raises:
        InvalidJson: not UTF-8, not JSON as RFC 8259 has it (no NaN, no comments), or nested too deeply.
        EmptyBody: the array is empty where it must not be.
    """
    messages = _split(body, max_depth)
    if not messages:
        if allow_empty:
            return NO_PAYLOAD
        raise EmptyBody("An empty JSON array appends nothing; send at least one message.")
    for message in messages:
        _check_depth(message, max_depth)
    messages.append(b"")  # join then ends with the comma that every stored message is followed by
    return Payload(b",".join(messages), len(messages) - 1)


def page_body(data: bytes) -> bytes:
    """The JSON array that holds stored messages (PROTOCOL §9.1.5)."""
    # One copy: new memory for a page costs more than what is done with it.
    return b"".join((b"[", memoryview(data)[:-1], b"]")) if data else b"[]"


def sub_position(data: bytes, messages: int) -> int | None:
    """How many stored bytes the first `messages` messages take, or None if there are fewer."""
    sizes = [len(memoryview(raw)) for raw in _array.decode(page_body(data))]
    return sum(sizes[:messages]) + messages if messages <= len(sizes) else None


def count(data: bytes) -> int:
    """How many messages stored bytes hold."""
    return len(_array.decode(page_body(data)))


def is_boundary(data: bytes, position: int) -> bool:
    """Whether a message ends at `position` of stored bytes."""
    end = 0
    for raw in _array.decode(page_body(data)):
        if end >= position:
            break
        end += len(memoryview(raw)) + 1
    return end == position


def _split(body: bytes, max_depth: int) -> list[msgspec.Raw | bytes]:
    try:
        body.decode()  # msgspec does not look inside strings
        if body.lstrip(_WHITESPACE)[:1] == b"[":
            return list(_array.decode(body))
        return [_one.decode(body)]
    except UnicodeDecodeError as exc:
        raise InvalidJson(f"The body is not UTF-8: {exc.reason} at byte {exc.start}.") from exc
    except RecursionError as exc:
        raise InvalidJson(f"The JSON is nested more than {max_depth} levels deep.") from exc
    except msgspec.DecodeError as exc:
        raise InvalidJson(f"The body is not valid JSON: {exc}.") from exc


def _check_depth(message: msgspec.Raw | bytes, max_depth: int) -> None:
    data = bytes(message)
    if data.count(b"[") + data.count(b"{") > max_depth and _depth(data, max_depth) > max_depth:
        raise InvalidJson(f"The JSON is nested more than {max_depth} levels deep.")


def _depth(data: bytes, max_depth: int) -> int:
    """Nesting depth of valid JSON, counted no further than one past the limit."""
    brackets = _without_strings(data).translate(_TO_SQUARE, _NOT_BRACKETS)
    depth = 0
    while brackets and depth <= max_depth:
        brackets = brackets.replace(b"[]", b"")  # one pass takes off exactly the innermost level
        depth += 1
    return depth


def _without_strings(data: bytes) -> bytes:
    """Valid JSON with every string literal taken out."""
    plain = data.replace(b"\\\\", b"").replace(b'\\"', b"")
    return b"".join(plain.split(b'"')[::2])
