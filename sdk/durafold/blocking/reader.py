"""Faces of the readers: plain iterators over what `durafold.client.reader` reads."""

from __future__ import annotations

from typing import Any, Generic, Self, TypeVar

from durafold import client
from durafold.blocking.mirror import Face, face_of, waits
from durafold.client import Checkpoint, EventMode, Offset, Page, ReadStatus, StreamEvent, items
from durafold.client.checkpoint import Progress
from durafold.client.items import Feed
from durafold.client.reader import Pages as AsyncPages
from durafold.errors import DurafoldError

__all__ = ["Follower", "Items", "Pages"]

T = TypeVar("T")


@face_of(AsyncPages)
class Pages(Face[AsyncPages]):
    def __iter__(self) -> Self:
        return self

    def __next__(self) -> Page:
        page = self._portal.run(_next_or_none, self._target)
        if page is None:
            raise StopIteration
        return page


async def _next_or_none(pages: AsyncPages) -> Page | None:
    return await anext(pages, None)


class Items(Generic[T]):
    """What a follower receives, piece by piece: an iterator.

    Made by the `iter_...` methods of `Follower`, whose context closes the connection.
    """

    def __init__(self, follower: Follower, feed: Feed[T]) -> None:
        self._follower = follower
        self._feed = feed

    def __iter__(self) -> Self:
        return self

    def __next__(self) -> T:
        while not (item := self._feed.take()):
            if not self._follower.ready():
                self._feed.end()
                raise StopIteration
            self._feed.put(self._follower.take())
        return item[0]


@face_of(client.Follower)
class Follower(Face[client.Follower]):
    # ---- what is known ----

    @property
    def offset(self) -> Offset:
        return self._target.offset

    @property
    def checkpoint(self) -> Checkpoint:
        return self._target.checkpoint

    @property
    def up_to_date(self) -> bool:
        return self._target.up_to_date

    @property
    def closed(self) -> bool:
        return self._target.closed

    @property
    def content_type(self) -> str | None:
        return self._target.content_type

    @property
    def status(self) -> ReadStatus:
        return self._target.status

    @property
    def error(self) -> DurafoldError | None:
        return self._target.error

    @property
    def progress(self) -> Progress:
        return self._target.progress

    # ---- iterating ----

    def __iter__(self) -> Self:
        return self

    def __next__(self) -> Page:
        if not self.ready():
            raise StopIteration
        page = self.take()
        self.progress.set(page)
        return page

    def iter_json(self) -> Items[Any]:
        return Items(self, items.message_feed(self.progress))

    def iter_batches(self) -> Items[list[Any]]:
        return Items(self, items.batch_feed(self.progress))

    def iter_text(self) -> Items[str]:
        return Items(self, items.text_feed(self.progress))

    def iter_bytes(self) -> Items[bytes]:
        return Items(self, items.bytes_feed(self.progress))

    def iter_events(self, mode: EventMode = "auto") -> Items[StreamEvent]:
        return Items(self, items.event_feed(self.progress, mode))

    ready = waits(client.Follower.ready)

    def take(self) -> Page:
        return self._target.take()

    # ---- life ----

    def close(self) -> None:
        """Close the connection. Iterating again would open a new one and go on."""
        self._portal.run(self._target.aclose)

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *exc_info: object) -> None:
        self.close()
