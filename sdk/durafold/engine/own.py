"""`OwnActions`: what this process does to a stream, from the dispatch of each action to its fate.

Every action is shown at once, handed to the writer, and stays in the view until its echo was folded, or until
it is known that there will be none.
"""

from __future__ import annotations

import copy
import secrets
from collections.abc import Callable, Coroutine, Sequence
from functools import partial
from typing import Any, Final, Generic, TypeVar, cast

from durafold.client import DurableStream, Offset
from durafold.engine import endings
from durafold.engine.dispatch import Dispatch, fail, mark_sent, resolve, until_sent
from durafold.engine.middleware import DispatchContext, DispatchKind, pass_through
from durafold.engine.options import EngineOptions
from durafold.engine.shown import Shown
from durafold.engine.undo import UndoStacks
from durafold.engine.writer import Writer
from durafold.engine.writes import Write
from durafold.errors import DurafoldError, InvalidAction
from durafold.outbox import KeyOutbox, Resumed
from durafold.state import replica as transitions
from durafold.state.json_values import NotJson
from durafold.state.outcomes import ImpureReducer
from durafold.state.replica import Settled
from durafold.wire.envelope import SET, ActionId, Envelope

__all__ = ["OwnActions"]

S = TypeVar("S")

_WATCHED_RUNS: Final = 2


