"""JSON mode: validate a body, flatten one array level, keep the bytes (PROTOCOL §9.1).

Messages are cut out as raw bytes and never decoded to Python values: big integers, floats, key order and
escapes come back exactly as they were sent.
"""

from __future__ import annotations

import re
from collections.abc import Generator, Iterator
from itertools import accumulate
from typing import Final, TypeVar

import msgspec

from durafold_server.protocol.errors import EmptyBody, InvalidJson
from durafold_server.protocol.model import NO_PAYLOAD, Payload

T = TypeVar("T")

MAX_DEPTH: Final = 128
"""Deepest nesting of one message. Common JSON readers fail near 500 to 1,000 levels."""
LARGE_BODY_BYTES: Final = 32 * 1024
"""Larger bodies should be taken in with `flatten_in_steps`: an unkind one of 4 MiB can take a second."""

_WINDOW_BYTES: Final = 16 * 1024
_TRIES: Final = 4
_WHITESPACE: Final = b" \t\n\r"
_one = msgspec.json.Decoder(msgspec.Raw)
_array = msgspec.json.Decoder(list[msgspec.Raw])
_BACKSLASHES: Final = re.compile(rb"\\*")
_NOT_BRACKETS: Final = bytes(c for c in range(256) if c not in b"[]{}")
_TO_STEPS: Final = bytes.maketrans(b"[{]}", b"\x01\x01\xff\xff")  # up and down, as signed bytes
_LAST_OF: Final = {b"{": b"},", b"[": b"],", b'"': b'",'}  # by how messages begin


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
    if len(body) <= LARGE_BODY_BYTES:
        return _flatten_small(body, allow_empty, max_depth)
    steps = flatten_in_steps(body, allow_empty=allow_empty, max_depth=max_depth)
    while True:
        try:
            next(steps)
        except StopIteration as done:
            payload: Payload = done.value
            return payload


def flatten_in_steps(
    body: bytes, *, allow_empty: bool = False, max_depth: int = MAX_DEPTH
) -> Generator[None, None, Payload]:
    """`flatten`, with pauses: no step takes longer than it takes to run over the body once.

    Returns:
        (as a generator does) the payload.

    Raises:
        InvalidJson, EmptyBody: as `flatten`.
    """
    stored: list[bytes] = []
    count = 0
    for part in _parts(body, max_depth):
        if part is not None:
            data, messages = part
            yield from _check_depth(data, max_depth)
            count += len(messages)
            stored.append(_joined(messages))
        if len(body) > LARGE_BODY_BYTES:
            yield
    return _payload(stored[0] if len(stored) == 1 else b"".join(stored), count, allow_empty)


def _flatten_small(body: bytes, allow_empty: bool, max_depth: int) -> Payload:
    """`flatten` without steps, which would cost a small body more than all else."""
    _check_utf8(body)
    is_array = body.lstrip(_WHITESPACE)[:1] == b"["
    messages = _decode(_array, body, max_depth) if is_array else [_decode(_one, body, max_depth)]
    if body.count(b"[") + body.count(b"{") > max_depth:
        for _ in _check_depth(body if is_array else b"[%b]" % body, max_depth):
            pass
    return _payload(_joined(messages), len(messages), allow_empty)


def _payload(stored: bytes, count: int, allow_empty: bool) -> Payload:
    if count:
        return Payload(stored, count)
    if allow_empty:
        return NO_PAYLOAD
    raise EmptyBody("An empty JSON array appends nothing; send at least one message.")


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
    if position == 0:
        return True
    if data[position - 1 : position] != b",":
        return False
    # Only a comma between messages leaves whole ones behind.
    return _is_valid(_one, page_body(data[:position]))


