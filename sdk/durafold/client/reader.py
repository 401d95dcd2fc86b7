"""`Follower`: does what the machine in `read_state` asks for."""

from __future__ import annotations

import binascii
import random
from collections import deque
from collections.abc import Awaitable, Callable
from typing import Any, Final, Generic, Self, TypeVar, assert_never, get_args

import anyio

from durafold.client import items, replies
from durafold.client.checkpoint import Checkpoint, Progress, Skip
from durafold.client.exchange import Reply
from durafold.client.items import EventMode, Feed, StreamEvent
from durafold.client.read_state import (
    Answered,
    Control,
    Data,
    Ended,
    Event,
    Fail,
    Failed,
    Fetch,
    Finish,
    Interrupted,
    LiveMode,
    NoEventStream,
    Opened,
    OpenSse,
    Pause,
    ReadState,
    ReadStatus,
    Receive,
    Rested,
    advance,
    check_live,
    next_action,
    status,
)
from durafold.client.requests import Requests
from durafold.client.transport import ServerEvent, SseConnection
from durafold.client.values import Page
from durafold.errors import DurafoldError, MalformedResponse, TransportError
from durafold.wire import names
from durafold.wire.control import decode_control
from durafold.wire.offsets import Offset

__all__ = ["Follower", "Items", "Pages"]

T = TypeVar("T")

_DATA_EVENT: Final = "data"
_CONTROL_EVENT: Final = "control"


class Pages:
    """The pages of a stream up to its present tail: an asynchronous iterator.

    Made by `DurableStream.pages`, which lists the errors. It holds nothing open between two pages.
    """

    def __init__(self, read: Callable[[Offset], Awaitable[Page]], offset: Offset) -> None:
        self._read = read
        self._offset = offset
        self._is_done = False

    def __aiter__(self) -> Self:
        return self

    async def __anext__(self) -> Page:
        if self._is_done:
            raise StopAsyncIteration
        page = await self._read(self._offset)
        if page.next_offset == self._offset and not page.up_to_date:
            raise MalformedResponse(
                "A page says that there is more, but not where: a cache may have given an old answer",
                offset=self._offset,
            )
        self._offset, self._is_done = page.next_offset, page.up_to_date
        return page


class Items(Generic[T]):
    """What a follower receives, piece by piece: an asynchronous iterator.

    Made by the `iter_...` methods of `Follower`, whose context closes the connection.
    """

    def __init__(self, follower: Follower, feed: Feed[T]) -> None:
        self._follower = follower
        self._feed = feed

    def __aiter__(self) -> Self:
        return self

    async def __anext__(self) -> T:
        while not (item := self._feed.take()):
            if not await self._follower.ready():
                self._feed.end()
                raise StopAsyncIteration
            self._feed.put(self._follower.take())
        return item[0]


