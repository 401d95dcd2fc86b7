"""The JSON object of an SSE `control` event (PROTOCOL §5.8)."""

from __future__ import annotations

import json
from dataclasses import dataclass

from durafold.wire.offsets import Offset, is_valid_token


@dataclass(frozen=True, slots=True)
class ControlEvent:
    """What follows every SSE data event.

    Attributes:
        next_offset: where to resume after the data sent so far.
        cursor: to be echoed on the next request; absent once the stream is closed.
        up_to_date: nothing more was available when the event was made.
        closed: end of stream; never reconnect.
    """

    next_offset: Offset
    cursor: str | None = None
    up_to_date: bool = False
    closed: bool = False


def encode_control(event: ControlEvent) -> str:
    """One line of JSON with the field names of PROTOCOL §5.8; only flags that are true appear."""
    # Hand-written: this runs once per batch of every SSE stream, and no value here needs escaping.
    cursor = f',"streamCursor":"{event.cursor}"' if event.cursor is not None and not event.closed else ""
    up_to_date = ',"upToDate":true' if event.up_to_date else ""
    closed = ',"streamClosed":true' if event.closed else ""
    return f'{{"streamNextOffset":"{event.next_offset}"{cursor}{up_to_date}{closed}}}'


def decode_control(data: str) -> ControlEvent:
    """Parse the data of a `control` event; unknown fields are ignored.

    Raises:
        ValueError: it is no JSON object, or a field is missing or of the wrong type.
    """
    fields = json.loads(data)
    if not isinstance(fields, dict):
        raise ValueError("a control event must be a JSON object")  # noqa: TRY004 - one kind of error
    offset = fields.get("streamNextOffset")
    if not isinstance(offset, str) or not is_valid_token(offset):
        raise ValueError("a control event must have a string streamNextOffset")
    cursor = fields.get("streamCursor")
    if cursor is not None and not isinstance(cursor, str):
        raise ValueError("streamCursor must be a string")
    closed = fields.get("streamClosed") is True
    # PROTOCOL §5.8: streamClosed implies upToDate.
    return ControlEvent(Offset(offset), cursor, closed or fields.get("upToDate") is True, closed)