def _parts(body: bytes, max_depth: int) -> Iterator[tuple[bytes, list[msgspec.Raw]] | None]:
    """A body as arrays of some messages each, with these; None for a step that found nothing."""
    _check_utf8(body)
    if body.lstrip(_WHITESPACE)[:1] != b"[":
        yield b"[%b]" % body, [_decode(_one, body, max_depth)]
        return
    first = start = body.index(b"[") + 1
    room = LARGE_BODY_BYTES
    while len(body) - start > room:
        for comma in _last_commas(body, start, start + room):
            data = b"[%b]" % body[start:comma]
            # A comma is between messages if what comes before it is an array of whole ones.
            if _is_valid(_one, data) and (messages := _array.decode(data)):
                yield data, messages
                start, room = comma + 1, LARGE_BODY_BYTES
                break
            yield None
        else:
            room *= 2
    data = b"[%b" % body[start:]
    if start > first and not (_is_valid(_one, data) and data[1:].strip(_WHITESPACE) != b"]"):
        _decode(_one, body, max_depth)  # fails, and knows where in the whole body
    yield data, _decode(_array, data, max_depth)


def _joined(messages: list[msgspec.Raw]) -> bytes:
    # The last one makes it end with the comma that every stored message is followed by.
    return b",".join([*messages, b""])


def _last_commas(body: bytes, start: int, end: int) -> Iterator[int]:
    """The last few commas in a stretch of an array that are likely to be between its messages."""
    beginning = body[start : start + 64].lstrip(_WHITESPACE)[:1]
    pattern = _LAST_OF.get(beginning, b",")
    for _ in range(_TRIES):
        end = body.rfind(pattern, start, end)
        if end < 0:
            return
        yield end + len(pattern) - 1


def _check_utf8(body: bytes) -> None:
    try:
        body.decode()  # msgspec does not look inside strings
    except UnicodeDecodeError as exc:
        raise InvalidJson(f"The body is not UTF-8: {exc.reason} at byte {exc.start}.") from exc


def _decode(decoder: msgspec.json.Decoder[T], data: bytes, max_depth: int) -> T:
    try:
        return decoder.decode(data)
    except RecursionError as exc:
        raise InvalidJson(f"The JSON is nested more than {max_depth} levels deep.") from exc
    except msgspec.DecodeError as exc:
        raise InvalidJson(f"The body is not valid JSON: {exc}.") from exc


def _is_valid(decoder: msgspec.json.Decoder[msgspec.Raw], data: bytes) -> bool:
    try:
        decoder.decode(data)
    except (RecursionError, msgspec.DecodeError):
        return False
    return True


def _check_depth(messages: bytes, max_depth: int) -> Iterator[None]:
    """Refuse an array with messages that are nested too deeply, looking at some of it in each step."""
    data, limit = messages, max_depth + 1  # the array around them is a level too
    if data.count(b"[") + data.count(b"{") <= limit:
        return
    depth, in_string, start = 0, False, 0
    while start < len(data):
        end = _end_of_window(data, start)
        brackets, in_string = _brackets(data[start:end], in_string=in_string)
        levels = list(accumulate(memoryview(brackets).cast("b"), initial=depth))
        if max(levels) > limit:
            raise InvalidJson(f"The JSON is nested more than {max_depth} levels deep.")
        depth, start = levels[-1], end
        if end < len(data):
            yield


def _end_of_window(data: bytes, start: int) -> int:
    """Where a window may end: not within an escape sequence."""
    end = start + _WINDOW_BYTES
    if data[end - 1 : end] != b"\\":
        return min(end, len(data))
    run = _BACKSLASHES.match(data, end)
    return min((run.end() if run else end) + 1, len(data))


def _brackets(window: bytes, *, in_string: bool) -> tuple[bytes, bool]:
    """The brackets outside of strings as steps up and down, and whether a string goes on after the window."""
    pieces = window.replace(b"\\\\", b"").replace(b'\\"', b"").split(b'"')
    outside = pieces[1::2] if in_string else pieces[::2]
    return b"".join(outside).translate(_TO_STEPS, _NOT_BRACKETS), in_string == (len(pieces) % 2 == 1)
