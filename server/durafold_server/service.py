"""The operations on streams, whatever carries them: requests in, outcomes out.

The service asks the store to decide and write, wakes readers after the commit, and puts pages together. It
knows no HTTP and no disk.
"""

from __future__ import annotations

import asyncio
import contextlib
import logging
import time
from collections.abc import Callable, Sequence
from typing import NoReturn

from durafold_server.attempts import Outdated, if_still, until_current
from durafold_server.clock import Clock, system_clock
from durafold_server.config import ServiceSettings
from durafold_server.gates import Check, Gate
from durafold_server.protocol import decide, forks, json_mode, lifetimes
from durafold_server.protocol.decide import Appended, Created, Deleted
from durafold_server.protocol.errors import (
    Gone,
    InvalidOffset,
    InvalidRequest,
    NotFound,
    NotRetained,
    ProtocolError,
)
from durafold_server.protocol.model import Decide, Decision, Loaded, Mode, R, ReadKey, Retention, StreamState
from durafold_server.protocol.offsets import is_now, is_start, parse_offset
from durafold_server.protocol.requests import (
    AppendRequest,
    CreateRequest,
    ForkRequest,
    ListRequest,
    ReadRequest,
)
from durafold_server.protocol.responses import Listing, PageView
from durafold_server.readers import LiveReaders
from durafold_server.registry import Registry
from durafold_server.store.base import NotABoundary, StoreFailure, StreamStore
from durafold_server.trimming import Trimmer
from durafold_server.waiters import Waiters, wait_for

logger = logging.getLogger(__name__)

_PURGE_CHUNKS = 256
_TICK_S = 0.3  # often enough for live readers to renew the shortest TTL, 1 s, on a busy machine
_REAP_INTERVAL_S = 2.0
_REAPED_AT_ONCE = 256


