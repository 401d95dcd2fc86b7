"""Own actions on their way, and which of them may be sent next."""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from typing import Any, Generic, TypeVar

from durafold.engine.dispatch import Dispatch
from durafold.errors import StateError
from durafold.outbox import KeyOutbox, SavedWrite
from durafold.wire.envelope import ActionId

__all__ = ["Write", "Writes"]

S = TypeVar("S")


@dataclass(eq=False, slots=True)
class Write(Generic[S]):
    """An own action from its dispatch until its echo.

    Attributes:
        ticket: its number, in the order of dispatching.
        dispatch: what the caller holds.
        kind: type of its message.
        payload: of its message, unless it is a functional update.
        function: of a functional update, which is sent as compare-and-set of the value it gives.
        ts_ms: when it was dispatched, milliseconds since 1970.
        seed: chance for the reducer, if it asks for it.
        id: its identity in the log, once it has one.
        message: what is sent, once it has an identity.
        conflicts: how many compare-and-sets it lost.
        is_resting: it waits a moment before it is sent anew.
        is_durable: the server has it.
        if_revision: of a functional update that an earlier process computed: it cannot be computed anew.
    """

    ticket: int
    dispatch: Dispatch[S]
    kind: str
    payload: Any
    function: Callable[[S], S] | None
    ts_ms: int
    seed: str | None = None
    id: ActionId | None = None
    message: dict[str, Any] | None = None
    conflicts: int = 0
    is_resting: bool = False
    is_durable: bool = False
    if_revision: int | None = None

    @property
    def is_compare_and_set(self) -> bool:
        """Whether it counts only if nobody else wrote in between."""
        return self.function is not None or self.if_revision is not None

    @property
    def n(self) -> int | None:
        """Its number, once it has an identity."""
        return self.id.n if self.id is not None else None


class Writes(Generic[S]):
    """All own actions that have not come back, in the order of dispatching.

    Those that a producer was given always come before those that wait for it: the counters in their ids must
    grow along the log. A functional update is given only when it is the oldest, because what it is computed
    from must be confirmed, and everything behind it waits until its fate is known.

    Args:
        outbox: where they are kept beside, to outlive the process. A functional update gets there when it is
            computed, since a function cannot be kept.
        report: is given what goes wrong there, once an action is on its way.
    """

    def __init__(
        self, outbox: KeyOutbox | None = None, report: Callable[[Exception], None] = lambda _: None
    ) -> None:
        self._outbox = outbox
        self._report = report
        self._all: dict[int, Write[S]] = {}
        self._waiting: deque[Write[S]] = deque()

    def __len__(self) -> int:
        return len(self._all)

    def __iter__(self) -> Iterator[Write[S]]:
        return iter(tuple(self._all.values()))

    def __contains__(self, write: Write[S]) -> bool:
        return write.ticket in self._all

    def add(self, write: Write[S]) -> None:
        """Queue a new one behind all others.

        Raises:
            StateError: it could not be kept; it was not queued.
        """
        if self._outbox is not None and write.function is None:
            self._outbox.add(_saved(write))
        self.restore(write)

    def restore(self, write: Write[S]) -> None:
        """Queue one that an earlier process has left."""
        self._all[write.ticket] = write
        self._waiting.append(write)

    def get(self, ticket: int) -> Write[S]:
        """The one with this ticket."""
        return self._all[ticket]

    def remove(self, write: Write[S]) -> None:
        """Take one out whose fate is known."""
        del self._all[write.ticket]
        if write in self._waiting:
            self._waiting.remove(write)
        if self._outbox is not None:
            try:
                self._outbox.remove(write.ticket)
            except StateError as error:
                self._report(error)  # it is found again by the next process, which sees that it has come back

    def named(self, writes: Sequence[Write[S]], counter: int) -> None:
        """Some have an identity from now on, or have it no longer; before they can leave the process."""
        if self._outbox is not None and writes:
            try:
                self._outbox.name([_saved(write) for write in writes], counter)
            except StateError as error:
                self._report(error)

    def clear(self) -> None:
        """Take all out; those in the outbox stay there."""
        self._all.clear()
        self._waiting.clear()

    def next(self) -> Write[S] | None:
        """The one that may be given to the producer now, if any."""
        if not self._waiting or self._waiting[0].is_resting:
            return None
        first, oldest = self._waiting[0], next(iter(self._all.values()))
        if first is not oldest and (first.is_compare_and_set or oldest.is_compare_and_set):
            return None
        return first

    def given(self, write: Write[S]) -> None:
        """The one from `next` was given to the producer."""
        self._waiting.popleft()
        assert write in self

    def give_again(self) -> None:
        """There is a new producer: it is to be given all, under the ids that they have."""
        self._waiting = deque(self._all.values())

    def call_back(self, write: Write[S]) -> None:
        """The oldest one needs a new id and is to be given again."""
        write.id = write.message = None
        if write not in self._waiting:
            self._waiting.appendleft(write)


def _saved(write: Write[Any]) -> SavedWrite:
    message = write.message or {"payload": write.payload, "meta": {}}
    if_revision = message["meta"].get("if_revision", write.if_revision)
    return SavedWrite(
        write.ticket, write.n, write.kind, message["payload"], if_revision, write.ts_ms, write.seed
    )
