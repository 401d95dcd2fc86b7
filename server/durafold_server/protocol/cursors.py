"""The cursor of live reads: keeps caches from answering one empty page for ever (PROTOCOL §10.1)."""

from __future__ import annotations

from typing import Final

INTERVAL_S: Final = 20
EPOCH_S: Final = 1_728_432_000
"""9 October 2024, 00:00 UTC."""

_JITTER_S: Final = 3600
_MAX_DIGITS: Final = 16


def next_cursor(now_us: int, client_cursor: str | None, random: float) -> str:
    """The cursor to answer with: the number of the current interval, or beyond the client's own.

    Args:
        now_us: microseconds since 1970.
        client_cursor: the request's `cursor` parameter; anything but a number is ignored.
        random: from 0 up to 1, decides the jitter of 1 to 3,600 seconds.
    """
    current = _interval(now_us)
    theirs = parse_cursor(client_cursor)
    if theirs is None or theirs < current:
        return str(current)
    jitter_s = 1 + int(random * _JITTER_S)
    return str(theirs + max(1, jitter_s // INTERVAL_S))


def later_cursor(now_us: int, previous: str) -> str:
    """The cursor of a later event on the same connection: the current interval, but never back."""
    return str(max(_interval(now_us), int(previous)))


def parse_cursor(text: str | None) -> int | None:
    """The interval number of a cursor, or None for anything that is none of ours."""
    if text is None or not text.isascii() or not text.isdigit() or len(text) > _MAX_DIGITS:
        return None
    return int(text)


def _interval(now_us: int) -> int:
    return (now_us // 1_000_000 - EPOCH_S) // INTERVAL_S
