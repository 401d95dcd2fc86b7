"""Sends own actions: each until it has come back, in the order of dispatching."""

from __future__ import annotations

import random
from collections.abc import Awaitable, Callable, Sequence
from functools import partial
from typing import Any, Final, Generic, Protocol, TypeVar

import anyio
from anyio.abc import TaskGroup

from durafold.client import Backoff, Delivery, DurableStream, IdempotentProducer, Offset
from durafold.engine.writes import Write, Writes
from durafold.errors import (
    BufferFull,
    ConflictError,
    DurafoldError,
    FencedError,
    ProducerTaken,
    StateError,
    StreamClosed,
)
from durafold.outbox import KeyOutbox, Resumed
from durafold.wire.envelope import ActionId, Envelope, to_message

__all__ = ["Owner", "Writer"]

S = TypeVar("S")

MAX_CONFLICTS: Final = 200
"""How many compare-and-sets a functional update may lose before it fails."""

CONFLICT_BACKOFF: Final = Backoff(first_s=0.005, max_s=0.2)
"""How long the loser of a compare-and-set waits. Every round has a winner, so short waits are enough."""


class Owner(Protocol[S]):
    """What the writer needs of the one it writes for."""

    @property
    def revision(self) -> int:
        """Revision of the confirmed state."""
        ...

    def updated(self, function: Callable[[S], S]) -> Any:
        """JSON form of what a function makes of the confirmed state; raises what it raises."""

    def were_named(self, writes: Sequence[Write[S]]) -> None:
        """Actions have an identity in the log from now on, or have it no longer."""

    def was_delivered(self, write: Write[S]) -> None:
        """The server has an action durably."""

    def was_refused(self, write: Write[S], error: Exception) -> None:
        """An action will never be in the stream: take it out of `writes` at once."""

    async def read_upto(self, tail: Offset) -> None:
        """Wait until everything before the offset was folded, or the stream is another one."""

    def report(self, error: Exception) -> None:
        """Hand an error that nobody awaits to `on_error`."""


