"""From what a user appends to the bytes of a message, and from messages to the body of a request."""

from __future__ import annotations

import gc
import json
from collections.abc import (
    AsyncGenerator,
    AsyncIterable,
    AsyncIterator,
    Callable,
    Generator,
    Iterable,
    Iterator,
    Sequence,
)
from functools import partial
from json.encoder import encode_basestring
from typing import Any, Final, Self

from pydantic_core import from_json

from durafold.errors import ConfigurationError
from durafold.wire import names

__all__ = ["Chunks", "decode_json", "encode_json", "encode_message", "encoder_for", "join_messages"]

_LONG_TEXT: Final = 16 * 1024
_ENCODER: Final = json.JSONEncoder(ensure_ascii=False, allow_nan=False, separators=(",", ":"))


def _value_encoder() -> Callable[[Any], str]:
    """What `_ENCODER.encode` does, in half the time: that makes itself an encoder in C for every value.

    This one is kept. It does not look for circles, and so finds them by the depth that they reach.
    """
    make: Callable[..., Callable[[Any, int], Iterable[str]]] | None
    make = getattr(json.encoder, "c_make_encoder", None)
    if make is None:
        return _ENCODER.encode
    separators = (_ENCODER.key_separator, _ENCODER.item_separator)
    flags = (_ENCODER.sort_keys, _ENCODER.skipkeys, _ENCODER.allow_nan)
    chunks = make(None, _ENCODER.default, encode_basestring, None, *separators, *flags)
    return lambda value: "".join(chunks(value, 0))


_encode_value: Final = _value_encoder()


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


def decode_json(text: bytes | str) -> Any:
    """The value of a JSON text; what `json.loads` makes of it, in half the time.

    Raises:
        ValueError: it is no JSON.
        RecursionError: it is too deeply nested.
    """
    try:
        return _decoded(text)
    except ValueError:
        # Either it is no JSON, or one of the things that only the other takes: a half of a surrogate pair,
        # nesting beyond 200.
        return json.loads(text)


def _decoded(text: bytes | str) -> Any:
    if len(text) < _LONG_TEXT or not gc.isenabled():
        return from_json(text)
    # The garbage collector would look through a long value again and again while it is made, for a third of
    # all the time, and find nothing: values of JSON have no cycles. No other code runs meanwhile, because the
    # decoder does not let go of the interpreter.
    gc.disable()
    try:
        return from_json(text)
    finally:
        gc.enable()


def encoder_for(content_type: str) -> Callable[[Any], bytes]:
    """`encode_message` for one type, for those who encode many messages."""
    return _encode_json_message if names.is_json(content_type) else partial(_encode_bytes, content_type)


def encode_message(data: Any, content_type: str) -> bytes:
    """One message of a stream of this type: any JSON value for JSON streams, else bytes or str.

    Raises:
        ConfigurationError: the data does not go with the type.
    """
    return encoder_for(content_type)(data)


def _encode_json_message(data: Any) -> bytes:
    if isinstance(data, bytes | bytearray | memoryview):
        raise ConfigurationError(
            "Bytes are not a JSON value",
            hint="Pass the value itself, or ready JSON text to append_bytes()",
        )
    return encode_json(data)


def _encode_bytes(content_type: str, data: Any) -> bytes:
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
