"""Between what a command reads or prints and the messages of a stream. Bytes in, bytes out, no I/O."""

from __future__ import annotations

import json
from collections.abc import Iterator
from typing import Final

from durafold.errors import ConfigurationError, MalformedResponse

__all__ = ["LineSplitter", "as_json_string", "check_json_line", "split_array"]

_scan: Final = json.JSONDecoder().raw_decode
_WHITESPACE: Final = " \t\n\r"
_LINE_ENDS: Final = str.maketrans("\n\r", "  ")
_MAX_QUOTED_CHARS: Final = 60


def split_array(array: bytes) -> list[str]:
    """The texts of the elements of a JSON array, as they are written there, each on one line.

    They are not decoded and encoded again: that would change numbers such as 1.10 or 1e400.

    Raises:
        MalformedResponse: it is no JSON array.
    """
    if not array:
        return []
    try:
        return list(_elements(array.decode()))
    except (ValueError, RecursionError) as exc:
        raise MalformedResponse(f"A page of a JSON stream is not a JSON array: {exc}") from exc


def _elements(text: str) -> Iterator[str]:
    at = _skip(text, 0)
    if text[at : at + 1] != "[":
        raise ValueError("it does not begin with '['")
    at = _skip(text, at + 1)
    if text[at : at + 1] == "]":
        return
    while True:
        _, end = _scan(text, at)
        # A line end outside a string is white space, and inside of one it cannot be.
        yield text[at:end].translate(_LINE_ENDS)
        at = _skip(text, end)
        if text[at : at + 1] == "]":
            return
        if text[at : at + 1] != ",":
            raise ValueError(f"no ',' or ']' at character {at}")
        at = _skip(text, at + 1)


def _skip(text: str, at: int) -> int:
    while at < len(text) and text[at] in _WHITESPACE:
        at += 1
    return at


class LineSplitter:
    """Cuts chunks of any size into lines, and never holds more than one unfinished line.

    Args:
        max_line_bytes: longest line that is taken.
    """

    def __init__(self, max_line_bytes: int) -> None:
        self._max_line_bytes = max_line_bytes
        self._parts: list[bytes] = []
        self._size_bytes = 0

    def feed(self, chunk: bytes) -> list[bytes]:
        """The lines that this chunk completes, with their line ends.

        Raises:
            ConfigurationError: a line is too long.
        """
        *complete, rest = chunk.split(b"\n")
        lines = [line + b"\n" for line in complete]
        if lines and self._parts:
            lines[0] = b"".join([*self._parts, lines[0]])
            self._parts, self._size_bytes = [], 0
        if rest:
            self._parts.append(rest)
            self._size_bytes += len(rest)
        longest_bytes = max(self._size_bytes, max(map(len, lines), default=0))
        if longest_bytes > self._max_line_bytes:
            raise ConfigurationError(
                f"A line of the input has more than {self._max_line_bytes} bytes",
                hint="Each line is one message: break it up, or use a stream of bytes",
            )
        return lines

    def rest(self) -> bytes:
        """The last line, if it has no line end."""
        return b"".join(self._parts)


def check_json_line(line: bytes, where: str) -> bytes:
    """A line as one JSON message, or `b""` for an empty line.

    Args:
        line: with or without its line end.
        where: the name of its place, for the message.

    Raises:
        ConfigurationError: it is not one JSON value.
    """
    text = line.strip()
    if not text:
        return b""
    try:
        _decode_strictly(text.decode())
    except (ValueError, RecursionError) as exc:
        quoted = text[:_MAX_QUOTED_CHARS].decode(errors="replace")
        raise ConfigurationError(
            f"{where} is not a JSON value ({exc}): {quoted}",
            hint="This is a JSON stream: write JSON, or add --text to append each line as a string",
        ) from exc
    return text


def _refuse_constant(name: str) -> None:
    raise ValueError(f"{name} is not JSON")


_decode_strictly: Final = json.JSONDecoder(parse_constant=_refuse_constant).decode


def as_json_string(line: bytes, where: str) -> bytes:
    """A line of text, without its line end, as a JSON string.

    Raises:
        ConfigurationError: it is not UTF-8.
    """
    try:
        text = line.decode()
    except UnicodeDecodeError as exc:
        raise ConfigurationError(f"{where} is not UTF-8: {exc}") from exc
    return json.dumps(text.removesuffix("\n").removesuffix("\r"), ensure_ascii=False).encode()