class Follower:
    """The pages of a stream, from an offset on and for as long as the stream is open.

    An asynchronous iterator and context manager:

        async with stream.follow(offset) as pages:
            async for page in pages:
                handle(page.json())
                remember(page.next_offset)

    Every message comes exactly once and in order, through lost connections, restarts of the server and
    proxies that cut or hold back what they should not. Network errors, 5xx and 429 are never raised: the
    follower reconnects, for ever, with growing and random pauses; `status` and `error` tell about it. A page
    with empty data comes when only `up_to_date` or `closed` changed, so that you learn that you reached the
    tail.

    `iter_json`, `iter_batches`, `iter_text`, `iter_bytes` and `iter_events` give messages and the like
    instead of pages. `checkpoint` is the place behind the last of them that you were given, to go on from
    later.

    Iteration ends when the stream is closed and all of it was delivered; with `live="off"` at the tail.
    Cancelling it loses nothing: the next page is the one that would have come, over a new connection. Only
    one task may iterate at a time, and only in one way. Leave the context, or call `aclose`, to close the
    connection.

    Attributes:
        on_pause: called, if it is set, before each pause after a failed attempt, with the error and the
            seconds until the next attempt. It must not raise.

    Made by `DurableStream.follow`, which lists the errors.
    """

    def __init__(
        self,
        *,
        requests: Requests,
        start: Checkpoint,
        live: LiveMode,
        on_status: Callable[[ReadStatus], None] | None = None,
    ) -> None:
        check_live(live, get_args(LiveMode))
        self._requests = requests
        self._settings = requests.settings
        self._on_status = on_status
        self.on_pause: Callable[[DurafoldError, float], None] | None = None
        self._state = ReadState(start.offset, live)
        self._progress = Progress(start)
        self._skip = Skip(start.skip)
        self._status: ReadStatus = status(self._state)
        self._pages: deque[Page] = deque()
        self._connection: SseConnection | None = None
        self._opened_at_s = 0.0
        self._guard = anyio.ResourceGuard("following a stream with")

    @property
    def offset(self) -> Offset:
        """Everything before it was received. To go on later, keep `checkpoint`."""
        return self._state.offset

    @property
    def progress(self) -> Progress:
        """What `checkpoint` is made from; for iterators."""
        return self._progress

    @property
    def checkpoint(self) -> Checkpoint:
        """The place behind the last page, message or chunk that this follower gave you."""
        return self._progress.checkpoint

    @property
    def up_to_date(self) -> bool:
        """Whether the last answer reached the tail, and the connection has not failed since."""
        return self._state.up_to_date

    @property
    def closed(self) -> bool:
        """Whether the end of the stream was received."""
        return self._state.phase == "closed"

    @property
    def content_type(self) -> str | None:
        """The stream's media type, once the server has named it."""
        return self._state.content_type or None

    @property
    def status(self) -> ReadStatus:
        """What is going on: see `ReadStatus`. `on_status` is called with it whenever it changes."""
        return self._status

    @property
    def error(self) -> DurafoldError | None:
        """Why it is connecting or reconnecting, or what it failed with; None while all is well."""
        return self._state.error

    def __aiter__(self) -> Self:
        return self

    async def __anext__(self) -> Page:
        if not await self.ready():
            raise StopAsyncIteration
        page = self.take()
        self._progress.set(page)
        return page

    def iter_json(self) -> Items[Any]:
        """The messages of a JSON stream, one by one."""
        return Items(self, items.message_feed(self._progress))

    def iter_batches(self) -> Items[list[Any]]:
        """The messages of a JSON stream, those that came together in one list; never an empty one."""
        return Items(self, items.batch_feed(self._progress))

    def iter_text(self) -> Items[str]:
        """The content as text, in pieces as they come. A character is never cut.

        Iterating raises, besides what `DurableStream.follow` lists:
            MalformedResponse: it is not UTF-8.
        """
        return Items(self, items.text_feed(self._progress))

    def iter_bytes(self) -> Items[bytes]:
        """The content as bytes, in pieces as they come; for a JSON stream each piece is a JSON array."""
        return Items(self, items.bytes_feed(self._progress))

    def iter_events(self, mode: EventMode = "auto") -> Items[StreamEvent]:
        """Messages or chunks with their places, and events that tell that the tail or the end is reached.

        Args:
            mode: what the data is; see `EventMode`.
        """
        return Items(self, items.event_feed(self._progress, mode))

    async def ready(self, timeout_s: float | None = None) -> bool:
        """Wait for the next page, so that asking for it (or for its first message) gives it at once.

        Args:
            timeout_s: seconds to wait at most. None: for ever.

        Returns:
            False if none follows.

        Raises:
            TimeoutError: none came in time. Nothing is lost.
            DurafoldError: as `DurableStream.follow` lists.
        """
        with self._guard, anyio.fail_after(timeout_s):
            try:
                while not self._pages:
                    if not await self._step():
                        return False
            except BaseException:
                await self._advance(Interrupted())
                raise
            return True

    def take(self) -> Page:
        """The page that `ready` waited for, not counted as handed out: iterators count its parts."""
        return self._pages.popleft()

    async def aclose(self) -> None:
        """Close the connection. Iterating again would open a new one and go on."""
        with self._guard:
            await self._advance(Interrupted())

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(self, *exc_info: object) -> None:
        await self.aclose()

    async def _step(self) -> bool:
        """Do what comes next; False if nothing does."""
        match next_action(self._state):
            case Fetch() as fetch:
                await self._advance(await self._fetched(fetch))
            case OpenSse() as opening:
                await self._advance(await self._opened(opening))
            case Receive():
                await self._advance(await self._received())
            case Pause() as pause:
                delay_s = self._settings.backoff.delay_s(pause.attempt, random.random(), pause.retry_after_s)  # noqa: S311
                if self.on_pause is not None and self._state.error is not None:
                    self.on_pause(self._state.error, delay_s)
                await anyio.sleep(delay_s)
                await self._advance(Rested())
            case Finish():
                return False
            case Fail(error):
                raise error
            case action:
                assert_never(action)
        return True

    async def _advance(self, event: Event) -> None:
        self._state, page = advance(self._state, event, self._settings)
        if page is not None:
            self._receive(self._skip(page))
        if self._connection is not None and self._state.connection is None:
            connection, self._connection = self._connection, None
            await connection.aclose()
        self._report_status()

    def _receive(self, page: Page) -> None:
        if page.data or page.up_to_date or page.closed:
            self._pages.append(page)
        else:
            self._progress.set(page)  # a checkpoint said that all of it was handled

    def _report_status(self) -> None:
        now = status(self._state)
        if now != self._status:
            self._status = now
            if self._on_status is not None:
                self._on_status(now)

    # ---- GET and long-poll ----

    async def _fetched(self, fetch: Fetch) -> Event:
        started_at_s = anyio.current_time()
        try:
            reply = await self._page_reply(fetch)
            page = replies.page(reply, offset=fetch.offset, content_type=self._state.content_type)
        except DurafoldError as exc:
            return Failed(exc)
        return Answered(page, anyio.current_time() - started_at_s)

    async def _page_reply(self, fetch: Fetch) -> Reply:
        params: dict[str, str] = {names.OFFSET_PARAM: fetch.offset}
        if fetch.live:
            params[names.LIVE_PARAM] = names.LONG_POLL
        if fetch.cursor is not None:
            params[names.CURSOR_PARAM] = fetch.cursor
        headers = {"Cache-Control": "no-cache"} if fetch.bypass_cache else {}
        request = await self._requests.prepare("GET", params, headers)
        timeout_s = self._settings.long_poll_timeout_s if fetch.live else None
        reply = await self._requests.transport.exchange(request, self._settings, answer_timeout_s=timeout_s)
        self._requests.raise_refusal(request, reply, fetch.offset)
        return reply

    # ---- server-sent events ----

    async def _opened(self, opening: OpenSse) -> Event:
        params = {names.OFFSET_PARAM: opening.offset, names.LIVE_PARAM: names.SSE}
        if opening.cursor is not None:
            params[names.CURSOR_PARAM] = opening.cursor
        try:
            request = await self._requests.prepare("GET", params, {})
            answer = await self._requests.transport.open_sse(request, self._settings)
            if isinstance(answer, Reply):
                self._requests.raise_refusal(request, answer, opening.offset)
                return NoEventStream(_no_event_stream(answer, opening.offset))
        except DurafoldError as exc:
            return Failed(exc)
        self._connection = answer
        self._opened_at_s = anyio.current_time()
        return Opened()

    async def _received(self) -> Event:
        connection = self._connection
        assert connection is not None
        try:
            while (event := await connection.receive()) is not None:
                if event.kind in (_DATA_EVENT, _CONTROL_EVENT):
                    return _decoded(event, is_base64=connection.is_base64, offset=self._state.offset)
        except TransportError as exc:
            return Ended(anyio.current_time() - self._opened_at_s, exc)
        return Ended(anyio.current_time() - self._opened_at_s)


def _no_event_stream(reply: Reply, offset: Offset) -> MalformedResponse:
    kind = reply.header("Content-Type") or "nothing"
    return MalformedResponse(
        f"A request for an event stream was answered with HTTP {reply.status} and {kind}",
        offset=offset,
        hint='Use live="long-poll"',
    )


def _decoded(event: ServerEvent, *, is_base64: bool, offset: Offset) -> Data | Control:
    try:
        if event.kind == _CONTROL_EVENT:
            return Control(decode_control(event.data))
        return Data(_from_base64(event.data) if is_base64 else event.data.encode())
    except ValueError as exc:
        raise MalformedResponse(
            f"The server sent a damaged {event.kind} event: {exc}", offset=offset
        ) from exc


def _from_base64(text: str) -> bytes:
    # PROTOCOL §5.8: line ends between the lines of one event are no part of it.
    return binascii.a2b_base64(text.replace("\n", "").replace("\r", ""), strict_mode=True)
