"""`Engine`: one stream, one replica, and those who look at it.

The only mutable heart of the SDK's state. Everything it decides is decided elsewhere, by pure functions
(`durafold.state`); here the results are kept, sent, and announced. All users of a key in a process share one
engine, and so one connection.

There are no locks. An engine belongs to one event loop, and between two `await`s nothing else runs: every
method that is not `async` is atomic.
"""

from __future__ import annotations

import copy
import logging
import secrets
from collections.abc import Callable, Sequence
from typing import Any, Final, Generic, TypeVar

import anyio
from anyio.abc import TaskGroup

from durafold.cache import CacheKey
from durafold.client import DurableStream, Offset, Page
from durafold.engine.definition import Definition
from durafold.engine.dispatch import Dispatch, fail, mark_sent, resolve, until_sent
from durafold.engine.keeper import Keeper
from durafold.engine.listeners import Listeners
from durafold.engine.options import EngineOptions, Status, StreamReset
from durafold.engine.reader import Reader
from durafold.engine.undo import UndoStacks
from durafold.engine.writer import Writer
from durafold.engine.writes import Write
from durafold.errors import (
    ActionLost,
    ActionRejected,
    ConfigurationError,
    DurafoldError,
    InvalidAction,
    MalformedResponse,
    ProviderClosed,
    StateError,
    StreamClosed,
)
from durafold.outbox import KeyOutbox, Resumed
from durafold.snapshots import SnapshotStore
from durafold.state import replica as transitions
from durafold.state.history import History
from durafold.state.json_values import NotJson
from durafold.state.outcomes import Outcome, Reject
from durafold.state.replica import MAX_FAULTS, Batch, Confirmed, Fault, Replica, Settled
from durafold.wire.envelope import SET, ActionId, Envelope, Envelopes
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
        listeners: who is told of changes.
        ended: set when `run` has ended.
        undo: own actions, to be undone, by user.
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
        self.listeners = Listeners(self.report)
        self._stream = stream
        self._options = options
        self._replica: Replica[S] = transitions.new_replica(hydrated or Confirmed(definition.initial))
        self._reader = Reader(stream, self, create=options.create, live=options.live)
        self._writer: Writer[S] = Writer(
            stream, self, new_client_id=options.new_client_id, by=options.by, outbox=outbox
        )
        scope = options.cache_scope
        self._keeper: Keeper[S] = Keeper(
            CacheKey(base_url, definition.key, definition.fingerprint, scope or "", definition.states),
            options.cache if scope is not None else None,
            snapshots,
            self.report,
        )
        self._tasks: TaskGroup | None = None
        self._refused: list[tuple[Write[S], Exception]] = []
        self._tickets = 0
        self._lives = 0
        self._scope = anyio.CancelScope()
        self.ended = anyio.Event()
        self.undo: UndoStacks[S] = UndoStacks(self)
        self._is_ready = False
        self._is_closed = False
        self._has_ended = False
        self._crash: Exception | None = None
        self._pristine: tuple[Any, Any] = (None, None)
        if outbox is not None:
            self._resume(outbox.resume())
        self._keep_pristine()

    # ---- reading ----

    @property
    def view(self) -> S:
        """What users see: pending over confirmed.

        Raises:
            ConfigurationError: strict mode found that somebody changed it in place.
        """
        if self._options.strict and self._pristine[1] != self._replica.view:
            raise ConfigurationError(
                f"The value of {self.definition.key!r} was changed in place",
                hint="Treat values as immutable: make a new one, and set or dispatch it",
            )
        return self._replica.view

    @property
    def confirmed(self) -> Confirmed[S]:
        """The fold of the stream."""
        return self._replica.confirmed

    @property
    def version(self) -> int:
        """Grows by one whenever the view is another object."""
        return self._replica.version

    @property
    def offset(self) -> Offset:
        """Where the next message will be."""
        return Offset(self._replica.confirmed.offset)

    @property
    def revision(self) -> int:
        """Revision of the confirmed state."""
        return self._replica.confirmed.revision

    @property
    def pending_count(self) -> int:
        """Number of own actions that have not come back."""
        return len(self._replica.pending)

    @property
    def client_id(self) -> str:
        """The id under which own actions are sent."""
        return self._writer.client_id

    @property
    def error(self) -> Exception | None:
        """Why the status is `failed`."""
        return self._crash or self._reader.failure

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
        while not self._is_ready:
            if self.error is not None:
                raise self.error
            if self._has_ended:
                raise self._gone()
            await self.listeners.changed()

    async def flushed(self) -> None:
        """Wait until the server has durably what was dispatched, or will never have it."""
        while waiting := [write.dispatch for write in self._writer.writes if not write.is_durable]:
            for dispatch in waiting:
                await until_sent(dispatch)

    async def reached(self, offset: Offset) -> None:
        """Wait until the stream was read up to an offset of it.

        Raises:
            DurafoldError: the server refuses to serve the stream.
            ProviderClosed: the provider was closed before.
        """
        while self.offset == START or self.offset < offset:
            if self.error is not None:
                raise self.error
            if self._has_ended:
                raise self._gone()
            await self.listeners.changed()

    async def history(self) -> History[S]:
        """Read the whole stream, with every state that it has gone through.

        Raises:
            StreamGone: the server no longer keeps the beginning.
            DurafoldError: it does not answer, or refuses.
        """
        messages: list[Any] = []
        offset: Offset = START
        async for page in self._stream.pages():
            messages += page.json()
            offset = page.next_offset
        return History(self.definition.step, self.definition.initial, Envelopes(messages), offset)

    async def at(self, offset: Offset) -> S:
        """The state at an offset of the stream; see `history` for what it raises."""
        history = await self.history()
        later = 0
        async for page in self._stream.pages(offset):
            later += len(page.json()) if page.next_offset <= history.offset else 0
        return history.at(len(history) - later)

    # ---- dispatching ----

    def dispatch(self, kind: str, payload: Any) -> Dispatch[S]:
        """Show an action at once, and send it.

        Args:
            kind: type of its message.
            payload: a plain JSON value.

        Raises:
            StreamClosed: the stream takes no more actions.
            ProviderClosed: the provider was closed.
        """
        seed = secrets.token_hex(8) if self.definition.needs_seed else None
        identity, now_ms = ActionId(self.client_id, 0), int(self._options.clock() * 1000)
        shown = Envelope(kind, payload, identity, ts_ms=now_ms, seed=seed)
        write = self._new_write(kind, payload, now_ms=now_ms, seed=seed)
        return self._show(write, self._effect(shown))

    def update(self, function: Callable[[S], S]) -> Dispatch[S]:
        """Show what a function makes of the value, and send it so that no other write is lost.

        Raises:
            StreamClosed: as for `dispatch`.
            ProviderClosed: as for `dispatch`.
        """
        states, now_ms = self.definition.states, int(self._options.clock() * 1000)
        write = self._new_write(SET, None, now_ms=now_ms, function=function)
        return self._show(write, lambda state: states.parse(self._run(function, state)))

    def _new_write(
        self,
        kind: str,
        payload: Any,
        *,
        now_ms: int,
        function: Callable[[S], S] | None = None,
        seed: str | None = None,
    ) -> Write[S]:
        self._require_open()
        self._tickets += 1
        return Write(self._tickets, Dispatch(self.report), kind, payload, function, now_ms, seed)

    def _show(self, write: Write[S], effect: Callable[[S], S]) -> Dispatch[S]:
        before = self._replica
        self._writer.writes.add(write)
        self._replica = transitions.optimistic(before, write.ticket, effect)
        self.undo.current.record(write.ticket, write.kind, write.payload, write.function, before.view)
        self._writer.send()
        self._announce(before)
        return write.dispatch

    def _resume(self, resumed: Resumed | None) -> None:
        """Show what an earlier process dispatched, to be sent again unless it has come back."""
        if resumed is None:
            self._writer.note_identity()
            return
        self._writer.resume(resumed)
        for saved in resumed.writes:
            write = Write[S](
                saved.ticket, Dispatch(self.report), saved.kind, saved.payload, None, saved.ts_ms, saved.seed
            )
            write.if_revision = saved.if_revision
            identity = ActionId(resumed.client_id, saved.n) if saved.n is not None else None
            shown = Envelope(saved.kind, saved.payload, identity, ts_ms=saved.ts_ms, seed=saved.seed)
            self._tickets = saved.ticket
            self._writer.restore(write, identity)
            self._replica = transitions.optimistic(self._replica, write.ticket, self._effect(shown))
            self.were_named([write])
        self._forget_folded()

    def _effect(self, shown: Envelope) -> Callable[[S], S]:
        return lambda state: self.definition.step(state, shown)

    def _forget_folded(self) -> None:
        """A state that was folded elsewhere may have own actions in it already."""
        seen = self.confirmed.seen
        folded = [
            write
            for write in self._writer.writes
            if write.id is not None and write.id.n <= seen.get(write.id.client_id, -1)
        ]
        self._replica = transitions.reject(self._replica, {write.ticket for write in folded})
        for write in folded:
            self._writer.writes.remove(write)
            resolve(write.dispatch, self.confirmed.state)

    def _require_open(self) -> None:
        if self._is_closed:
            raise StreamClosed("The stream takes no more actions", stream=self.definition.key)
        if self._has_ended:
            raise self._gone()

    def updated(self, function: Callable[[S], S]) -> Any:
        """JSON form of what a function makes of the confirmed state."""
        try:
            return self._run(function, self.confirmed.state)
        except NotJson as exc:
            raise InvalidAction(f"The new value of {self.definition.key!r} cannot be sent: {exc}") from exc

    def _run(self, function: Callable[[S], S], state: S) -> Any:
        # On a copy, so that a function like `lambda items: items.append(x) or items` harms nobody.
        return self.definition.states.dump(function(copy.deepcopy(state)))

    # ---- what becomes of own actions ----

    def were_named(self, writes: Sequence[Write[S]]) -> None:
        """Actions have an identity in the log from now on, or have it no longer."""
        marks = {write.ticket: (write.id.client_id, write.id.n) if write.id else None for write in writes}
        self._replica = transitions.mark(self._replica, marks)

    def was_delivered(self, write: Write[S]) -> None:
        """The server has an action durably; its echo may have been faster."""
        if write in self._writer.writes:
            write.is_durable = True
            mark_sent(write.dispatch)

    def was_refused(self, write: Write[S], error: Exception) -> None:
        """An action will never be in the stream; those of one batch are taken back together."""
        assert self._tasks is not None
        self._writer.writes.remove(write)
        if not self._refused:
            self._tasks.start_soon(self._take_back_refused)
        self._refused.append((write, error))

    async def _take_back_refused(self) -> None:
        before = self._replica
        self._take_back()
        self._announce(before)

    def _take_back(self) -> None:
        refused, self._refused = self._refused, []
        self._replica = transitions.reject(self._replica, {write.ticket for write, _ in refused})
        for write, error in refused:
            self.undo.forget(write.ticket)
            fail(write.dispatch, error)
            # The error's traceback leads to the write: without this, a dispatch that nobody holds would live
            # on, and not report its failure, until the garbage collector finds the circle.
            del write.dispatch

    def _settle(self, ticket: int, settled: Settled[S]) -> None:
        write = self._writer.writes.get(ticket)
        match settled.outcome.verdict:
            case "applied":
                self._writer.writes.remove(write)
                resolve(write.dispatch, settled.state)
            case "conflict":
                gives_up = self._writer.lost(write)
                if gives_up is not None:
                    self.was_refused(write, gives_up)
            case _:
                self._writer.writes.remove(write)
                self.undo.forget(ticket)
                fail(write.dispatch, _rejected(self.definition.key, settled.outcome))

    # ---- what the reader brings ----

    async def take(self, page: Page) -> None:
        """Fold a page; called by the reader."""
        before, was_ready = self._replica, self._is_ready
        batch = Batch(Envelopes(page.json()), page.offset, page.next_offset)
        confirmation = transitions.confirm(self.definition.step, before, batch)
        if confirmation.replica.confirmed.offset != page.next_offset:
            raise MalformedResponse(
                "A page does not continue what was read before", offset=before.confirmed.offset
            )
        if confirmation.failures and self._options.on_fault == "halt":
            raise _halted(self.definition.key, *confirmation.failures[0])
        self._replica = confirmation.replica
        for ticket, settled in confirmation.settled:
            self._settle(ticket, settled)
        self._is_ready = was_ready or page.up_to_date or page.closed
        self._is_closed = page.closed
        self._check_identity()
        self._writer.send()
        self._report_faults(before.confirmed.fault_count, confirmation.failures)
        self._announce(before)
        if page.up_to_date:
            await self._keeper.save(self.confirmed, at_least=MESSAGES_PER_SAVE if was_ready else 1)
            if self._keeper.is_snapshot_due(self.confirmed) and self._tasks is not None:
                self._tasks.start_soon(self._keeper.write_snapshot, lambda: self.confirmed)

    def _report_faults(self, earlier: int, failures: Sequence[tuple[Fault, Exception]]) -> None:
        for fault, error in failures[: max(0, MAX_FAULTS - earlier)]:
            error.add_note(
                f"skipped {fault.id or 'a message'}, number {fault.position} of {self.definition.key!r}"
            )
            self.report(error)

    def _check_identity(self) -> None:
        if self.confirmed.seen.get(self.client_id, 0) > self._writer.counter:
            # Somebody writes under our name: readers would take what we send for copies.
            self._writer.interrupt(new_id=True)

    async def start_over(self, *, was_deleted: bool) -> None:
        """The stream is another one now, or what was to be read next is no longer kept.

        In the second case a snapshot may be further along; then nothing was lost.
        """
        newer = None if was_deleted else await self._keeper.newest(self.confirmed)
        if newer is not None:
            self._take_over(newer)
            return
        before = self._replica
        self._lives += 1
        self._replica = transitions.reset(before, self.definition.initial)
        self._writer.start_over()
        self._announce(before)
        self._notice(StreamReset(self.definition.key, before.confirmed.revision))
        await self._keeper.drop(was_deleted=was_deleted)

    def reading_changed(self) -> None:
        """The reader's status changed."""
        self.listeners.notify(value=False)

    def refused(self, error: DurafoldError) -> None:
        """The server refuses to serve the stream; called by the reader once, until it serves it again."""
        self.report(error)

    async def read_upto(self, tail: Offset) -> None:
        """Wait until everything before the offset was folded, or the stream is another one."""
        life = self._lives
        while self._lives == life and self.offset < tail:  # offsets sort as strings (PROTOCOL §8)
            await self.listeners.changed()

    # ---- running ----

    async def run(self) -> None:
        """Follow the stream and send, until it is closed or `stop` is called. Never raises."""
        try:
            with self._scope:
                await self._load()
                async with anyio.create_task_group() as self._tasks:
                    self._tasks.start_soon(self._writer.run, self._stream_exists)
                    await self._reader.run()
                    self._tasks.cancel_scope.cancel()
        except Exception as error:  # noqa: BLE001 - a fault in one stream must not end the provider
            self._crash = _innermost(error)
            self.report(self._crash)
        finally:
            self._end()
            with anyio.CancelScope(shield=True):
                await self._keeper.save(self.confirmed, at_least=1)
            self.ended.set()

    def stop(self) -> None:
        """End `run`; what was not sent yet is lost."""
        self._scope.cancel()

    async def _stream_exists(self) -> None:
        await self._reader.exists.wait()

    def _end(self) -> None:
        before = self._replica
        self._has_ended = True
        left = list(self._writer.writes)
        self._refused += [(write, self._farewell(write)) for write in left]
        for write in left if self._is_closed else ():
            self._writer.writes.remove(write)  # out of the outbox too: nobody will ever take it
        self._writer.writes.clear()
        self._take_back()
        self._announce(before)

    def _farewell(self, write: Write[S]) -> DurafoldError:
        key = self.definition.key
        if self._is_closed:
            return StreamClosed("The stream was closed before the action was in it", stream=key)
        if write.is_durable and self._lives:
            return ActionLost("The stream was deleted, and the provider closed", stream=key)
        return self._gone("before the action came back" if write.is_durable else "before the action was sent")

    def _gone(self, when: str = "") -> StateError:
        key = self.definition.key
        if self._crash is not None:
            return StateError(f"The stream is not followed any more: {self._crash}", stream=key)
        return ProviderClosed(f"The provider was closed {when}".rstrip(), stream=key)

    # ---- keeping ----

    async def _load(self) -> None:
        loaded = await self._keeper.load(self.confirmed)
        if loaded is not None:
            self._take_over(loaded)

    def _take_over(self, confirmed: Confirmed[S]) -> None:
        """Go on from a state that was folded elsewhere."""
        before = self._replica
        self._replica = transitions.hydrate(before, confirmed)
        self._forget_folded()
        self._announce(before)

    # ---- telling ----

    def _announce(self, before: Replica[S]) -> None:
        self._keep_pristine()
        self.listeners.notify(value=self._replica.version != before.version)

    def _keep_pristine(self) -> None:
        if self._options.strict and self._pristine[0] is not self._replica.view:
            self._pristine = (self._replica.view, copy.deepcopy(self._replica.view))

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


def _rejected(key: str, outcome: Outcome) -> ActionRejected:
    error = outcome.error
    reason = error.reason if isinstance(error, Reject) else f"it could not be folded: {error!r}"
    rejected = ActionRejected(reason, stream=key)
    rejected.__cause__ = error
    return rejected


def _innermost(error: Exception) -> Exception:
    """The one error in a group of one, as task groups raise it."""
    while isinstance(error, ExceptionGroup) and len(error.exceptions) == 1:
        error = error.exceptions[0]
    return error


def _halted(key: str, fault: Fault, error: Exception) -> StateError:
    halted = StateError(
        f"Message {fault.position} cannot be folded: {fault.reason}",
        stream=key,
        offset=fault.offset,
        hint='Correct the reducer, or open the provider with on_fault="skip"',
    )
    halted.__cause__ = error
    return halted
