"""ETag, If-None-Match and Cache-Control of reads (PROTOCOL §10.1, RFC 9110 §13.1.2)."""

from __future__ import annotations

from typing import Final

NO_STORE: Final = "no-store"
HISTORICAL: Final = "public, max-age=60, stale-while-revalidate=300"
HISTORICAL_PRIVATE: Final = "private, max-age=60, stale-while-revalidate=300"
AT_TAIL_PRIVATE: Final = "private, no-cache"
AT_TAIL: Final = "no-cache"
"""An empty page at the tail is stale with the next append: caches may keep it, but must ask (ETag) first."""


def etag(incarnation: int, start: int, end: int, *, closed: bool) -> str:
    """Varies with the stream's incarnation, the bytes, and closure, so a 304 never hides an end of stream."""
    return f'"{incarnation}:{start}:{end}{":c" if closed else ""}"'


def matches(if_none_match: str | None, current: str) -> bool:
    """Whether an If-None-Match header (a list, weak tags, `*`) names the current tag."""
    if if_none_match is None:
        return False
    if if_none_match.strip() == "*":
        return True
    # Our tags hold no comma, so splitting cannot cut one of them in two.
    return any(tag.strip().removeprefix("W/") == current for tag in if_none_match.split(","))
