"""Callbacks that are told of changes: after the change, one at a time, and none can harm another."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from dataclasses import dataclass

import anyio

from durafold.engine.batching import MAX_ROUNDS, held

__all__ = ["Listeners"]


class EndlessNotices(RuntimeError):
    """Listeners kept changing the value in answer to their own changes."""


@dataclass(eq=False, slots=True)
class _Listener:
    """One subscription. `progress`: also told of changes that leave the value as it is."""

    callback: Callable[[], None]
    progress: bool


class Listeners:
    """Subscriptions to one stream.

    A callback may subscribe, unsubscribe and dispatch. A change made by a callback is announced in another
    round after the present one, never inside it, so no callback is entered twice. What a callback raises goes
    to `on_error`, and the others are told all the same.

    Args:
        on_error: is given what a callback raises; it must not raise itself.
        parts: gives the listeners of the values that this one is made of.

    Attributes:
        parts: as given.
    """

    def __init__(
        self,
        on_error: Callable[[Exception], None],
        parts: Callable[[], Iterable[Listeners]] = tuple,
    ) -> None:
        self.parts = parts
        self._on_error = on_error
        self._listeners: dict[_Listener, None] = {}
        self._due: bool | None = None
        self._notifying = False
        self._changed: anyio.Event | None = None

    def __len__(self) -> int:
        return len(self._listeners)

    @property
    def is_watched(self) -> bool:
        """Whether anybody would learn of a change."""
        return bool(self._listeners) or self._changed is not None

    def add(self, callback: Callable[[], None], *, progress: bool) -> Callable[[], None]:
        """Subscribe; the returned function unsubscribes and may be called more than once."""
        listener = _Listener(callback, progress)
        self._listeners[listener] = None

        def unsubscribe() -> None:
            self._listeners.pop(listener, None)

        return unsubscribe

    async def changed(self) -> None:
        """Wait for the next change of any kind."""
        changed = self._changed = self._changed or anyio.Event()
        await changed.wait()

    def notify(self, *, value: bool) -> None:
        """Tell of a change, behind the `batch` that holds it back if there is one.

        Args:
            value: it is the value itself that has changed, not only its progress.
        """
        if not held(self, value=value):
            self.tell(value=value)

    def tell(self, *, value: bool) -> None:
        """Tell of a change now."""
        self.wake()
        self._due = value or bool(self._due)
        if self._notifying:
            return
        self._notifying = True
        try:
            self._rounds()
        finally:
            self._notifying, self._due = False, None

    def wake(self) -> None:
        """Let those go on who wait in `changed`."""
        if self._changed is not None:
            self._changed.set()
            self._changed = None

    def _rounds(self) -> None:
        for _ in range(MAX_ROUNDS):
            if self._due is None:
                return
            value, self._due = self._due, None
            self._round(value=value)
        self.give_up()

    def give_up(self) -> None:
        """Report that listeners keep changing the value."""
        self._on_error(
            EndlessNotices(f"Listeners changed the value {MAX_ROUNDS} times in answer to their own changes")
        )

    def _round(self, *, value: bool) -> None:
        for listener in tuple(self._listeners):
            if listener in self._listeners and (value or listener.progress):
                try:
                    listener.callback()
                except Exception as error:  # noqa: BLE001 - one bad callback must not stop the others
                    self._on_error(error)
