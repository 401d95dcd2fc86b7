"""From values to text for people. Pure: what goes in comes out as text, and nothing is printed here."""

from __future__ import annotations

import json
import re
from typing import Any, Final

__all__ = ["byte_count", "compact", "count", "escaped", "hex_lines", "indented", "short"]

# Control characters other than tab and line feed: a terminal obeys them, and what is in a stream, or in a
# server's answer, was perhaps written by a stranger.
_CONTROLS: Final = re.compile(r"[\x00-\x08\x0b-\x1f\x7f-\x9f\u061c\u200e\u200f\u2028-\u202e\u2066-\u2069]")
_HEX_WIDTH: Final = 16
_UNITS: Final = ("kB", "MB", "GB", "TB")


def escaped(text: str) -> str:
    """The text with control characters made visible, such as `\\x1b`; tabs and line feeds stay."""
    return _CONTROLS.sub(lambda match: match[0].encode("unicode_escape").decode(), text)


def compact(value: Any) -> str:
    """A JSON value on one line."""
    return json.dumps(value, ensure_ascii=False, separators=(",", ":"))


def indented(value: Any) -> str:
    """A JSON value on as many lines as it takes to read it easily, safe for a terminal."""
    return escaped(json.dumps(value, ensure_ascii=False, indent=2))


def short(text: str, max_chars: int) -> str:
    """The text, cut with an ellipsis where it is longer."""
    return text if len(text) <= max_chars else text[: max_chars - 1] + "…"


def count(number: int, noun: str) -> str:
    """`1 message`, `2 messages`."""
    return f"{number:,} {noun}" if number == 1 else f"{number:,} {noun}s"


def byte_count(size: int) -> str:
    """`999 B`, `1.5 kB`, `12.3 MB`: powers of a thousand."""
    if size < 1000:
        return f"{size} B"
    value = float(size)
    for unit in _UNITS:
        value /= 1000
        if value < 999.95 or unit == _UNITS[-1]:
            return f"{value:.1f} {unit}"
    raise AssertionError("unreachable")


def hex_lines(data: bytes, at: int) -> list[str]:
    """Lines of 16 bytes: position in the stream, hexadecimal, and as ASCII where that can be printed.

    Args:
        data: the bytes.
        at: how many bytes were shown before.
    """
    return [_hex_line(data[i : i + _HEX_WIDTH], at + i) for i in range(0, len(data), _HEX_WIDTH)]


def _hex_line(chunk: bytes, at: int) -> str:
    digits = chunk.hex(" ").ljust(3 * _HEX_WIDTH - 1)
    text = "".join(chr(byte) if 32 <= byte < 127 else "." for byte in chunk)
    return f"{at:08x}  {digits}  {text}"
