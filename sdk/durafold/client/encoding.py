"""From what a user appends to the bytes of a message, and from messages to the body of a request."""

from __future__ import annotations

import json
from collections.abc import (
    AsyncGenerator,
    AsyncIterable,
    AsyncIterator,
    Generator,
    Iterable,
    Iterator,
    Sequence,
)
from typing import Any, Self

from durafold.errors import ConfigurationError
from durafold.wire import names

__all__ = ["Chunks", "encode_json", "encode_message", "join_messages"]

_encode_value = json.JSONEncoder(ensure_ascii=False, allow_nan=False, separators=(",", ":")).encode


def encode_json(value: Any) -> bytes:
    """One JSON value as compact UTF-8.

    Raises:
        ConfigurationError: the value has no JSON form (NaN and infinities have none either).
    """
    try:
        return _encode_value(value).encode()
    except (TypeError, ValueError, RecursionError) as exc:
        raise ConfigurationError(
            f"A {type(value).__name__} cannot be appended: it has no JSON form ({exc})",
            hint="Pass dicts, lists, strings, finite numbers, booleans or None",
        ) from exc


def encode_message(data: Any, content_type: str) -> bytes:
    """One message of a stream of this type: any JSON value for JSON streams, else bytes or str.

    Raises:
        ConfigurationError: the data does not go with the type.
    """
    if names.is_json(content_type):
        if isinstance(data, bytes | bytearray | memoryview):
            raise ConfigurationError(
                "Bytes are not a JSON value",
                hint="Pass the value itself, or ready JSON text to append_bytes()",
            )
        return encode_json(data)
    if isinstance(data, str):
        return data.encode()
    if isinstance(data, bytes | bytearray | memoryview):
        return bytes(data)
    raise ConfigurationError(
        f"A stream of {content_type} takes bytes or str, not {type(data).__name__}",
        hint="Create the stream as application/json to append values",
    )


def join_messages(messages: Sequence[bytes], content_type: str) -> bytes:
    """The body that appends these messages as one batch.

    PROTOCOL §9.1.2: a server flattens one level of a JSON array, so the array around the messages is what
    keeps a message that is itself an array in one piece.
    """
    if names.is_json(content_type):
        return b"[" + b",".join(messages) + b"]"
    return b"".join(messages)


class Chunks:
    """The body of a streaming append, drawn from the user's iterable as it is sent.

    Args:
        source: bytes or str.

    Attributes:
        is_drawn: something was taken from it, so that it cannot be sent again.
    """

    def __init__(self, source: Iterable[bytes | str] | AsyncIterable[bytes | str]) -> None:
        self._source: Iterator[bytes | str] | AsyncIterator[bytes | str]
        self._source = aiter(source) if isinstance(source, AsyncIterable) else iter(source)
        self.is_drawn = False

    def __aiter__(self) -> Self:
        return self

    async def __anext__(self) -> bytes:
        self.is_drawn = True
        while not (chunk := _chunk(await self._next())):
            pass
        return chunk

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(self, *exc_info: object) -> None:
        """Close a generator that was not run to its end, instead of leaving it to the garbage collector."""
        if isinstance(self._source, AsyncGenerator):
            await self._source.aclose()
        elif isinstance(self._source, Generator):
            self._source.close()

    async def _next(self) -> bytes | str:
        if isinstance(self._source, AsyncIterator):
            return await anext(self._source)
        try:
            return next(self._source)
        except StopIteration:
            raise StopAsyncIteration from None


def _chunk(data: object) -> bytes:
    if isinstance(data, str):
        return data.encode()
    if isinstance(data, bytes | bytearray | memoryview):
        return bytes(data)
    raise ConfigurationError(f"A streaming append takes bytes or str, not {type(data).__name__}")
