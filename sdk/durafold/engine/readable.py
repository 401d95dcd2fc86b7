"""`Reading`: what everything that has a value offers to those who read it.

A shared value, a reducer's state, a derived value, the people in a room, the state of a connection: for its
readers each is the same thing. What stands behind it differs (an engine, a node that computes) and is seen
here only as `Source`.
"""

from __future__ import annotations

import inspect
from collections.abc import AsyncIterator, Callable
from typing import Generic, Protocol, Self, TypeVar

from durafold.client import Offset
from durafold.engine.listeners import Listeners
from durafold.engine.options import Status
from durafold.errors import ConfigurationError

__all__ = ["Changes", "Reading", "Source", "nothing"]

T = TypeVar("T")
T_co = TypeVar("T_co", covariant=True)


class Source(Protocol[T_co]):
    """What stands behind a value."""

    @property
    def view(self) -> T_co:
        """The value; raises what keeps it from being known."""
        ...

    @property
    def version(self) -> int:
        """Grows whenever the value changes."""
        ...

    @property
    def status(self) -> Status:
        """How it is doing."""
        ...

    @property
    def offset(self) -> Offset | None:
        """How far its stream was read; None if it is not made of exactly one."""
        ...

    @property
    def error(self) -> Exception | None:
        """Why it has failed, if it has."""
        ...

    @property
    def has_ended(self) -> bool:
        """Whether nothing will change any more."""
        ...

    @property
    def listeners(self) -> Listeners:
        """Who is told of changes."""
        ...

    async def ready(self) -> None:
        """Wait until it has its present value."""


class Reading(Generic[T]):
    """A value that changes, for its readers. Reads are plain memory reads and never wait.

    Values are handed out as they are, not copied: treat them as immutable. `Provider(strict=True)` finds
    those who do not.

    Whatever hands it out counts its users: `close` gives it up, and with the last user of a value its
    connection, task or computation ends. It belongs to the event loop of its provider and must be used from
    that loop's thread.
    """

    def __init__(self, key: str, source: Source[T], release: Callable[[], None]) -> None:
        self._key = key
        self._source = source
        self._release = release
        self._subscriptions: dict[object, Callable[[], None]] = {}

    def __repr__(self) -> str:
        return f"<{type(self).__name__} {self.key!r} {self.status}>"

    @property
    def key(self) -> str:
        """What it is called: for streams, the name below the provider's URL."""
        return self._key

    @property
    def value(self) -> T:
        """The present value; the same object until it changes.

        Raises:
            ConfigurationError: in strict mode, when somebody changed it in place.
            Exception: of a derived value: whatever computing it raised.
        """
        return self._source.view

    @property
    def version(self) -> int:
        """Grows whenever `value` changes."""
        return self._source.version

    @property
    def offset(self) -> Offset | None:
        """How far its stream was read; None for a value that is made of no stream, or of several."""
        return self._source.offset

    @property
    def status(self) -> Status:
        """How it is doing; of a value made of several streams, the worst of them."""
        return self._source.status

    @property
    def error(self) -> Exception | None:
        """Why it has failed, if it has."""
        return self._source.error

    async def ready(self) -> Self:
        """Wait until the present value is known; until then `value` is the initial or cached one.

        Raises:
            DurafoldError: the server refuses to serve the stream (`Unauthorized`, `StreamNotFound` with
                `create=False` ...). While there is no connection, it waits.
            ProviderClosed: the provider was closed before.
        """
        await self._source.ready()
        return self

    def subscribe(self, callback: Callable[[], None], *, progress: bool = False) -> Callable[[], None]:
        """Call `callback` after every change of `value`.

        It is called without arguments, after the whole change, and never while it runs: a change that a
        callback makes is announced afterwards. What it raises goes to the provider's `on_error`.

        Args:
            callback: a plain function.
            progress: call it also when only `status`, `pending`, `confirmed` or `faults` changed.

        Returns:
            A function that unsubscribes; it may be called more than once.

        Raises:
            ConfigurationError: the callback is asynchronous.
        """
        if inspect.iscoroutinefunction(callback):
            raise ConfigurationError(
                "A callback must be a plain function", hint="Use `async for value in handle.changes()`"
            )
        token = object()
        remove = self._source.listeners.add(callback, progress=progress)

        def unsubscribe() -> None:
            self._subscriptions.pop(token, None)
            remove()

        self._subscriptions[token] = unsubscribe
        return unsubscribe

    def changes(self) -> AsyncIterator[T]:
        """The present value, and then each later one; ends when nothing can change any more.

        Who is slow gets the latest value only, and misses those between. Leaving the loop needs no cleaning
        up. `async for value in handle` is the same.
        """
        return Changes(self._source)

    def __aiter__(self) -> AsyncIterator[T]:
        return self.changes()

    def close(self) -> None:
        """Give it up: its subscriptions end, and with the last user of it what stands behind it.

        What was dispatched is still sent. Closing the provider closes everything, so this is only for values
        that are needed for a while. It may be called more than once.
        """
        for unsubscribe in tuple(self._subscriptions.values()):
            unsubscribe()
        release, self._release = self._release, nothing
        release()


class Changes(AsyncIterator[T]):
    """See `Reading.changes`."""

    def __init__(self, source: Source[T]) -> None:
        self._source = source
        self._version = -1

    def __aiter__(self) -> Self:
        return self

    async def __anext__(self) -> T:
        while self._version == self._source.version:
            if self._source.has_ended:
                raise StopAsyncIteration
            await self._source.listeners.changed()
        self._version = self._source.version
        return self._source.view


def nothing() -> None:
    """There is nothing left to release."""
