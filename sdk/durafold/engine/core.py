"""`Engine`: one stream, one replica, and those who look at it.

The only mutable heart of the SDK's state, in three parts: what is shown (`shown`), what this process does to
it (`own`), and here what the stream brings, from the first page to the last. Everything they decide is
decided elsewhere, by pure functions (`durafold.state`); here the results are kept, sent, and announced. All
users of a key in a process share one engine, and so one connection.

There are no locks. An engine belongs to one event loop, and between two `await`s nothing else runs: every
method that is not `async` is atomic.
"""

from __future__ import annotations

import logging
from collections.abc import Callable, Coroutine, Sequence
from typing import Any, Final, Generic, TypeVar

import anyio
from anyio.abc import TaskGroup

from durafold.cache import CacheKey
from durafold.client import DurableStream, Offset, Page
from durafold.engine import endings
from durafold.engine.batches import batch_of
from durafold.engine.batching import leave_batch
from durafold.engine.definition import Definition
from durafold.engine.keeper import Keeper
from durafold.engine.listeners import Listeners
from durafold.engine.options import EngineOptions, Status, StreamReset
from durafold.engine.own import OwnActions
from durafold.engine.past import read_history, state_at
from durafold.engine.reader import Reader
from durafold.engine.shown import Shown
from durafold.engine.writes import Write
from durafold.errors import (
    ActionLost,
    DurafoldError,
    MalformedResponse,
    StateError,
    StreamClosed,
    StreamGone,
)
from durafold.outbox import KeyOutbox
from durafold.snapshots import SnapshotStore
from durafold.state import replica as transitions
from durafold.state.history import History
from durafold.state.replica import MAX_FAULTS, Confirmed, Fault
from durafold.wire.offsets import START

__all__ = ["Engine"]

S = TypeVar("S")

_logger: Final = logging.getLogger("durafold.engine")

MESSAGES_PER_SAVE: Final = 200
"""How many messages are folded, after the first catch-up, before the cache is written again."""