class StreamService:
    """All operations on the streams of one store.

    Args:
        store: where streams are kept; closed by `aclose`.
        settings: time-outs and limits.
        clock: microseconds since 1970, for expiry.

    Attributes:
        store: where streams are kept.
        settings: time-outs and limits.
        readers: those who follow streams, told of every change.
        gate: is asked before appends to some streams; None asks nobody.
    """

    def __init__(
        self, store: StreamStore, settings: ServiceSettings | None = None, *, clock: Clock = system_clock
    ) -> None:
        self.store = store
        self.settings = settings or ServiceSettings()
        self.gate: Gate | None = None
        self._clock = clock
        self._waiters = Waiters()
        self._stopping = False
        self._purges: set[asyncio.Task[None]] = set()
        self._observers: list[Callable[[StreamState], None]] = []
        self._registry = Registry(store, clock, enabled=self.settings.registry)
        defaults = Retention(self.settings.retention_bytes or None, self.settings.retention_age_s or None)
        self._trimmer = Trimmer(store, defaults, clock, self._may_trim)
        self.readers = LiveReaders(
            self._look,
            self.view,
            tick_s=min(_TICK_S, self.settings.heartbeat_s, self.settings.sse_max_age_s),
        )
        self._reaper = asyncio.get_running_loop().create_task(self._keep_reaping())
        store.observe(self._changed)

    async def start(self) -> None:
        """Bring the registry up to date. Idempotent; the first change of a stream does it otherwise.

        Raises:
            StoreFailure: the store cannot be read or written, or a client's stream has the registry's name.
        """
        await self._registry.start()

    async def create(self, request: CreateRequest) -> Created:
        """PUT (PROTOCOL §5.1, §4.2).

        Raises:
            ProtocolError: see `decide.create`.
            StoreFailure: see `StreamStore.transact`.
        """
        if self.gate is not None and self.gate.concerns(request.path):
            return await self.gate.create(request)
        created = await until_current(lambda: self._create(request))
        self._let_go(created.removed)
        return created

    async def create_if(self, request: CreateRequest, check: Check, fork_at: int | None = None) -> Created:
        """As `create`, without asking the gate, but if `check` agrees to what it comes to.

        Args:
            request: the request.
            check: see `Check`.
            fork_at: where a fork branches off, if that was looked up already.

        Raises:
            ProtocolError, StoreFailure: as `create`, and what `check` raises.
            Outdated: look again: a stream has changed in between, or `check` says so.
        """
        created = await self._create(request, check, fork_at)
        self._let_go(created.removed)
        return created

    async def append(self, request: AppendRequest) -> Appended:
        """POST: append, close, or both in one step (PROTOCOL §5.2, §5.3).

        Raises:
            ProtocolError: see `decide.append`.
            StoreFailure: see `StreamStore.transact`.
        """
        if self.gate is not None and self.gate.concerns(request.path):
            return await self.gate.append(request)
        return await self._append(request, lambda found, now_us: decide.append(request, found[0], now_us))

    async def append_if(self, request: AppendRequest, check: Check) -> Appended:
        """As `append`, without asking the gate, but if `check` agrees to what it comes to.

        Calls reach the store in the order in which they are made.

        Raises:
            ProtocolError, StoreFailure: as `append`, and what `check` raises.
            Outdated: `check` wants the caller to look again.
        """
        return await self._append(
            request,
            lambda found, now_us: _checked(check, found, decide.append(request, found[0], now_us)),
        )

    async def _append(self, request: AppendRequest, decision: Decide[Appended]) -> Appended:
        key = ReadKey(request.path, request.claim.producer_id if request.claim else None)
        if request.close:
            return await self._registry.transact((key,), decision)
        return await self.store.transact((key,), decision)

    async def delete(self, path: str) -> Deleted:
        """DELETE (PROTOCOL §5.4).

        Raises:
            ProtocolError: see `decide.delete`.
            StoreFailure: see `StreamStore.transact`.
        """
        outcome = await until_current(lambda: self._delete(path))
        self._let_go(outcome.removed)
        return outcome

    async def head(self, path: str) -> StreamState:
        """HEAD (PROTOCOL §5.5); does not renew a TTL.

        Raises:
            NotFound: no such stream.
            Gone: it is soft-deleted.
        """
        return decide.living(await self.store.load(path), self._clock())

    def now_us(self) -> int:
        """The time, in microseconds since 1970."""
        return self._clock()

    def retention_of(self, stream: StreamState) -> Retention:
        """How much of a stream is kept, the server's defaults included."""
        return self._trimmer.limits(stream)

    async def read(self, request: ReadRequest) -> PageView:
        """GET without `live` (PROTOCOL §5.6): one page from the offset on.

        Raises:
            NotFound: no such stream.
            Gone: soft-deleted, or the offset belongs to an earlier stream of this path.
            NotRetained: what follows the offset is no longer kept.
            InvalidOffset: the offset was never handed out for this stream.
            StoreFailure: the data cannot be read.
        """
        stream = await self.visit(request.path)
        position = locate(stream, request.offset)
        if is_now(request.offset):
            return PageView(stream, position, position, b"", follows_now=True)
        return await self.view(stream, position)

    async def poll(self, request: ReadRequest, gone: asyncio.Future[None]) -> PageView:
        """GET with `live=long-poll` (PROTOCOL §5.7): as `read`, but waits at the tail.

        Args:
            request: the request.
            gone: done when the client has left; then any answer will do.

        Raises:
            ProtocolError, StoreFailure: as `read`; NotFound too when the stream ends during the wait.
        """
        deadline = time.monotonic() + self.settings.long_poll_timeout_s
        stream = await self.visit(request.path)
        position = locate(stream, request.offset)
        while True:
            with self._waiters.registered(stream.id) as signal:
                stream = self._same(stream, await self.store.load(request.path))
                check_retained(stream, position)
                remaining_s = deadline - time.monotonic()
                if stream.tail > position or stream.closed or remaining_s <= 0 or self._over(gone):
                    return await self.view(stream, position)
                await wait_for({signal, gone}, min(remaining_s, self._until_expiry_s(stream)))
            await self._renew(stream)

    async def begin_following(self, request: ReadRequest) -> tuple[StreamState, int]:
        """GET with `live=sse` (PROTOCOL §5.8): the stream and the position to follow it from.

        What comes then is pushed to a reader that is attached to `readers`.

        Raises:
            ProtocolError, StoreFailure: as `read`.
        """
        stream = await self.visit(request.path)
        position = locate(stream, request.offset)
        if stream.mode is Mode.JSON and position not in (stream.start, stream.tail):
            await self.view(stream, position)  # refuses a position inside a message while a status can say so
        return stream, position

    async def list_streams(self, request: ListRequest) -> Listing:
        """GET of the stream root: living streams in order of path. The server's own are not among them.

        Raises:
            StoreFailure: they cannot be read.
        """
        living: list[StreamState] = []
        after, wanted = request.after, request.limit + 1  # one more tells whether there is a next page
        while len(living) < wanted:
            page = await self.store.list_streams(request.prefix, after, wanted)
            living += [stream for stream in page if self._is_alive(stream) and not stream.internal]
            if len(page) < wanted:
                break
            after = page[-1].path
        shown = living[: request.limit]
        return Listing(
            [(stream, self.retention_of(stream)) for stream in shown],
            shown[-1].path if len(living) > len(shown) else None,
        )

    async def reap(self) -> None:
        """Remove streams that have expired, trim those that outgrew their limits, and free their data.

        Raises:
            StoreFailure: see `StreamStore.expired` and `StreamStore.transact`.
        """
        for stream in await self.store.expired(self._clock(), _REAPED_AT_ONCE):
            keys = [ReadKey(stream.path), *await self._ancestors(stream)]
            # One that was made anew meanwhile is left for the next time.
            with contextlib.suppress(Outdated):
                self._let_go(await self._registry.transact(keys, if_still([stream], decide.expire)))
        await self._registry.tidy()
        await self._trimmer.trim()

    async def _may_trim(self, stream: StreamState, position: int) -> bool:
        return self.gate is None or await self.gate.may_trim(stream, position)

    async def _keep_reaping(self) -> None:
        while True:
            await asyncio.sleep(_REAP_INTERVAL_S)
            try:
                await self.reap()
            except StoreFailure:
                logger.exception("streams that expired or grew too long were not reaped; it is tried again")

    def observe(self, observer: Callable[[StreamState], None]) -> None:
        """Have every committed change told: called with the stream as it is then, `deleted` if it is gone.

        Observers must be quick and must not raise.
        """
        self._observers.append(observer)

    def stop(self) -> None:
        """End all live reads now; they can be resumed elsewhere."""
        self._stopping = True
        self._waiters.wake_all()
        self.readers.stop()

    async def aclose(self) -> None:
        """Stop, and close the store."""
        self.stop()
        self._reaper.cancel()
        await asyncio.wait([self._reaper])
        if self.gate is not None:
            await self.gate.aclose()
        if self._purges:
            await asyncio.wait(self._purges)
        await self.store.aclose()

    def _let_go(self, removed: tuple[StreamState, ...]) -> None:
        """Free the data of removed streams, in steps small enough not to hold up appends."""
        for stream in removed:
            task = asyncio.get_running_loop().create_task(self._purge(stream.id))
            self._purges.add(task)
            task.add_done_callback(self._purges.discard)

    async def _purge(self, stream_id: int) -> None:
        try:
            while not await self.store.purge(stream_id, limit=_PURGE_CHUNKS):
                pass
        except StoreFailure:
            # What is left is found and freed when the store is opened next.
            logger.exception("could not free the data of removed stream %s", stream_id)

    def _changed(self, stream: StreamState) -> None:
        self._trimmer.note(stream)
        self._waiters.wake(stream.id)
        self.readers.changed(stream.id)
        for observer in self._observers:
            observer(stream)

    async def _look(self, path: str, stream_id: int) -> StreamState | None:
        """The stream that a live reader follows, if it is still there; renews its TTL."""
        stream = await self.store.load(path)
        if stream is None or stream.id != stream_id or not self._is_alive(stream):
            return None
        await self._renew(stream)
        return stream

    def _over(self, gone: asyncio.Future[None]) -> bool:
        return self._stopping or gone.done()

    def _is_alive(self, stream: StreamState) -> bool:
        return not stream.deleted and not lifetimes.is_expired(stream, self._clock())

    def _same(self, before: StreamState, now: StreamState | None) -> StreamState:
        """The stream as it is now, if it is still the one the reader began with."""
        if now is None or now.id != before.id:
            raise NotFound("The stream was deleted.")
        return decide.living(now, self._clock())

    async def visit(self, path: str) -> StreamState:
        """The stream for a reader, which renews its TTL (PROTOCOL §5.1).

        Raises:
            NotFound, Gone, StoreFailure: as `head`.
        """
        stream = decide.living(await self.store.load(path), self._clock())
        await self._renew(stream)
        return stream

    async def _renew(self, stream: StreamState) -> None:
        if stream.lifetime.ttl_s is not None:
            await self.store.touch({stream.path: self._clock()})

    def _until_expiry_s(self, stream: StreamState) -> float:
        """Seconds until a waiting reader must look whether the stream still lives."""
        if stream.lifetime.ttl_s is not None:
            return max(0.05, stream.lifetime.ttl_s / 2)  # soon enough to renew it for a parked reader
        if stream.lifetime.expires_at_us is not None:
            return max(0.0, (stream.lifetime.expires_at_us - self._clock()) / 1_000_000) + 0.001
        return float("inf")

    async def view(self, stream: StreamState, position: int) -> PageView:
        """The page that begins at a position; renews no TTL.

        Raises:
            ProtocolError, StoreFailure: as `read`.
        """
        if position == stream.tail:
            return PageView(stream, position, position, b"")
        parts: list[bytes] = []
        start, room = position, self.settings.max_page_bytes
        for segment in stream.segments():
            if position >= segment.until:
                continue
            data = await self._segment(stream, segment.stream_id, position, segment.until, room)
            parts.append(data)
            position += len(data)
            room -= len(data)
            if position < segment.until or room <= 0:
                break
        return PageView(stream, start, position, parts[0] if len(parts) == 1 else b"".join(parts))

    async def _segment(self, stream: StreamState, stream_id: int, after: int, until: int, room: int) -> bytes:
        framed = stream.mode is Mode.JSON
        try:
            page = await self.store.read(stream_id, after, until=until, max_bytes=room, framed=framed)
        except NotABoundary:
            raise InvalidOffset(
                "The offset lies inside a message; use one from Stream-Next-Offset."
            ) from None
        if not page.data:
            await self._refuse_vanished(stream, after)
        return page.data

    async def _refuse_vanished(self, stream: StreamState, position: int) -> NoReturn:
        """Say why data is gone that was there when the reader came."""
        now = self._same(stream, await self.store.load(stream.path))
        check_retained(now, position)
        raise StoreFailure(f"stream {stream.path} lacks its data from position {position} on")

    async def _create(
        self, request: CreateRequest, check: Check | None = None, fork_at: int | ProtocolError | None = None
    ) -> Created:
        seen = [await self.store.load(request.path)]
        keys = [ReadKey(request.path)]
        if request.fork is not None:
            seen.append(await self.store.load(request.fork.source_path))
            keys.append(ReadKey(request.fork.source_path))
            fork_at = await self.fork_position(request.fork, seen[1]) if fork_at is None else fork_at
        keys += await self._ancestors(seen[0])

        def decision(found: Sequence[Loaded], now_us: int) -> Decision[Created]:
            decided = decide.create(request, found, now_us, fork_at=fork_at)
            return _checked(check, found, decided) if check is not None else decided

        return await self._registry.transact(keys, if_still(seen, decision))

    async def _delete(self, path: str) -> Deleted:
        seen = await self.store.load(path)
        keys = [ReadKey(path), *await self._ancestors(seen)]
        return await self._registry.transact(keys, if_still([seen], decide.delete))

    async def _ancestors(self, stream: StreamState | None) -> list[ReadKey]:
        """Keys of the source, its source, and so on. A stream's ancestry never changes."""
        keys: list[ReadKey] = []
        while stream is not None and stream.fork is not None:
            keys.append(ReadKey(stream.fork.source_path))
            stream = await self.store.load(stream.fork.source_path)
        return keys

    async def fork_position(self, fork: ForkRequest, source: StreamState | None) -> int | ProtocolError:
        """Where the fork branches off, sub-offset included (PROTOCOL §4.2).

        A stream's bytes never change once written, so looking before the transaction is safe; whether they
        are still retained is checked again there. What is wrong with the source is left to the decision,
        which knows whether the fork exists already.
        """
        try:
            source = forks.check_source(source, self._clock())
            return await self._beyond(source, forks.anchor(fork, source), fork)
        except ProtocolError as error:
            return error

    async def _beyond(self, source: StreamState, anchor: int, fork: ForkRequest) -> int:
        if source.mode is Mode.JSON and anchor < source.tail:
            await self.view(source, anchor)  # refuses a position inside a message
        if not fork.sub_offset:
            return anchor
        if source.mode is not Mode.JSON:
            if anchor + fork.sub_offset > source.tail:
                raise InvalidRequest("Stream-Fork-Sub-Offset reaches beyond the source stream's tail.")
            return anchor + fork.sub_offset
        remaining, position = fork.sub_offset, anchor
        while position < source.tail:
            view = await self.view(source, position)
            size = json_mode.sub_position(view.data, remaining)
            if size is not None:
                return position + size
            remaining -= json_mode.count(view.data)
            position = view.end
        raise InvalidRequest("Stream-Fork-Sub-Offset reaches beyond the source stream's last message.")


def _checked(check: Check, found: Sequence[Loaded], decided: Decision[R]) -> Decision[R]:
    check(found[0].stream, decided)
    return decided


def locate(stream: StreamState, token: str | None) -> int:
    """The position that a request's offset names.

    Raises:
        InvalidOffset: this server never made it, or it lies beyond the tail.
        Gone: it belongs to an earlier stream of this path.
        NotRetained: what follows it is no longer kept (PROTOCOL §5.6).
    """
    if is_start(token):
        return stream.start
    if is_now(token):
        return stream.tail
    parsed = parse_offset(token) if token is not None else None
    if parsed is None:
        raise InvalidOffset("The offset is malformed; use one from Stream-Next-Offset, or -1, or now.")
    origin, position = parsed
    if origin != stream.owner(position):
        raise Gone("The offset belongs to another stream, perhaps an earlier one of this name; read from -1.")
    if position > stream.tail:
        raise InvalidOffset("The offset lies beyond the stream's tail.")
    return check_retained(stream, position)


def check_retained(stream: StreamState, position: int) -> int:
    """The position, if what follows it is kept.

    Raises:
        NotRetained: it is not (PROTOCOL §5.6).
    """
    if position < stream.start:
        raise NotRetained(stream.offset(stream.start))
    return position