class Writer(Generic[S]):
    """The sending half of an engine.

    An idempotent producer does the work as long as it can. When it cannot go on (the stream was deleted, its
    state was lost, another process took its id), what has not come back is given to the next producer, after
    everything in the stream was read: what had arrived after all is known by then, and a copy that still
    arrives later is recognised by its id, which stays the same.

    Args:
        stream: where to send.
        owner: who dispatches.
        new_client_id: gives an id that nobody ever used.
        by: who dispatches, in words for others.
        outbox: where actions are kept beside, to outlive the process.

    Attributes:
        client_id: present Producer-Id, with which all ids begin.
        counter: number of the last id.
        writes: what has not come back.
    """

    def __init__(
        self,
        stream: DurableStream,
        owner: Owner[S],
        *,
        new_client_id: Callable[[], str],
        by: str | None,
        outbox: KeyOutbox | None = None,
    ) -> None:
        self._stream = stream
        self._owner = owner
        self._new_client_id = new_client_id
        self._by = by
        self._epoch = 0
        self._producer: IdempotentProducer | None = None
        self._tasks: TaskGroup | None = None
        self._trouble = anyio.Event()
        self._needs_new_id = False
        self._outbox = outbox
        self._is_resumed = False
        self.client_id = new_client_id()
        self.counter = 0
        self.writes: Writes[S] = Writes(outbox, owner.report)

    # ---- the life of producers ----

    async def run(self, stream_exists: Callable[[], Awaitable[None]]) -> None:
        """Send what is to be sent, until the stream is closed.

        Args:
            stream_exists: waits until the stream is known to exist.
        """
        async with anyio.create_task_group() as self._tasks:
            if self._is_resumed:
                await stream_exists()
                await self._read_to_the_tail()
            while True:
                await stream_exists()
                if self._needs_new_id:
                    self._take_new_id()
                failure = await self._session()
                if isinstance(failure, StreamClosed):
                    return
                # PROTOCOL §5.2.1: a newer epoch means that another process owns this producer id. Or it is
                # that of an earlier identity: somebody else has logged in since.
                is_lost = isinstance(failure, FencedError | ProducerTaken)
                self._needs_new_id = self._needs_new_id or is_lost
                await self._read_to_the_tail()

    def resume(self, resumed: Resumed) -> None:
        """Go on as the client that an earlier process was: nothing is sent before all was read."""
        self._is_resumed = True
        self.client_id, self.counter = resumed.client_id, resumed.counter
        self._epoch = resumed.epoch + 1

    def restore(self, write: Write[S], identity: ActionId | None) -> None:
        """Queue what an earlier process has left, under the identity that it has there."""
        if identity is not None:
            write.id, write.message = identity, self._with_identity(write, identity, write.payload)
        self.writes.restore(write)

    def interrupt(self, *, new_id: bool = False) -> None:
        """Begin again with what has not come back. `new_id`: as another client."""
        self._needs_new_id = self._needs_new_id or new_id
        self._producer = None
        self._trouble.set()

    def start_over(self) -> None:
        """The stream is another one: compute anew what was computed from the old one, send the rest again."""
        self._forget_ids([write for write in self.writes if write.function is not None])
        for write in self.writes:
            if write.if_revision is not None:
                self._owner.was_refused(write, _outdated())
        self.interrupt()

    async def _session(self) -> DurafoldError | None:
        """The life of one producer; returns why it ended, None if it was interrupted."""
        self._trouble = anyio.Event()
        self.note_identity()
        producer = IdempotentProducer(self._stream, self.client_id, epoch=self._epoch)
        failure: DurafoldError | None = None
        with anyio.CancelScope() as scope:
            async with producer:
                self._producer = producer
                self.writes.give_again()
                self.send()
                await self._trouble.wait()
                failure = producer.failure
                scope.cancel()  # what is still on its way will be given to the next producer
        self._producer = None
        self._epoch = producer.epoch + 1
        return failure

    def note_identity(self) -> None:
        """Keep as whom everything is sent, for the next process."""
        if self._outbox is not None:
            try:
                self._outbox.identify(self.client_id, self._epoch, self.counter)
            except StateError as error:
                self._owner.report(error)  # the next process will be shut out, and take another id

    async def _read_to_the_tail(self) -> None:
        """Wait until everything that has arrived by now was folded."""
        attempt = 0
        while True:
            try:
                tail = (await self._stream.head()).next_offset
            except DurafoldError:
                # The reader meets the same error, and does what is to be done about it.
                await anyio.sleep(self._stream.settings.backoff.delay_s(attempt, random.random()))  # noqa: S311
                attempt += 1
            else:
                return await self._owner.read_upto(tail)

    def _take_new_id(self) -> None:
        # Nothing that still travels under the old id can count any more: readers ignore it as a copy, or the
        # server refuses it (unless it was sent with the credentials of an earlier identity, and takes longer
        # than we took to read to the tail). So what has not come back may be sent under new ids.
        self._needs_new_id = False
        self.client_id, self._epoch = self._new_client_id(), 0
        self._forget_ids(list(self.writes))

    def _forget_ids(self, writes: Sequence[Write[S]]) -> None:
        for write in writes:
            write.id = write.message = None
        self.writes.named([write for write in writes if write.function is None], self.counter)
        self._owner.were_named(writes)

    # ---- sending ----

    def send(self) -> None:
        """Give the producer what it may be given now; nothing happens while there is none."""
        named: list[Write[S]] = []
        while self._producer is not None:
            write = self.writes.next()
            if write is None or not self._give(self._producer, write, named):
                break
        if named:
            self.writes.named(named, self.counter)
            self._owner.were_named(named)

    def _give(self, producer: IdempotentProducer, write: Write[S], named: list[Write[S]]) -> bool:
        """Give it one; False if that must wait. `named` collects those that have an id from now on."""
        if write.message is None:
            try:
                write.message = self._message(write)
            except Exception as error:  # noqa: BLE001 - the user's function raised; its caller is told
                self._owner.was_refused(write, error)
                return True
            named.append(write)
        try:
            producer.append_nowait(write.message, on_done=partial(self._done, producer, write))
        except BufferFull:
            return False  # goes on when something was delivered
        except DurafoldError:
            self._trouble.set()
            return False
        self.writes.given(write)
        return True

    def _message(self, write: Write[S]) -> dict[str, Any]:
        function = write.function
        payload = write.payload if function is None else self._owner.updated(function)
        identity = ActionId(self.client_id, self.counter + 1)
        message = self._with_identity(write, identity, payload)
        self.counter += 1
        write.id = identity
        return message

    def _with_identity(self, write: Write[S], identity: ActionId, payload: Any) -> dict[str, Any]:
        envelope = Envelope(
            kind=write.kind,
            payload=payload,
            id=identity,
            if_revision=write.if_revision if write.function is None else self._owner.revision,
            ts_ms=write.ts_ms,
            by=self._by,
            seed=write.seed,
        )
        return to_message(envelope)

    def _done(self, producer: IdempotentProducer, write: Write[S], delivery: Delivery) -> None:
        if producer is not self._producer:
            return  # interrupted: the next producer will be given what this one has not delivered
        if producer.failure is not None:
            self._producer = None
            self._trouble.set()
            return
        if delivery.error is None:
            self._owner.was_delivered(write)
        elif write in self.writes:
            self._owner.was_refused(write, delivery.error)
        self.send()

    # ---- lost compare-and-sets ----

    def lost(self, write: Write[S]) -> ConflictError | None:
        """A functional update was overtaken by another write: run it again on the new state, after a moment.

        Returns:
            The error to give up with, if it has lost too often.
        """
        if write.function is None:
            return _outdated()
        assert self._tasks is not None
        write.conflicts += 1
        if write.conflicts >= MAX_CONFLICTS:
            return _too_many_conflicts(write.conflicts)
        write.is_resting = True
        self.writes.call_back(write)
        self._tasks.start_soon(self._rest, write)
        return None

    async def _rest(self, write: Write[S]) -> None:
        await anyio.sleep(CONFLICT_BACKOFF.delay_s(write.conflicts - 1, random.random()))  # noqa: S311 - jitter
        write.is_resting = False
        self.send()


def _outdated() -> ConflictError:
    return ConflictError(
        "An update that an earlier process had computed was overtaken by another write",
        hint="Update again from the present value",
    )


def _too_many_conflicts(count: int) -> ConflictError:
    return ConflictError(
        f"Other clients changed the value first, {count} times in a row",
        hint="Use an operation such as increment() or append(), which never conflicts, or a reducer",
    )
