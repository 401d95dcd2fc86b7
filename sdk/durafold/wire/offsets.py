"""Offsets as clients see them: opaque tokens that sort as strings (PROTOCOL §8)."""

from __future__ import annotations

from typing import Final, NewType

Offset = NewType("Offset", str)
"""An opaque position token. Never parse or build one; take it from a response."""

START: Final = Offset("-1")
"""The beginning of a stream."""

NOW: Final = Offset("now")
"""The tail at the moment the server handles the request."""

_FORBIDDEN = frozenset(",&=?/")
MAX_OFFSET_LENGTH: Final = 256


def is_valid_token(text: object) -> bool:
    """Whether this may be an offset at all: a string of printable ASCII, short, without `, & = ? /`."""
    return (
        isinstance(text, str)
        and 0 < len(text) <= MAX_OFFSET_LENGTH
        and text.isascii()
        and text.isprintable()
        and " " not in text
        and not _FORBIDDEN.intersection(text)
    )
