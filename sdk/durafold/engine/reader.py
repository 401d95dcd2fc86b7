"""Keeps the pages of one stream coming, whatever happens to the connection or to the stream."""

from __future__ import annotations

import random
from collections.abc import Callable
from typing import Final, Protocol

import anyio

from durafold.client import DurableStream, LiveChoice, Offset, Page, ReadStatus
from durafold.errors import (
    BadRequest,
    ConfigurationError,
    DurafoldError,
    ServerUnavailable,
    StateError,
    StreamConflict,
    StreamGone,
    StreamNotFound,
    TooManyRequests,
    TransportError,
)
from durafold.wire.names import JSON_CONTENT_TYPE, is_json
from durafold.wire.offsets import START

__all__ = ["Reader", "Sink"]

_TRIES: Final = 3
"""How many answers in a row may make no sense before the stream counts as failed."""


class Sink(Protocol):
    """What the reader needs of the one it reads for."""

    @property
    def offset(self) -> Offset:
        """Where to read on."""
        ...

    async def take(self, page: Page) -> None:
        """Fold a page."""

    async def start_over(self, *, was_deleted: bool) -> None:
        """Reading cannot go on: have `offset` at the start, or at a state that was folded elsewhere.

        Args:
            was_deleted: the stream does not exist, so that what was folded is of no use. Otherwise it may be
                that the server keeps its beginning no longer.
        """

    async def skip_trimmed(self, error: StreamGone) -> StreamGone | None:
        """What follows `offset` is no longer kept: go on from a state that was folded elsewhere.

        Returns:
            What to tell if there is none.
        """
        ...

    def reading_changed(self) -> None:
        """`status`, `failure`, `trouble` or `next_attempt_at` changed."""

    def refused(self, error: DurafoldError) -> None:
        """The server refuses to serve the stream; told once, until it serves it again."""


class Reader:
    """Follows a stream and hands its pages to a sink.

    The follower of the client restores lost connections by itself. What is left for here are the answers that
    end it: the stream does not exist (it is created, if that is wanted), it is another one than before (the
    sink starts over), or the server refuses (tried again, more and more rarely).

    Args:
        stream: what to read.
        sink: who gets the pages.
        create: create the stream if it does not exist.
        live: how to wait for new data.
        clock: seconds since 1970.

    Attributes:
        status: what the follower is doing.
        failure: why the server does not serve the stream, while it does not.
        trouble: why the last attempt to read failed, until one succeeds.
        next_attempt_at: when it is tried again, seconds since 1970.
        exists: set while the stream is known to exist.
    """

    def __init__(
        self,
        stream: DurableStream,
        sink: Sink,
        *,
        create: bool,
        live: LiveChoice,
        clock: Callable[[], float],
    ) -> None:
        self._stream = stream
        self._sink = sink
        self._create = create
        self._live: LiveChoice = live
        self._clock = clock
        self._attempts = 0
        self.trouble: DurafoldError | None = None
        self.next_attempt_at: float | None = None
        self.status: ReadStatus = "connecting"
        self.failure: DurafoldError | None = None
        self.exists = anyio.Event()

    async def run(self) -> None:
        """Read until the stream is closed and all of it was taken.

        Raises:
            StateError: the sink raised it.
        """
        while True:
            try:
                await self._follow()
            except StateError:
                raise  # the sink will take no more
            except DurafoldError as error:
                await self._mend(error)
            else:
                return

    async def _follow(self) -> None:
        follower = self._stream.follow(self._sink.offset, live=self._live, on_status=self._status_changed)
        follower.on_pause = self._pausing
        async with follower:
            async for page in follower:
                _require_json(page)
                page.require_beginning()
                await self._sink.take(page)
                self._works()

    def _status_changed(self, status: ReadStatus) -> None:
        self.status = status
        if status in ("catching-up", "live"):
            self.trouble = self.next_attempt_at = None
        self._sink.reading_changed()

    def _pausing(self, error: DurafoldError, delay_s: float) -> None:
        self.trouble, self.next_attempt_at = error, self._clock() + delay_s
        self._sink.reading_changed()

    def _works(self) -> None:
        self._attempts = 0
        self.exists.set()
        self._set_failure(None)

    def _set_failure(self, failure: DurafoldError | None) -> None:
        was_served, self.failure = self.failure is None, failure
        if was_served is (failure is None):
            return
        self._sink.reading_changed()
        if failure is not None:
            self._sink.refused(failure)

    async def _mend(self, error: DurafoldError) -> None:
        """Do what the error asks for, so that following can begin again."""
        is_elsewhere = isinstance(error, StreamNotFound | StreamGone | BadRequest)
        if isinstance(error, StreamGone) and error.earliest_offset is not None:
            gap = await self._sink.skip_trimmed(error)
            if gap is not None:
                self._set_failure(gap)
                await self._rest(gap)
        elif is_elsewhere and self._sink.offset != START:
            # The stream was deleted, and perhaps made anew: what we have is of no use for this one.
            if self.exists.is_set():  # whoever waits for it already goes on waiting
                self.exists = anyio.Event()
            await self._sink.start_over(was_deleted=isinstance(error, StreamNotFound))
        elif isinstance(error, StreamNotFound) and self._create:
            await self._make(error)
        else:
            if isinstance(error, StreamGone):
                # Its beginning is no longer kept: perhaps there is a snapshot by now.
                await self._sink.start_over(was_deleted=False)
            if not _may_pass(error) or self._attempts >= _TRIES:
                self._set_failure(error)
            await self._rest(error)

    async def _make(self, missing: StreamNotFound) -> None:
        try:
            await self._stream.create(content_type=JSON_CONTENT_TYPE)
        except StreamConflict:
            pass  # Somebody else made it in the meantime, with settings of their own.
        except DurafoldError as error:
            if not _may_pass(error):
                self._set_failure(error)
            await self._rest(error)
            return
        if self._attempts:
            await self._rest(missing)  # It vanishes as soon as it is made.
        self._attempts += 1
        self.exists.set()

    async def _rest(self, error: DurafoldError) -> None:
        self._attempts += 1
        backoff = self._stream.settings.backoff
        delay_s = backoff.delay_s(self._attempts - 1, random.random())  # noqa: S311 - jitter
        self._pausing(error, delay_s)
        await anyio.sleep(delay_s)


def _may_pass(error: DurafoldError) -> bool:
    """Whether the error says nothing about the stream, only about the way to it."""
    return isinstance(error, TransportError | ServerUnavailable | TooManyRequests)


def _require_json(page: Page) -> None:
    if not is_json(page.content_type):
        raise ConfigurationError(
            f"The stream is {page.content_type}, and state needs {JSON_CONTENT_TYPE}",
            hint="Use another key, or delete the stream",
        )
