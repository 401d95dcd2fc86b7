"""`Dispatch`: what a caller holds of an action that is on its way."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Generator
from typing import Any, Generic, Literal, TypeVar, cast

import anyio
import anyio.lowlevel

__all__ = ["Dispatch", "Stage"]

S = TypeVar("S")

Stage = Literal["shown", "sent", "confirmed", "failed"]
"""How far an action is: `shown` in the view, `sent` and durable on the server, `confirmed` by its echo in the
stream, or `failed`."""


class Dispatch(Generic[S]):
    """An action that was dispatched; its effect is in the view already.

    Awaiting it waits until the action came back in the stream and was folded, and gives the confirmed state
    right after it. It may be awaited often, by several tasks, or not at all; cancelling who waits does not
    take the action back. A failure that nobody awaits goes to the provider's `on_error`.

        ticket = await counter.increment()     # the number that nobody else got
        await counter.increment().sent         # durable on the server is enough

    Awaiting raises:
        ActionRejected: the reducer refused it, or could not handle it: at its place in the log, or before, if
            the server lets it judge actions (`__cause__` is an `Unprocessable` then).
        ConflictError: a functional update lost every round it was given.
        InvalidAction: the function of a functional update returned something without JSON form.
        ServerRefused: the server did not take it: `Unauthorized`, `Forbidden`, `PayloadTooLarge`,
            `StreamClosed` ...
        ActionLost: the stream was deleted, and the provider closed before the action could be sent again.
        ProviderClosed: the provider was closed first.
        Exception: whatever the function of a functional update raised.
    """

    __slots__ = ("__weakref__", "_advanced", "_error", "_report", "_retrieved", "_stage", "_state")

    def __init__(self, report: Callable[[Exception], None]) -> None:
        self._report = report
        self._stage: Stage = "shown"
        self._advanced: anyio.Event | None = None  # made by the first that waits: most are never waited for
        self._state: S | None = None
        self._error: Exception | None = None
        self._retrieved = False

    def __repr__(self) -> str:
        return f"<Dispatch {self._stage}>"

    def __await__(self) -> Generator[Any, Any, S]:
        return self._confirmation().__await__()

    @property
    def stage(self) -> Stage:
        """How far it is."""
        return self._stage

    @property
    def error(self) -> Exception | None:
        """Why it failed, if it did."""
        return self._error

    @property
    def sent(self) -> Awaitable[None]:
        """Waits until the server has it durably; raises what awaiting the dispatch itself raises."""
        return _Sent(self._durability)

    async def _confirmation(self) -> S:
        self._retrieved = True
        await self._leaves("shown", "sent")
        if self._error is not None:
            raise self._error
        return cast("S", self._state)

    async def _durability(self) -> None:
        self._retrieved = True
        await self._leaves("shown")
        if self._error is not None:
            raise self._error

    async def _leaves(self, *stages: Stage) -> None:
        """Wait until it is at none of these stages."""
        await anyio.lowlevel.checkpoint()
        while self._stage in stages:
            self._advanced = self._advanced or anyio.Event()
            await self._advanced.wait()

    def _advance(self, stage: Stage) -> None:
        self._stage = stage
        if self._advanced is not None:
            self._advanced.set()
            self._advanced = None

    def __del__(self) -> None:
        if self._error is not None and not self._retrieved:
            self._report(self._error)


class _Sent:
    """An awaitable that can be awaited again."""

    __slots__ = ("_wait",)

    def __init__(self, wait: Callable[[], Awaitable[None]]) -> None:
        self._wait = wait

    def __await__(self) -> Generator[Any, Any, None]:
        return self._wait().__await__()


def mark_sent(dispatch: Dispatch[Any]) -> None:
    """The server has it durably."""
    if dispatch._stage == "shown":
        dispatch._advance("sent")


def resolve(dispatch: Dispatch[S], state: S) -> None:
    """It was folded, and this is the state right after it."""
    dispatch._state = state
    dispatch._advance("confirmed")


def fail(dispatch: Dispatch[Any], error: Exception) -> None:
    """It will never be confirmed."""
    dispatch._error = error
    dispatch._advance("failed")


async def until_sent(dispatch: Dispatch[Any]) -> None:
    """Wait until the server has it durably or it has failed, without raising and without having seen why."""
    await dispatch._leaves("shown")
