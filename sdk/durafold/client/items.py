"""From pages to what users iterate over: messages, batches, text, bytes, events. Decisions only, and no I/O.

A feed takes a page and hands out its items one by one, and notes in `Progress` how far it has come. The
iterators of the asynchronous and of the blocking face differ only in how they get the next page.
"""

from __future__ import annotations

import codecs
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any, Generic, Literal, Protocol, TypeVar

from durafold.client.checkpoint import Checkpoint, Progress
from durafold.client.values import Page
from durafold.errors import MalformedResponse
from durafold.wire import names
from durafold.wire.offsets import Offset

__all__ = [
    "EventMode",
    "Feed",
    "StreamEvent",
    "batch_feed",
    "bytes_feed",
    "event_feed",
    "message_feed",
    "text_feed",
]

T = TypeVar("T")
T_co = TypeVar("T_co", covariant=True)

EventMode = Literal["auto", "json", "text", "bytes"]
"""What the data of an event is: with `auto` JSON values for JSON streams, text for `text/*`, else bytes."""


@dataclass(frozen=True, slots=True)
class StreamEvent:
    """One message or chunk of a stream, with its place.

    Attributes:
        data: the JSON value, text or bytes. None for an event that tells only `up_to_date` or `closed`
            (`has_data` tells it from a JSON `null`).
        checkpoint: the place behind it, to go on from.
        next_offset: where the page ends that it came with.
        up_to_date: it is the last for the moment.
        closed: it is the last for ever.
        has_data: whether there is data.
    """

    data: Any
    checkpoint: Checkpoint
    next_offset: Offset
    up_to_date: bool = False
    closed: bool = False
    has_data: bool = True


class Feed(Protocol[T_co]):
    """Takes pages, and hands out their items."""

    def put(self, page: Page) -> None:
        """The next page; all items of the last one were taken.

        Raises:
            MalformedResponse: it cannot be read so.
        """

    def take(self) -> Sequence[T_co]:
        """The next item, alone in a sequence; an empty one when another page is needed."""
        ...

    def end(self) -> None:
        """No page follows.

        Raises:
            MalformedResponse: the content ends within an item.
        """


class _PageFeed(Generic[T]):
    """Items that are messages, or one item for each page.

    Args:
        progress: told of what was handed out.
        unpack: makes the items of a page.
        counts: whether the items are messages, so that a place between two of them has a checkpoint.
    """

    def __init__(
        self, progress: Progress, unpack: Callable[[Page], Sequence[T]], *, counts: bool = False
    ) -> None:
        self._progress = progress
        self._unpack = unpack
        self._counts = counts
        self._page: Page | None = None
        self._items: Sequence[T] = ()
        self._taken = 0

    def put(self, page: Page) -> None:
        self._items = self._unpack(page) if page.data else ()
        self._page, self._taken = page, 0
        if not self._items:
            self._progress.set(page)

    def take(self) -> Sequence[T]:
        if self._taken == len(self._items):
            return ()
        item = self._items[self._taken]
        self._taken += 1
        assert self._page is not None
        is_inside = self._counts and self._taken < len(self._items)
        self._progress.set(self._page, self._taken if is_inside else None)
        return (item,)

    def end(self) -> None:
        """Pages end where items end."""


class _TextFeed:
    """Text, a page at a time; a character that a page's end cuts waits for the next page."""

    def __init__(self, progress: Progress) -> None:
        self._progress = progress
        self._decoder = codecs.getincrementaldecoder("utf-8")()
        self._page: Page | None = None
        self._text = ""

    def put(self, page: Page) -> None:
        try:
            self._text = self._decoder.decode(page.data)
        except UnicodeDecodeError as exc:
            raise MalformedResponse(f"The stream's content is not UTF-8: {exc}", offset=page.offset) from exc
        if self._text:
            self._page = page
        elif not self._held_bytes:
            self._progress.set(page)

    def take(self) -> Sequence[str]:
        if not self._text:
            return ()
        text, self._text = self._text, ""
        assert self._page is not None
        held_bytes = self._held_bytes
        self._progress.set(self._page, len(self._page.data) - held_bytes if held_bytes else None)
        return (text,)

    def end(self) -> None:
        if self._held_bytes:
            raise MalformedResponse("The stream ends within a UTF-8 character")

    @property
    def _held_bytes(self) -> int:
        return len(self._decoder.getstate()[0])


class _EventFeed:
    """The items of another feed with their places, and an event for a page that has none.

    The other feed is one item ahead, to know which item is a page's last; so its progress is its own.
    """

    def __init__(self, progress: Progress, mode: EventMode) -> None:
        self._progress = progress
        self._ahead = Progress(progress.checkpoint)
        self._mode: EventMode = mode
        self._feed: Feed[Any] | None = None
        self._page: Page | None = None
        self._next: Sequence[Any] = ()
        self._has_news = False  # up_to_date or closed, and no event has told

    def put(self, page: Page) -> None:
        if self._feed is None:
            self._feed = _feed_for(self._mode, page.content_type)(self._ahead)
        self._feed.put(page)
        self._page = page
        self._has_news = page.up_to_date or page.closed
        self._next = self._feed.take()
        if not self._next:
            self._progress.jump(self._ahead.checkpoint)

    def take(self) -> Sequence[StreamEvent]:
        if self._next:
            return (self._event_of(self._next[0]),)
        if not self._has_news:
            return ()
        return (self._event(None, self._ahead.checkpoint, is_last=True, has_data=False),)

    def end(self) -> None:
        if self._feed is not None:
            self._feed.end()

    def _event_of(self, item: Any) -> StreamEvent:
        assert self._feed is not None
        checkpoint = self._ahead.checkpoint
        self._progress.jump(checkpoint)
        self._next = self._feed.take()
        return self._event(item, checkpoint, is_last=not self._next)

    def _event(
        self, data: Any, checkpoint: Checkpoint, *, is_last: bool, has_data: bool = True
    ) -> StreamEvent:
        page = self._page
        assert page is not None
        self._has_news = self._has_news and not is_last
        return StreamEvent(
            data, checkpoint, page.next_offset, is_last and page.up_to_date, is_last and page.closed, has_data
        )


def message_feed(progress: Progress) -> Feed[Any]:
    """The messages of a JSON stream."""
    return _PageFeed(progress, Page.json, counts=True)


def batch_feed(progress: Progress) -> Feed[list[Any]]:
    """The messages of a JSON stream, those of one page together."""
    return _PageFeed(progress, lambda page: (page.json(),))


def bytes_feed(progress: Progress) -> Feed[bytes]:
    """The data of each page."""
    return _PageFeed(progress, lambda page: (page.data,))


def text_feed(progress: Progress) -> Feed[str]:
    """The text of each page."""
    return _TextFeed(progress)


def event_feed(progress: Progress, mode: EventMode) -> Feed[StreamEvent]:
    """The items of a stream as events."""
    return _EventFeed(progress, mode)


def _feed_for(mode: EventMode, content_type: str) -> Callable[[Progress], Feed[Any]]:
    kind = _natural_mode(content_type) if mode == "auto" else mode
    return {"json": message_feed, "text": text_feed, "bytes": bytes_feed}[kind]


def _natural_mode(content_type: str) -> Literal["json", "text", "bytes"]:
    if names.is_json(content_type):
        return "json"
    return "text" if names.is_text(content_type) else "bytes"
