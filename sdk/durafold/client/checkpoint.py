"""Where a reader stands, as a small value that another process can go on from.

Offsets lie between pages, not between messages (PROTOCOL §8: only a server makes them). So that a reader
which stops in the middle of a page neither repeats nor misses a message, a checkpoint is an offset and how
much behind it was handled.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import Any, Final, Self

from durafold.client.values import Page
from durafold.errors import ConfigurationError, MalformedResponse
from durafold.wire import names
from durafold.wire.offsets import NOW, START, Offset, is_valid_token

__all__ = ["Checkpoint", "Progress", "Skip", "as_checkpoint"]


@dataclass(frozen=True, slots=True)
class Checkpoint:
    """A place in a stream: everything before it was handled.

        stored = json.dumps(follower.checkpoint.to_json())
        ...
        follower = stream.follow(Checkpoint.from_json(json.loads(stored)))

    Attributes:
        offset: an offset that the server gave, or `START`, or `NOW` if the server has not answered yet.
        skip: how much behind the offset was handled too: messages of a JSON stream, bytes of others.
    """

    offset: Offset = START
    skip: int = 0

    def to_json(self) -> dict[str, Any]:
        """As a JSON object: `{"offset": "...", "skip": 3}`, without `skip` if it is 0."""
        return {"offset": self.offset, "skip": self.skip} if self.skip else {"offset": self.offset}

    @classmethod
    def from_json(cls, value: Any) -> Self:
        """A checkpoint from what `to_json` made.

        Raises:
            ConfigurationError: it is something else.
        """
        fields = value if isinstance(value, Mapping) else {}
        offset, skip = fields.get("offset"), fields.get("skip", 0)
        if isinstance(offset, str) and is_valid_token(offset) and type(skip) is int and skip >= 0:
            return cls(Offset(offset), skip)
        raise ConfigurationError(
            f"This is no checkpoint: {str(value)[:80]}",
            hint='Pass what `Checkpoint.to_json()` gave, such as {"offset": "...", "skip": 3}',
        )


def as_checkpoint(place: Offset | Checkpoint) -> Checkpoint:
    """The checkpoint at an offset; a checkpoint as it is.

    Raises:
        ConfigurationError: this cannot be an offset, or there is something to skip behind `NOW`.
    """
    given = place if isinstance(place, Checkpoint) else Checkpoint(place)
    if not is_valid_token(given.offset):
        raise ConfigurationError(
            f"{given.offset!r:.80} cannot be an offset",
            hint="Use START, NOW, the next_offset of an answer, or a Checkpoint",
        )
    if given.skip < 0 or (given.skip and given.offset == NOW):
        raise ConfigurationError(f"A checkpoint at {given.offset} cannot skip {given.skip}")
    return given


class Progress:
    """How much of what was received has been handed out.

    Args:
        start: the checkpoint before anything was received.
    """

    __slots__ = ("_count", "_page", "_start")

    def __init__(self, start: Checkpoint) -> None:
        self._start = start
        self._page: Page | None = None
        self._count: int | None = None

    def set(self, page: Page, count: int | None = None) -> None:
        """Everything before the page was handed out, and so much of it: None for all of it."""
        self._page, self._count = page, count

    def jump(self, checkpoint: Checkpoint) -> None:
        """Everything before the checkpoint was handed out."""
        self._start, self._page = checkpoint, None

    @property
    def checkpoint(self) -> Checkpoint:
        """The place behind what was handed out."""
        if self._page is None:
            return self._start
        if self._count is None:
            return Checkpoint(self._page.next_offset)
        return Checkpoint(self._page.offset, self._page.skipped + self._count)


class Skip:
    """Leaves out what a checkpoint says was handled, from the pages behind its offset.

    Args:
        count: as `Checkpoint.skip`.
    """

    __slots__ = ("_count",)

    def __init__(self, count: int) -> None:
        self._count = count

    def __call__(self, page: Page) -> Page:
        """The page without what was handled of it.

        Raises:
            MalformedResponse: its data is no JSON array, for a JSON stream.
        """
        if not self._count or not page.data:
            return page
        skips_messages = names.is_json(page.content_type)
        data, skipped = (
            _without_messages(page, self._count) if skips_messages else _without_bytes(page, self._count)
        )
        self._count -= skipped
        return replace(page, data=data, skipped=skipped)


def _without_bytes(page: Page, count: int) -> tuple[bytes, int]:
    skipped = min(count, len(page.data))
    return page.data[skipped:], skipped


def _without_messages(page: Page, count: int) -> tuple[bytes, int]:
    """Cut whole elements off the front of the array; what is left keeps its bytes."""
    text = page.text()
    begin = _behind_space(text, 1)  # of the next element: behind the opening bracket
    for skipped in range(count):
        try:
            _, end = _DECODER.raw_decode(text, begin)
        except (ValueError, RecursionError) as exc:
            raise MalformedResponse(
                f"A page of a JSON stream is no array: {exc}", offset=page.offset
            ) from exc
        separator = _behind_space(text, end)
        if text[separator : separator + 1] != ",":
            return b"", skipped + 1
        begin = _behind_space(text, separator + 1)
    return b"[" + text[begin:].encode(), count


def _behind_space(text: str, position: int) -> int:
    while text[position : position + 1].isspace():
        position += 1
    return position


_DECODER: Final = json.JSONDecoder()