class OwnActions(Generic[S]):
    """Own actions of one stream.

    Args:
        shown: where they are shown.
        stream: where they are sent.
        options: settings that all engines of a provider share.
        outbox: where they are kept beside, to outlive the process.
        require_open: raises if the stream takes no more of them.
        report: is given what nobody awaits.
        start_soon: runs something as long as the engine runs.

    Attributes:
        definition: what the key means.
        writer: sends them.
        undo: those that can be undone, by user.
    """

    def __init__(
        self,
        shown: Shown[S],
        stream: DurableStream,
        options: EngineOptions,
        outbox: KeyOutbox | None,
        *,
        require_open: Callable[[], None],
        report: Callable[[Exception], None],
        start_soon: Callable[[Callable[[], Coroutine[Any, Any, None]]], None],
    ) -> None:
        self.definition = shown.definition
        self._report = report
        self._shown = shown
        self._options = options
        self._require_open = require_open
        self._start_soon = start_soon
        self._middleware = options.middleware + shown.definition.declaration.middleware
        self._tickets = 0
        self._to_watch = _WATCHED_RUNS
        self._refused: list[tuple[Write[S], Exception]] = []
        self.writer: Writer[S] = Writer(
            stream, self, new_client_id=options.new_client_id, by=options.by, outbox=outbox
        )
        self.undo: UndoStacks[S] = UndoStacks(self)
        if outbox is not None:
            self._resume(outbox.resume())

    @property
    def revision(self) -> int:
        """Revision of the confirmed state."""
        return self._shown.confirmed.revision

    def report(self, error: Exception) -> None:
        """Hand an error that nobody awaits to `on_error`."""
        self._report(error)

    async def read_upto(self, tail: Offset) -> None:
        """Wait until everything before the offset was folded, or the stream is another one."""
        await self._shown.read_upto(tail)

    async def flushed(self) -> None:
        """Wait until the server has durably what was dispatched, or will never have it."""
        while waiting := [write.dispatch for write in self.writer.writes if not write.is_durable]:
            for dispatch in waiting:
                await until_sent(dispatch)

    # ---- dispatching ----

    def dispatch(self, kind: DispatchKind, action: Any) -> Dispatch[S]:
        """Have an action pass the middleware, show it at once, and send it.

        Args:
            kind: type of its message.
            action: an action of the reducer; a new value, or a function that makes it of the present one, so
                that no other write is lost; an operation with its arguments.

        Raises:
            InvalidAction: it does not match its type, or has no JSON form.
            ActionRejected: middleware rejected it.
            StreamClosed: the stream takes no more actions.
            ProviderClosed: the provider was closed.
        """
        if not self._middleware:
            return self._send(kind, action)
        checked = self.definition.checked(kind, action)
        context = DispatchContext(
            self.definition.key, kind, self._shown.view, self.writer.client_id, self.undo.user
        )
        return pass_through(self._middleware, context, checked, partial(self._send, kind))

    def dispatch_again(self, kind: DispatchKind, payload: Any) -> Dispatch[S]:
        """Dispatch something of which the JSON form is known; for undo and redo."""
        if not self._middleware:
            return self._send_payload(kind, payload)
        return self.dispatch(kind, self.definition.parsed(kind, payload))

    def _send(self, kind: str, action: Any) -> Dispatch[S]:
        if kind == SET and callable(action):
            return self._send_function(cast("Callable[[S], S]", action))
        return self._send_payload(kind, self.definition.payload(kind, action))

    def _send_payload(self, kind: str, payload: Any) -> Dispatch[S]:
        seed = secrets.token_hex(8) if self.definition.needs_seed else None
        now_ms = self._now_ms()
        shown = Envelope(kind, payload, ActionId(self.writer.client_id, 0), ts_ms=now_ms, seed=seed)
        write = self._new_write(kind, payload, now_ms=now_ms, seed=seed)
        return self._show(write, self._effect(shown))

    def _send_function(self, function: Callable[[S], S]) -> Dispatch[S]:
        states = self.definition.states
        write = self._new_write(SET, None, now_ms=self._now_ms(), function=function)
        return self._show(write, lambda state: states.parse(self._run(function, state)))

    def updated(self, function: Callable[[S], S]) -> Any:
        """JSON form of what a function makes of the confirmed state."""
        try:
            return self._run(function, self._shown.confirmed.state)
        except NotJson as exc:
            raise InvalidAction(f"The new value of {self.definition.key!r} cannot be sent: {exc}") from exc

    def _run(self, function: Callable[[S], S], state: S) -> Any:
        # On a copy, so that a function like `lambda items: items.append(x) or items` harms nobody.
        return self.definition.states.dump(function(copy.deepcopy(state)))

    def _now_ms(self) -> int:
        return int(self._options.clock() * 1000)

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
        before = self._shown.replica
        self.writer.writes.add(write)
        self._shown.replica = transitions.optimistic(before, write.ticket, effect)
        self.undo.current.record(write.ticket, write.kind, write.payload, write.function, before.view)
        self.writer.send()
        self._shown.announce(before)
        return write.dispatch

    def _effect(self, shown: Envelope) -> Callable[[S], S]:
        if shown.kind == "action" and self._to_watch:
            return partial(self._watched, shown)
        return lambda state: self.definition.step(state, shown)

    def _watched(self, shown: Envelope, state: S) -> S:
        """Fold an action, and report a reducer that changes the state it is given: everybody's first mistake,
        and without a word the view would just be wrong."""
        if not self._to_watch:
            return self.definition.step(state, shown)
        self._to_watch -= 1
        before = self._json_of(state)
        after = self.definition.step(state, shown)
        if self._json_of(state) != before:
            self._to_watch = 0
            self.report(
                ImpureReducer(
                    f"The reducer of {self.definition.key!r} changed the state that it was given, so what is "
                    "shown is wrong: return a new state, or declare it with @reducer(draft=True)"
                )
            )
        return after

    def _json_of(self, state: S) -> Any:
        try:
            return copy.deepcopy(self.definition.states.dump(state))
        except Exception:  # noqa: BLE001 - what has no JSON form is not watched
            return None

    # ---- what an earlier process, or another client, has done of it ----

    def _resume(self, resumed: Resumed | None) -> None:
        """Show what an earlier process dispatched, to be sent again unless it has come back."""
        if resumed is None:
            self.writer.note_identity()
            return
        before = self._shown.replica
        self.writer.resume(resumed)
        for saved in resumed.writes:
            write = Write[S](
                saved.ticket, Dispatch(self.report), saved.kind, saved.payload, None, saved.ts_ms, saved.seed
            )
            write.if_revision = saved.if_revision
            identity = ActionId(resumed.client_id, saved.n) if saved.n is not None else None
            shown = Envelope(saved.kind, saved.payload, identity, ts_ms=saved.ts_ms, seed=saved.seed)
            self._tickets = saved.ticket
            self.writer.restore(write, identity)
            self._shown.replica = transitions.optimistic(
                self._shown.replica, write.ticket, self._effect(shown)
            )
            self.were_named([write])
        self.forget_folded()
        self._shown.announce(before)

    def forget_folded(self) -> None:
        """A state that was folded elsewhere may have own actions in it already."""
        confirmed = self._shown.confirmed
        counted: list[Write[S]] = []
        for write in self.writer.writes:
            if write.id is None or write.id.n > confirmed.seen.get(write.id.client_id, -1):
                continue
            # What a client dispatches later waits for its compare-and-set: the last one tells its fate.
            if write.is_compare_and_set and write.id.client_id in confirmed.losers:
                self._lost_elsewhere(write)
            else:
                counted.append(write)
        self._shown.replica = transitions.reject(self._shown.replica, {write.ticket for write in counted})
        for write in counted:
            self.writer.writes.remove(write)
            resolve(write.dispatch, confirmed.state)
        self._take_back()

    def _lost_elsewhere(self, write: Write[S]) -> None:
        gives_up = self.writer.lost(write)
        if gives_up is not None:
            self.writer.writes.remove(write)
            self._refused.append((write, gives_up))
        else:
            self.were_named([write])

    def check_identity(self) -> None:
        """If somebody writes under our name, take another: readers would take what we send for copies."""
        if self._shown.confirmed.seen.get(self.writer.client_id, 0) > self.writer.counter:
            self.writer.interrupt(new_id=True)

    # ---- what becomes of them ----

    def were_named(self, writes: Sequence[Write[S]]) -> None:
        """Actions have an identity in the log from now on, or have it no longer."""
        marks = {write.ticket: (write.id.client_id, write.id.n) if write.id else None for write in writes}
        self._shown.replica = transitions.mark(self._shown.replica, marks)

    def was_delivered(self, write: Write[S]) -> None:
        """The server has an action durably; its echo may have been faster."""
        if write in self.writer.writes:
            write.is_durable = True
            mark_sent(write.dispatch)

    def was_refused(self, write: Write[S], error: Exception) -> None:
        """An action will never be in the stream; those of one batch are taken back together."""
        self.writer.writes.remove(write)
        if not self._refused:
            self._start_soon(self._take_back_refused)
        self._refused.append((write, error))

    def settle(self, ticket: int, settled: Settled[S]) -> None:
        """An action has come back, and was folded."""
        write = self.writer.writes.get(ticket)
        match settled.outcome.verdict:
            case "applied":
                self.writer.writes.remove(write)
                resolve(write.dispatch, settled.state)
            case "conflict":
                gives_up = self.writer.lost(write)
                if gives_up is not None:
                    self.was_refused(write, gives_up)
            case _:
                self.writer.writes.remove(write)
                self.undo.forget(ticket)
                fail(write.dispatch, endings.rejected(self.definition.key, settled.outcome))

    def end(self, why: Callable[[Write[S]], DurafoldError], *, is_closed: bool) -> None:
        """Nothing is sent any more: take back what is left.

        Args:
            why: gives the error for one of them.
            is_closed: the stream is closed, so nobody will ever take them.
        """
        before = self._shown.replica
        left = list(self.writer.writes)
        self._refused += [(write, why(write)) for write in left]
        for write in left if is_closed else ():
            self.writer.writes.remove(write)  # out of the outbox too
        self.writer.writes.clear()
        self._take_back()
        self._shown.announce(before)

    async def _take_back_refused(self) -> None:
        before = self._shown.replica
        self._take_back()
        self._shown.announce(before)

    def _take_back(self) -> None:
        refused, self._refused = self._refused, []
        self._shown.replica = transitions.reject(self._shown.replica, {write.ticket for write, _ in refused})
        for write, error in refused:
            self.undo.forget(write.ticket)
            fail(write.dispatch, endings.refused(self.definition.key, error))
            # The error's traceback leads to the write: without this, a dispatch that nobody holds would live
            # on, and not report its failure, until the garbage collector finds the circle.
            del write.dispatch