class Engine(Generic[S]):
    """One stream, one replica, and those who look at it.

    Args:
        definition: what the key means.
        stream: the stream.
        options: settings that all engines of a provider share.
        base_url: where the server's streams are, for cache keys.
        hydrated: a state to start with.
        outbox: where own actions are kept beside, to outlive the process.
        snapshots: the snapshots beside the stream, if they are used.

    Attributes:
        definition: as given.
        own: what this process does to the stream.
        ended: set when `run` has ended.
    """

    def __init__(
        self,
        definition: Definition[S],
        stream: DurableStream,
        options: EngineOptions,
        *,
        base_url: str,
        hydrated: Confirmed[S] | None = None,
        outbox: KeyOutbox | None = None,
        snapshots: SnapshotStore[S] | None = None,
    ) -> None:
        self.definition = definition
        self._stream = stream
        self._options = options
        self._tasks: TaskGroup | None = None
        self._scope = anyio.CancelScope()
        self.ended = anyio.Event()
        self._is_ready = False
        self._is_closed = False
        self._has_ended = False
        self._crash: Exception | None = None
        self._shown: Shown[S] = Shown(definition, hydrated, strict=options.strict, report=self.report)
        self._reader = Reader(stream, self, create=options.create, live=options.live, clock=options.clock)
        self._keeper = self._new_keeper(base_url, snapshots)
        self.own: OwnActions[S] = OwnActions(
            self._shown,
            stream,
            options,
            outbox,
            require_open=self._require_open,
            report=self.report,
            start_soon=self._start_soon,
        )

    def _new_keeper(self, base_url: str, snapshots: SnapshotStore[S] | None) -> Keeper[S]:
        definition, options = self.definition, self._options
        scope = options.cache_scope
        return Keeper(
            CacheKey(base_url, definition.key, definition.fingerprint, scope or "", definition.states),
            options.cache if scope is not None else None,
            snapshots,
            self.report,
        )

    # ---- reading ----

    @property
    def view(self) -> S:
        """What users see: pending over confirmed.

        Raises:
            ConfigurationError: strict mode found that somebody changed it in place.
        """
        return self._shown.view

    @property
    def confirmed(self) -> Confirmed[S]:
        """The fold of the stream."""
        return self._shown.confirmed

    @property
    def version(self) -> int:
        """Grows by one whenever the view is another object."""
        return self._shown.replica.version

    @property
    def offset(self) -> Offset:
        """Where the next message will be."""
        return self._shown.offset

    @property
    def listeners(self) -> Listeners:
        """Who is told of changes."""
        return self._shown.listeners

    @property
    def pending_count(self) -> int:
        """Number of own actions that have not come back."""
        return len(self._shown.replica.pending)

    @property
    def client_id(self) -> str:
        """The id under which own actions are sent."""
        return self.own.writer.client_id

    @property
    def error(self) -> Exception | None:
        """Why the status is `failed`."""
        return self._crash or self._reader.failure

    @property
    def trouble(self) -> Exception | None:
        """What keeps it from being followed, for now or for good."""
        return self.error or self._reader.trouble

    @property
    def next_attempt_at(self) -> float | None:
        """When reading is tried again, in seconds since 1970, if it waits for that."""
        return None if self._has_ended else self._reader.next_attempt_at

    @property
    def status(self) -> Status:
        """How the stream is doing."""
        if self._is_closed or (self._has_ended and self._crash is None):
            return "closed"
        if self.error is not None:
            return "failed"
        if not self._is_ready:
            return "connecting"
        if self._reader.status in ("connecting", "reconnecting"):
            return "reconnecting"
        return "degraded" if self.confirmed.fault_count else "live"

    @property
    def has_ended(self) -> bool:
        """Whether nothing will change any more."""
        return self._has_ended

    async def ready(self) -> None:
        """Wait until the stream was read to its tail once.

        Raises:
            DurafoldError: the server refuses to serve the stream.
            ProviderClosed: the provider was closed before.
        """
        await self._until(lambda: self._is_ready)

    async def reached(self, offset: Offset) -> None:
        """Wait until the stream was read up to an offset of it.

        Raises:
            DurafoldError: the server refuses to serve the stream.
            ProviderClosed: the provider was closed before.
        """
        await self._until(lambda: self.offset != START and self.offset >= offset)

    async def _until(self, condition: Callable[[], bool]) -> None:
        while not condition():
            if self.error is not None:
                raise self.error
            if self._has_ended:
                raise self._gone()
            await self.listeners.changed()

    async def history(self) -> History[S]:
        """Read the whole stream; see `read_history`."""
        return await read_history(self._stream, self.definition)

    async def at(self, offset: Offset) -> S:
        """The state at an offset of the stream; see `state_at`."""
        return await state_at(self._stream, self.definition, offset)

    async def flushed(self) -> None:
        """Wait until the server has durably what was dispatched, or will never have it."""
        await self.own.flushed()

    # ---- what the reader brings ----

    async def take(self, page: Page) -> None:
        """Fold a page; called by the reader."""
        before, was_ready = self._shown.replica, self._is_ready
        batch = batch_of(page)
        confirmation = transitions.confirm(self.definition.step, before, batch)
        if confirmation.replica.confirmed.offset != page.next_offset:
            raise MalformedResponse(
                "A page does not continue what was read before", offset=before.confirmed.offset
            )
        if confirmation.failures and self._options.on_fault == "halt":
            raise endings.halted(self.definition.key, *confirmation.failures[0])
        self._shown.replica = confirmation.replica
        for ticket, settled in confirmation.settled:
            self.own.settle(ticket, settled)
        self._is_ready = was_ready or page.up_to_date or page.closed
        self._is_closed = page.closed
        self.own.check_identity()
        self.own.writer.send()
        self._report_faults(before.confirmed.fault_count, confirmation.failures)
        self._shown.announce(before)
        if page.up_to_date:
            await self._keep(at_least=MESSAGES_PER_SAVE if was_ready else 1)

    def _report_faults(self, earlier: int, failures: Sequence[tuple[Fault, Exception]]) -> None:
        for fault, error in failures[: max(0, MAX_FAULTS - earlier)]:
            error.add_note(
                f"skipped {fault.id or 'a message'}, number {fault.position + 1} of {self.definition.key!r}"
            )
            self.report(error)

    async def start_over(self, *, was_deleted: bool) -> None:
        """The stream is another one now, or what was to be read next is no longer kept.

        In the second case a snapshot may be further along; then nothing was lost.
        """
        newer = None if was_deleted else await self._keeper.newest(self.confirmed)
        if newer is not None:
            self._take_over(newer)
            return
        before = self._shown.replica
        if before.confirmed.offset == START:
            return  # nothing was read since the last time
        self._shown.lives += 1
        self._shown.replica = transitions.reset(before, self.definition.initial)
        self.own.writer.start_over()
        self._shown.announce(before)
        self._notice(StreamReset(self.definition.key, before.confirmed.revision))
        await self._keeper.drop(was_deleted=was_deleted)

    async def skip_trimmed(self, error: StreamGone) -> StreamGone | None:
        """What follows is no longer kept: go on from a snapshot. Without one, the state stays as it is."""
        newer = await self._keeper.newest(self.confirmed)
        if newer is None:
            return endings.trimmed(self.definition.key, error)
        self._take_over(newer)
        return None

    def reading_changed(self) -> None:
        """The reader's status changed."""
        self.listeners.notify(value=False)

    def refused(self, error: DurafoldError) -> None:
        """The server refuses to serve the stream; called by the reader once, until it serves it again."""
        self.report(error)

    # ---- running ----

    async def run(self) -> None:
        """Follow the stream and send, until it is closed or `stop` is called. Never raises."""
        leave_batch()
        try:
            with self._scope:
                await self._load()
                async with anyio.create_task_group() as self._tasks:
                    self._tasks.start_soon(self.own.writer.run, self._stream_exists)
                    await self._reader.run()
                    self._tasks.cancel_scope.cancel()
        except Exception as error:  # noqa: BLE001 - a fault in one stream must not end the provider
            self._crash = endings.innermost(error)
            self.report(self._crash)
        finally:
            self._has_ended = True
            self.own.end(self._farewell, is_closed=self._is_closed)
            with anyio.CancelScope(shield=True):
                await self._keeper.save(self.confirmed, at_least=1)
            self.ended.set()

    def stop(self) -> None:
        """End `run`; what was not sent yet is lost."""
        self._scope.cancel()

    async def _stream_exists(self) -> None:
        await self._reader.exists.wait()

    def _start_soon(self, task: Callable[[], Coroutine[Any, Any, None]]) -> None:
        assert self._tasks is not None
        self._tasks.start_soon(task)

    def _require_open(self) -> None:
        if self._is_closed:
            raise StreamClosed("The stream takes no more actions", stream=self.definition.key)
        if self._has_ended:
            raise self._gone()

    def _farewell(self, write: Write[S]) -> DurafoldError:
        key = self.definition.key
        if self._is_closed:
            return StreamClosed("The stream was closed before the action was in it", stream=key)
        if write.is_durable and self._shown.lives:
            return ActionLost("The stream was deleted, and the provider closed", stream=key)
        return self._gone("before the action came back" if write.is_durable else "before the action was sent")

    def _gone(self, when: str = "") -> StateError:
        return endings.gone(self.definition.key, self._crash, when)

    # ---- keeping ----

    async def _load(self) -> None:
        loaded = await self._keeper.load(self.confirmed)
        if loaded is not None:
            self._take_over(loaded)

    def _take_over(self, confirmed: Confirmed[S]) -> None:
        """Go on from a state that was folded elsewhere."""
        before = self._shown.replica
        self._shown.replica = transitions.hydrate(before, confirmed)
        self.own.forget_folded()
        self._shown.announce(before)

    async def _keep(self, *, at_least: int) -> None:
        await self._keeper.save(self.confirmed, at_least=at_least)
        if self._keeper.is_snapshot_due(self.confirmed) and self._tasks is not None:
            self._tasks.start_soon(self._keeper.write_snapshot, lambda: self.confirmed)

    # ---- telling ----

    def report(self, error: Exception) -> None:
        """Hand an error that nobody awaits to `on_error`."""
        try:
            self._options.on_error(error)
        except Exception:
            _logger.exception("on_error raised")

    def _notice(self, notice: StreamReset) -> None:
        try:
            self._options.on_notice(notice)
        except Exception as error:  # noqa: BLE001 - a callback must not harm the stream
            self.report(error)
