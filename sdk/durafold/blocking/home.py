"""`Home`: where the handles of a blocking provider find its event loop and its callbacks."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from typing import Any, TypeVar

import anyio

from durafold.blocking.callbacks import Callbacks
from durafold.blocking.mirror import Face
from durafold.blocking.portal import LeasedPortal

__all__ = ["Home", "Resident", "within"]

A = TypeVar("A")
T = TypeVar("T")


@dataclass(frozen=True, slots=True)
class Home:
    """What all handles of a provider share.

    Attributes:
        portal: the loop in which the asynchronous provider is open.
        callbacks: the thread in which its callbacks run.
        report: is given errors that nobody waits for.
        is_strict: reads compare values with copies of them, and so must not meet a change half-way.
    """

    portal: LeasedPortal
    callbacks: Callbacks
    report: Callable[[Exception], None]
    is_strict: bool

    def read(self, function: Callable[[], T]) -> T:
        """A plain memory read, in the caller's own thread: what handles show is exchanged as a whole."""
        if self.is_strict:
            return self.portal.call(function)
        self.portal.require_alive()
        return function()


class Resident(Face[A]):
    """Base of the faces of what belongs to a provider.

    Args:
        target: the asynchronous object.
        home: where it lives.
    """

    def __init__(self, target: A, home: Home) -> None:
        super().__init__(target, home.portal)
        self._home = home


async def within(timeout_s: float | None, function: Callable[..., Awaitable[T]], *args: Any) -> T:
    """Wait for something so long.

    Raises:
        TimeoutError: it takes longer; it was not undone by that.
    """
    with anyio.move_on_after(timeout_s) as scope:
        return await function(*args)
    assert scope.cancelled_caught
    raise TimeoutError(f"Not within {timeout_s} s; nothing that was dispatched is taken back by that")
