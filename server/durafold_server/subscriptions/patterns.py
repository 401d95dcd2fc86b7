"""Glob patterns over stream paths: `*` is one segment, `**` zero or more (PROTOCOL §6.2).

A pattern is written like a path, and like one may be percent-encoded. A literal asterisk is `%2A`.
"""

from __future__ import annotations

import itertools
from collections.abc import Iterable
from enum import Enum
from typing import Final

from durafold_server.protocol.requests import parse_path
from durafold_server.subscriptions.errors import InvalidSubscription

MAX_SEGMENTS: Final = 64
"""Matching takes time in proportion to it, for every stream that is new."""


class Wildcard(Enum):
    """A segment of a pattern that stands for others."""

    ONE = "*"
    ANY = "**"


class Pattern:
    """A parsed pattern.

    Args:
        text: as the client wrote it.

    Raises:
        InvalidSubscription: too many segments, or an asterisk stands beside other characters of one.
        ProtocolError: without its wildcards it could not be a stream's path (see `parse_path`).
    """

    __slots__ = ("_segments", "prefix", "text")

    def __init__(self, text: str) -> None:
        canonical = parse_path(text)
        pairs = list(zip(text.split("/"), canonical.split("/"), strict=True))
        if len(pairs) > MAX_SEGMENTS:
            raise InvalidSubscription(f"A pattern has at most {MAX_SEGMENTS} segments.")
        self._segments = tuple(_segment(raw, literal) for raw, literal in pairs)
        self.text = "/".join(_written(segment) for segment in self._segments)
        """The pattern in normal form; equal patterns have equal texts."""
        self.prefix = _prefix(self._segments)
        """What every path that matches begins with."""

    def matches(self, path: str) -> bool:
        """Whether a canonical path matches; takes time proportional to its segments × the pattern's."""
        if not path.startswith(self.prefix):
            return False
        # The pattern's beginnings, by length in segments, that match what was looked at of the path.
        reached = self._with_empty({0})
        for part in path.split("/"):
            reached = self._with_empty(
                length if self._segments[length] is Wildcard.ANY else length + 1
                for length in reached
                if length < len(self._segments) and _takes(self._segments[length], part)
            )
        return len(self._segments) in reached

    def _with_empty(self, reached: Iterable[int]) -> set[int]:
        """`**` matches zero segments too."""
        complete = set(reached)
        for length, segment in enumerate(self._segments):
            if segment is Wildcard.ANY and length in complete:
                complete.add(length + 1)
        return complete


def _takes(segment: Wildcard | str, part: str) -> bool:
    return isinstance(segment, Wildcard) or segment == part


def _segment(raw: str, canonical: str) -> Wildcard | str:
    if raw in ("*", "**"):
        return Wildcard(raw)
    if "*" in raw:
        raise InvalidSubscription(
            f"* and ** stand for whole segments of a path, which {raw!r} is not; "
            "write %2A for an asterisk that is part of a name."
        )
    return canonical


def _written(segment: Wildcard | str) -> str:
    return segment.value if isinstance(segment, Wildcard) else segment.replace("*", "%2A")


def _prefix(segments: tuple[Wildcard | str, ...]) -> str:
    literals = list(itertools.takewhile(lambda segment: isinstance(segment, str), segments))
    beginning = "/".join(map(str, literals))
    # `a/**` matches `a` as well, so there the slash is not common to all.
    followed_by_one = segments[len(literals) :][:1] == (Wildcard.ONE,)
    return f"{beginning}/" if literals and followed_by_one else beginning
