"""The face of `durafold.Dispatch`, and how a method that returns one is made blocking."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, Concatenate, Generic, ParamSpec, TypeVar, overload

from durafold import engine
from durafold.blocking.home import Resident, within
from durafold.blocking.mirror import Face, Mirrored, makes
from durafold.engine.dispatch import Stage

__all__ = ["Dispatch", "Dispatches", "Sent", "dispatches"]

P = ParamSpec("P")
S = TypeVar("S")


class Dispatch(Face[engine.Dispatch[S]], Generic[S]):
    """An action that was dispatched; its effect is in the view already.

    `wait` waits until the action came back in the stream and was folded. It may be called often, by several
    threads, or not at all. A failure that nobody waits for goes to the provider's `on_error`.

        ticket = counter.increment().wait()      # the number that nobody else got
        counter.increment().sent.wait()          # durable on the server is enough
    """

    @property
    def stage(self) -> Stage:
        """How far it is."""
        return self._target.stage

    @property
    def error(self) -> Exception | None:
        """Why it failed, if it did."""
        return self._target.error

    def wait(self, timeout_s: float | None = None) -> S:
        """Wait until it is confirmed, and return the confirmed state right after it.

        Args:
            timeout_s: seconds to wait at most. None: for ever.

        Raises:
            TimeoutError: it is not confirmed yet. It is still on its way: waiting less takes nothing back.
            ActionRejected: the reducer refused it, or could not handle it, at its place in the log.
            ConflictError: a functional update lost every round it was given.
            InvalidAction: the function of a functional update returned something without JSON form.
            ServerRefused: the server did not take it: `Unauthorized`, `Forbidden`, `PayloadTooLarge`,
                `Unprocessable`, `StreamClosed` ...
            ActionLost: the stream was deleted, and the provider closed before it could be sent again.
            ProviderClosed: the provider was closed first.
            ConfigurationError: called where waiting would stop an event loop, such as in a reducer.
            Exception: whatever the function of a functional update raised.
        """
        state: S = self._portal.run(within, timeout_s, _confirmed, self._target)
        return state

    @property
    def sent(self) -> Sent:
        """`sent.wait()` waits until the server has it durably."""
        return Sent(self._target, self._portal)


class Sent(Face[engine.Dispatch[Any]]):
    """See `Dispatch.sent`."""

    def wait(self, timeout_s: float | None = None) -> None:
        """Wait until the server has the action durably; its echo may come later.

        Args:
            timeout_s: seconds to wait at most. None: for ever.

        Raises:
            TimeoutError: the server has not said so yet.
            Exception: as for `Dispatch.wait`.
        """
        self._portal.run(within, timeout_s, _durable, self._target)


async def _confirmed(dispatch: engine.Dispatch[S]) -> S:
    return await dispatch


async def _durable(dispatch: engine.Dispatch[Any]) -> None:
    await dispatch.sent


class Dispatches(Generic[P]):
    """A method of a handle that dispatches; the state's type is that of the handle."""

    def __init__(self, method: Callable[Concatenate[Any, P], Any]) -> None:
        self._mirrored: Mirrored[P, Any] = makes(method, Dispatch[Any].of)

    @overload
    def __get__(self, face: None, owner: type) -> Callable[Concatenate[Any, P], Dispatch[Any]]: ...
    @overload
    def __get__(self, face: Resident[engine.Reading[S]], owner: type) -> Callable[P, Dispatch[S]]: ...
    def __get__(self, face: Any, owner: type) -> Any:
        return self._mirrored.__get__(face, owner)


def dispatches(method: Callable[Concatenate[Any, P], engine.Dispatch[Any]]) -> Dispatches[P]:
    """A method that dispatches in the loop's thread and gives the face of the dispatch."""
    return Dispatches(method)
