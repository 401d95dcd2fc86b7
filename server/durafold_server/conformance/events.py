"""Server-sent events as a browser reads them, from bytes, with no connection in sight.

Written apart from any server and client of ours, so that a fault of theirs cannot hide in here.
"""

from __future__ import annotations

import base64
import binascii
import json
import re
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Any, Final, NoReturn

from durafold_server.conformance.exchange import Failure, expect_equal, preview, shortened

_LINE_END: Final = re.compile(rb"\r\n|\r|\n")


@dataclass(frozen=True, slots=True)
class Event:
    """One event: its type, and its `data` lines joined with newlines."""

    kind: str
    data: str


class EventDecoder:
    """Bytes in, events out, by the rules of the HTML standard (§9.2.6)."""

    def __init__(self) -> None:
        self._unfinished = b""
        self._after_cr = False
        self._kind = ""
        self._data: list[str] = []

    def feed(self, data: bytes) -> list[Event]:
        """The events that these bytes complete."""
        if self._after_cr:
            data = data.removeprefix(b"\n")
        self._after_cr = data.endswith(b"\r")
        *lines, self._unfinished = _LINE_END.split(self._unfinished + data)
        return [event for event in map(self._take, lines) if event is not None]

    def _take(self, raw: bytes) -> Event | None:
        line = raw.decode("utf-8", "replace")
        if not line:
            return self._dispatch()
        field, _, value = line.partition(":")
        value = value.removeprefix(" ")
        if field == "data":
            self._data.append(value)
        elif field == "event":
            self._kind = value
        return None

    def _dispatch(self) -> Event | None:
        event = Event(self._kind or "message", "\n".join(self._data)) if self._data else None
        self._kind, self._data = "", []
        return event


@dataclass(frozen=True, slots=True)
class Control:
    """A control event (PROTOCOL §5.8); `fields` are all that it holds."""

    fields: dict[str, Any]

    @property
    def next_offset(self) -> str:
        """`streamNextOffset`, which has to be there."""
        found = self.fields.get("streamNextOffset")
        if not isinstance(found, str):
            self.fail("a control event with streamNextOffset")
        return found

    @property
    def cursor(self) -> int:
        """`streamCursor` as a number, which has to be there (PROTOCOL §10.1)."""
        found = self.fields.get("streamCursor")
        if not (isinstance(found, str) and found.isascii() and found.isdigit()):
            self.fail("a control event with a streamCursor of decimal digits")
        return int(found)

    @property
    def up_to_date(self) -> bool:
        """Whether the tail is reached; the end of a closed stream implies it."""
        return self.fields.get("upToDate") is True or self.closed

    @property
    def closed(self) -> bool:
        """Whether the stream has ended."""
        return self.fields.get("streamClosed") is True

    def fail(self, expected: str) -> NoReturn:
        """Say that something else was expected of this event.

        Raises:
            Failure: always.
        """
        raise Failure(expected, shortened(json.dumps(self.fields)))


@dataclass(frozen=True, slots=True)
class Batch:
    """The data events up to a control event, and that event."""

    data: tuple[str, ...]
    control: Control


def parse_control(event: Event) -> Control:
    """A control event's fields.

    Raises:
        Failure: they are no JSON object.
    """
    try:
        fields = json.loads(event.data)
    except ValueError:
        fields = None
    if not isinstance(fields, dict):
        raise Failure("a JSON object in the control event", shortened(event.data))
    return Control(fields)


def text_of(batches: Iterable[Batch]) -> str:
    """The text that data events carry."""
    return "".join(text for batch in batches for text in batch.data)


def messages_of(batches: Iterable[Batch]) -> list[Any]:
    """The JSON messages that data events carry; each event has to be an array by itself.

    Raises:
        Failure: one is not.
    """
    return [message for batch in batches for text in batch.data for message in _array(text)]


def bytes_of(batches: Iterable[Batch]) -> bytes:
    """The bytes that base64 data events carry; each event has to be padded by itself.

    Raises:
        Failure: one is no base64 (PROTOCOL §5.8).
    """
    return b"".join(decode_base64(text) for batch in batches for text in batch.data)


def decode_base64(text: str) -> bytes:
    """The bytes of one data event.

    Raises:
        Failure: it is no base64.
    """
    joined = text.replace("\n", "").replace("\r", "")
    try:
        return base64.b64decode(joined, validate=True)
    except binascii.Error as exc:
        raise Failure("padded standard base64 in the data event", f"{shortened(text)} ({exc})") from exc


def expect_text(batches: Sequence[Batch], text: str) -> None:
    """Expect data events to carry this text; CRLF and CR may have become LF, as SSE has only one line end.

    Raises:
        Failure: they carry another.
    """
    expect_equal(text_of(batches).encode(), _with_newlines(text).encode(), "the text of the data events")


def _with_newlines(text: str) -> str:
    return text.replace("\r\n", "\n").replace("\r", "\n")


def _array(text: str) -> list[Any]:
    try:
        value = json.loads(text)
    except ValueError as exc:
        raise Failure("a JSON array in each data event", f"{preview(text.encode())} ({exc})") from exc
    if not isinstance(value, list):
        raise Failure("a JSON array in each data event", shortened(text))
    return value
