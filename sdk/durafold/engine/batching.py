"""`batch`: many changes, and one notice of them."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from contextvars import ContextVar
from typing import Final, Protocol

__all__ = ["MAX_ROUNDS", "Notified", "batch", "gathered", "held", "leave_batch"]

MAX_ROUNDS: Final = 100
"""How often listeners may answer a notice by a new change before they are taken for an endless loop."""


class Notified(Protocol):
    """Those who are told of one thing's changes."""

    def parts(self) -> Iterable[Notified]:
        """Those who are told of the changes of what it is made of."""
        ...

    def tell(self, *, value: bool) -> None:
        """Tell them now."""

    def wake(self) -> None:
        """Tell only those who wait for a change of any kind."""

    def give_up(self) -> None:
        """They keep answering by new changes: report it."""


class _Batch:
    """Notices that wait for the end of a block."""

    def __init__(self) -> None:
        self._due: dict[Notified, bool] = {}

    @property
    def is_open(self) -> bool:
        """Whether it still holds notices back."""
        return self in _open

    def holds(self, notified: Notified) -> bool:
        """Whether there is a notice for them already, or will be."""
        return notified in self._due or any(self.holds(part) for part in notified.parts())

    def hold(self, notified: Notified, *, value: bool) -> None:
        self._due[notified] = value or self._due.get(notified, False)

    def tell(self) -> None:
        """Tell everybody; what is derived announces itself meanwhile, and is held once more."""
        rounds: Counter[Notified] = Counter()
        while self._due:
            notified = next(iter(self._due))
            value = self._due.pop(notified)
            rounds[notified] += 1
            if rounds[notified] > MAX_ROUNDS:
                notified.give_up()
            else:
                notified.tell(value=value)


_present: ContextVar[_Batch | None] = ContextVar("durafold_batch", default=None)
_open: Final[set[_Batch]] = set()


def held(notified: Notified, *, value: bool) -> bool:
    """Whether a block holds the notice back, and will give it.

    A block around the caller does, and one elsewhere that has changed the same value, or one that it is made
    of: what the network brings meanwhile must not show half of what the block does.
    """
    present = _present.get()
    if present is not None and present.is_open:  # a task that was started in a block outlives it
        present.hold(notified, value=value)
        return True
    present = next((other for other in tuple(_open) if other.holds(notified)), None)
    if present is None:
        return False
    present.hold(notified, value=value)
    notified.wake()  # the block itself may wait for what the network brings
    return True


def leave_batch() -> None:
    """What this task announces is not held back by the block that it was started in; for tasks of ours.

    Otherwise who waits in that block for what such a task brings would wait for ever.
    """
    _present.set(None)


@contextmanager
def batch() -> Iterator[None]:
    """Several changes, of one or of many values, of which everybody is told once.

    In the block every change is in its `value` at once, as always. Behind it:

    - Listeners of each value that has changed are called once, and derived values are computed once, from all
      changes together.
    - What was dispatched on one stream goes out in one append (of up to 1 MiB), so that other clients as a
      rule see it all at once, too. Updates by functions are the exception: each is computed from the one
      before it, and goes out when that has come back.

    It is no transaction. If the block raises, what it had dispatched until then stays dispatched, everybody
    is told of it, and the exception goes on. Of actions that are refused or rejected, each stands for itself.

    Blocks may be nested; the outermost counts. Nothing should be awaited in the block: it would be sent in
    parts, and listeners would wait longer for what this task changes. What other tasks change is not held
    up, except on the same values.

    Example:
        >>> left, right = party.server_state(0, "left"), party.server_state(0, "right")
        >>> _ = left.subscribe(lambda: print(left.value, right.value))
        >>> with batch():
        ...     _ = left.increment()
        ...     _ = right.increment()
        ...     _ = left.increment()
        2 1
    """
    with gathered(lambda tell: tell()):
        yield


@contextmanager
def gathered(in_the_loop: Callable[[Callable[[], None]], None]) -> Iterator[None]:
    """`batch`, for a caller that may be in another thread than the event loop.

    Args:
        in_the_loop: calls a function in the loop's thread, in the caller's context, and waits for it.
    """
    if (around := _present.get()) is not None and around.is_open:
        yield
        return
    present = _Batch()
    token = _present.set(present)
    _open.add(present)
    try:
        try:
            yield
        finally:
            in_the_loop(present.tell)
    finally:
        _open.discard(present)
        _present.reset(token)
