"""The offset token: `<origin>_<position>`, both sixteen digits (PROTOCOL §8).

`position` counts bytes from the beginning of the stream's stored bytes, so chunks of any size can be joined
or split without changing an offset. `origin` is the id of the stream that the bytes before the position were
appended to. Ids only ever grow, so a path that is deleted and created anew never hands out an old offset
again, and an old one is recognised. A repair that cuts lost data off a stream gives it a new origin from
there on, so that the offsets of what is lost are recognised too (`store/sqlite/salvage.py`). A
fork's offsets are its source's up to where it branched off (PROTOCOL §8) and its own from there on; its id is
greater, so they sort behind.
"""

from __future__ import annotations

from typing import Final

from durafold.wire.offsets import NOW, START

_WIDTH: Final = 16
_LENGTH: Final = 2 * _WIDTH + 1

ZERO: Final = f"{0:0{_WIDTH}d}_{0:0{_WIDTH}d}"
"""Accepted as the beginning of any stream: what the reference server calls the start."""


def format_offset(origin: int, position: int) -> str:
    """The token of a position; tokens of one stream sort as strings in order of position."""
    return f"{origin:0{_WIDTH}d}_{position:0{_WIDTH}d}"


def parse_offset(token: str) -> tuple[int, int] | None:
    """(origin, position) of a token, or None if this server never made it."""
    if len(token) != _LENGTH or token[_WIDTH] != "_" or not token.isascii():
        return None
    origin, position = token[:_WIDTH], token[_WIDTH + 1 :]
    if not (origin.isdigit() and position.isdigit()):
        return None
    return int(origin), int(position)


def is_start(token: str | None) -> bool:
    """Whether a request means the beginning: no offset, `-1`, or all zeros."""
    return token is None or token in (START, ZERO)


def is_now(token: str | None) -> bool:
    """Whether a request means the tail as it is when the request is handled."""
    return token == NOW
