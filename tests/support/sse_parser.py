"""An SSE parser written from the HTML standard (§9.2.6), to check the server's encoder against."""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import Final

__all__ = ["Event", "parse_events"]

_LINE_END: Final = re.compile(r"\r\n|\r|\n")


@dataclass(frozen=True)
class Event:
    """A dispatched event."""

    name: str
    data: str


def parse_events(stream: bytes) -> list[Event]:
    """All events of a complete event stream; what follows the last blank line is dropped."""
    events: list[Event] = []
    name, data = "message", list[str]()
    for line in _LINE_END.split(stream.decode()):
        field, _, value = line.partition(":")
        value = value.removeprefix(" ")
        if not line:
            if data:
                events.append(Event(name, "\n".join(data)))
            name, data = "message", []
        elif field == "event":
            name = value
        elif field == "data":
            data.append(value)
    return events
