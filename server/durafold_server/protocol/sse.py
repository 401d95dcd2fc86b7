"""Server-Sent Events of a live read: data events, each followed by a control event (PROTOCOL §5.8)."""

from __future__ import annotations

import base64
import re
from typing import Final

from durafold.wire.control import ControlEvent, encode_control
from durafold_server.protocol.json_mode import page_body
from durafold_server.protocol.model import Mode

HEARTBEAT: Final = b":\n\n"
"""A comment: keeps proxies and clients from taking a quiet connection for a dead one."""

_NEWLINE: Final = re.compile(rb"\r\n|\r|\n")
_LONGEST_CHARACTER: Final = 4


def data_event(data: bytes, mode: Mode) -> bytes:
    """The data event of a batch of stored bytes.

    JSON becomes one array, text is carried as it is (bytes that are no UTF-8 as U+FFFD, so that one of them
    does not end the stream for every reader), anything else as base64.
    """
    if mode is Mode.JSON:
        return _event(page_body(data))
    if mode is Mode.TEXT:
        return _event(_valid_utf8(data))
    return b"event: data\ndata:" + base64.b64encode(data) + b"\n\n"


def control_event(event: ControlEvent) -> bytes:
    """The control event that says where to resume."""
    return b"event: control\ndata:" + encode_control(event).encode() + b"\n\n"


def whole_characters(data: bytes) -> int:
    """How many bytes of text can be sent now: an incomplete last character waits for its rest."""
    for back in range(1, min(_LONGEST_CHARACTER, len(data)) + 1):
        lead = data[-back]
        if lead < 0x80:
            return len(data)
        if lead >= 0xC0:  # the first byte of a character says how long it is
            length = 2 if lead < 0xE0 else 3 if lead < 0xF0 else 4
            return len(data) - back if back < length and lead < 0xF8 else len(data)
    return len(data)


def _valid_utf8(data: bytes) -> bytes:
    try:
        data.decode()
    except UnicodeDecodeError:
        return data.decode(errors="replace").encode()
    return data


def _event(payload: bytes) -> bytes:
    # A line break inside the payload would otherwise end the field, or forge an event.
    lines = _NEWLINE.split(payload) if b"\n" in payload or b"\r" in payload else (payload,)
    parts = [b"event: data\n"]
    for line in lines:
        # Readers take off one space after the colon: a line that begins with one needs a second.
        parts += (b"data: " if line.startswith(b" ") else b"data:", line, b"\n")
    parts.append(b"\n")
    return b"".join(parts)
