"""`ServerState` and `ServerReducer`: what users hold of a stream."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from contextlib import AbstractContextManager
from typing import Any, Generic, Self, TypeAlias, TypeVar

from pydantic_core import to_jsonable_python

from durafold.client import Offset
from durafold.engine.core import Engine
from durafold.engine.definition import Declaration
from durafold.engine.dispatch import Dispatch
from durafold.engine.readable import Reading
from durafold.errors import ConfigurationError
from durafold.state.history import History
from durafold.state.replica import Fault
from durafold.state.snapshot import Snapshot, take_snapshot
from durafold.wire.offsets import NOW, is_valid_token

__all__ = ["Handle", "Path", "ServerReducer", "ServerState"]

S = TypeVar("S")
A = TypeVar("A")

Path: TypeAlias = str | int | Sequence[str | int]
"""Where in a value an operation works: an object key, a list index, or several from the outside in."""


class Handle(Reading[S]):
    """What the handles of streams have in common: reading, and how far own actions are."""

    def __init__(self, engine: Engine[S], release: Callable[[], None]) -> None:
        super().__init__(engine.definition.key, engine, release)
        self._engine = engine

    @property
    def confirmed(self) -> S:
        """The state that everybody has at this `offset`, without pending actions."""
        return self._engine.confirmed.state

    @property
    def offset(self) -> Offset:
        """How far the stream was read."""
        return self._engine.offset

    @property
    def pending(self) -> int:
        """Number of own actions that have not come back from the stream."""
        return self._engine.pending_count

    @property
    def faults(self) -> tuple[Fault, ...]:
        """The first 100 messages that could not be folded, and were skipped."""
        return self._engine.confirmed.faults

    @property
    def partial(self) -> bool:
        """Whether some messages were of a type that only a newer version of the program knows."""
        return self._engine.confirmed.partial

    @property
    def client_id(self) -> str:
        """What the ids of own actions begin with."""
        return self._engine.client_id

    @property
    def declaration(self) -> Declaration[S]:
        """What was said of the key."""
        return self._engine.definition.declaration

    async def wait_for(self, offset: Offset) -> Self:
        """Wait until `value` contains all that the stream has before an offset.

        So one process reads what another has written: the writer hands its `offset` over (in a URL, a job, a
        cookie) after its dispatch was confirmed, and the reader waits for it.

        Args:
            offset: of this stream, such as the `offset` of another handle of its key.

        Raises:
            ConfigurationError: it cannot be an offset of any stream.
            DurafoldError: the server refuses to serve the stream. While there is no connection, it waits.
            ProviderClosed: the provider was closed before.

        Examples:
            >>> async with Provider(url) as other:
            ...     written = other.server_state(0, "handed-over")
            ...     await written.set(7)
            ...     read = await party.server_state(0, "handed-over").wait_for(written.offset)
            ...     read.value
            7
            7
        """
        if offset == NOW:  # it sorts behind all offsets, so that none would ever reach it
            raise _no_offset(offset)
        _require_token(offset)
        await self._engine.reached(offset)
        return self

    def require_same(self, declaration: Declaration[Any]) -> None:
        """Check that a declaration says of the key what this handle was made with.

        Raises:
            ConfigurationError: it does not.
        """
        self._engine.definition.declaration.require_same(declaration)

    def snapshot(self) -> Snapshot[S] | None:
        """The confirmed state with its place in the stream, for `HydrationPayload`.

        None if some messages could not be folded: then every reader should start from the beginning.
        """
        return take_snapshot(self._engine.confirmed, self._engine.definition.fingerprint)

    # ---- undo ----

    @property
    def can_undo(self) -> bool:
        """Whether an own action of this process can be undone."""
        return self._engine.own.undo.current.can_undo

    @property
    def can_redo(self) -> bool:
        """Whether something undone can be done again."""
        return self._engine.own.undo.current.can_redo

    def undo(self) -> Dispatch[S] | None:
        """Take the last own action (or group of them) back, by a new action.

        What others did meanwhile stays: of a shared value, numbers are added back, and other changes restore
        the part that they changed; for a reducer, `@reducer(inverse=...)` says what undoes an action. Actions
        of this client that were refused are not undone; if something that should undo one is refused, that is
        what the next call dispatches. At most 100 steps are remembered, by this process.

        Returns:
            The last action that was dispatched for it; None if there is nothing to undo.

        Raises:
            ConfigurationError: the reducer does not say how, or a group is open.
            ActionRejected: middleware rejected it; it can be tried again.
            StreamClosed: the stream takes no more actions.
            ProviderClosed: the provider was closed.

        Examples:
            >>> title = party.server_state("draft", "title")
            >>> await title.set("final")
            'final'
            >>> await title.undo()
            'draft'
            >>> title.can_undo, title.can_redo
            (False, True)
            >>> await title.redo()
            'final'
        """
        return self._engine.own.undo.current.undo()

    def redo(self) -> Dispatch[S] | None:
        """Do again what was undone last, unless something else was dispatched since; as for `undo`."""
        return self._engine.own.undo.current.redo()

    def undo_group(self) -> AbstractContextManager[None]:
        """What is dispatched inside `with handle.undo_group():` is undone in one step.

        It holds for the task that enters it, and for those started from it, not for others beside them; and
        for the user that is acted for where it is entered.

        Examples:
            >>> score = party.server_state(0, "score")
            >>> with score.undo_group():
            ...     first, second = score.increment(1), score.increment(2)
            >>> await second
            3
            >>> await score.undo()
            0
        """
        return self._engine.own.undo.group()

    def acting_for(self, user: str) -> AbstractContextManager[None]:
        """One process may act for many users, as a web app does: each undoes what they did themselves.

            with handle.acting_for(session_id):
                handle.undo()

        What is dispatched in the block is remembered as that user's, and `can_undo`, `undo` and the others
        are about theirs. It holds for the task that enters it, and for those started from it. Users are
        forgotten when 1,000 others were active since.

        Args:
            user: any name that tells them apart.
        """
        return self._engine.own.undo.of(user)

    # ---- the past ----

    async def history(self) -> History[S]:
        """All messages of the stream, with the states before and after each; nothing pending is in it.

        It is read anew by each call, and kept by the caller: stepping through it costs next to nothing.

        Raises:
            StreamGone: the server no longer keeps the beginning.
            DurafoldError: it does not answer, or refuses.

        Examples:
            >>> price = party.server_state(10, "price")
            >>> await price.set(12)
            12
            >>> await price.increment(3)
            15
            >>> [(entry.before, entry.action, entry.after) for entry in await price.history()]
            [(10, 12, 12), (12, ['increment', 3], 15)]
        """
        return await self._engine.history()

    async def at(self, offset: Offset) -> S:
        """The state that the stream had at an offset, such as that of a handle or dispatch earlier.

        Raises:
            ConfigurationError: it cannot be an offset of any stream.
            StreamGone: the server no longer keeps the beginning.
            BadRequest: it is no offset of the stream.
            StateError: the stream holds the same message many times over, without ids, and others append
                without a pause.
            DurafoldError: the server does not answer, or refuses.

        Examples:
            >>> stock = party.server_state(1, "stock")
            >>> await stock.set(2)
            2
            >>> then = stock.offset
            >>> await stock.set(3)
            3
            >>> await stock.at(then)
            2
        """
        _require_token(offset)
        return await self._engine.at(offset)


class ServerState(Handle[S]):
    """A shared value, like `useState`, but the same for every client.

    Every method that changes it shows the change at once, returns a `Dispatch` to await or to leave, and
    raises:

    - `InvalidAction`: the value or argument has no JSON form, or does not match the value's type.
    - `ActionRejected`: middleware rejected it; nothing was shown or sent.
    - `StreamClosed`: the stream takes no more changes.
    - `ProviderClosed`: the provider was closed.

    Operations (`increment` to `max`) are folded where they arrive in the stream and so never conflict. One
    that does not fit the value there, such as `append` to a number, is an `ActionRejected` for its sender.
    All but `put` take `path=`: where in the value to work.

    Examples:
        >>> votes = party.server_state({"yes": 0, "no": 0}, "poll/votes")
        >>> await votes.increment(path="yes")
        {'yes': 1, 'no': 0}
    """

    def set(self, value: S | Callable[[S], S]) -> Dispatch[S]:
        """Replace the value, or compute the new one from the old one.

        With a value, the last writer wins. With a function, nothing is lost: it is run on the confirmed value
        and counts only if nobody else wrote in between; otherwise it is run again. So it may be called often,
        and must do nothing but compute. Later changes of this client wait until it is through.

        Args:
            value: the new value, or a function from the present one to the new one.
        """
        return self._engine.own.dispatch("set", value)

    def increment(self, n: float = 1, *, path: Path = ()) -> Dispatch[S]:
        """Add a number."""
        return self._op("increment", [n], path)

    def append(self, item: Any, *, path: Path = ()) -> Dispatch[S]:
        """Add an item at the end of a list."""
        return self._op("append", [item], path)

    def extend(self, items: Iterable[Any], *, path: Path = ()) -> Dispatch[S]:
        """Add items at the end of a list."""
        return self._op("extend", [list(items)], path)

    def remove(self, item: Any, *, path: Path = ()) -> Dispatch[S]:
        """Remove the first equal item of a list, or a key of an object; nothing happens if there is none."""
        return self._op("remove", [item], path)

    def merge(self, members: Mapping[str, Any], *, path: Path = ()) -> Dispatch[S]:
        """Set keys of an object, one level deep, and leave the others."""
        return self._op("merge", [dict(members)], path)

    def put(self, path: Path, value: Any) -> Dispatch[S]:
        """Replace what is at a path; objects that are missing on the way are made."""
        return self._op("put", [_steps(path), value], ())

    def toggle(self, *, path: Path = ()) -> Dispatch[S]:
        """Turn true into false, and false into true."""
        return self._op("toggle", [], path)

    def min(self, n: float, *, path: Path = ()) -> Dispatch[S]:
        """Keep the smaller of the value and this number."""
        return self._op("min", [n], path)

    def max(self, n: float, *, path: Path = ()) -> Dispatch[S]:
        """Keep the larger of the value and this number."""
        return self._op("max", [n], path)

    def _op(self, name: str, arguments: list[Any], path: Path) -> Dispatch[S]:
        operation = [name, *map(self._plain, arguments), *([_steps(path)] if path != () else [])]
        return self._engine.own.dispatch("op", operation)

    def _plain(self, argument: Any) -> Any:
        # Of a modelled value, parts may be models too.
        is_modelled = self._engine.definition.states.adapter is not None
        return to_jsonable_python(argument, by_alias=True) if is_modelled else argument


class ServerReducer(Handle[S], Generic[S, A]):
    """Shared state that is changed by actions only, like `useReducer`, but the same for every client.

    Examples:
        >>> def total(state: int, action: int) -> int:
        ...     return state + action
        >>> sums = party.server_reducer(total, 0, "sums")
        >>> adding = sums.dispatch(5)
        >>> sums.value, sums.confirmed  # shown at once
        (5, 0)
        >>> await adding
        5
        >>> sums.value, sums.confirmed
        (5, 5)
    """

    def dispatch(self, action: A) -> Dispatch[S]:
        """Show an action at once, and send it.

        Args:
            action: an action of the reducer's type; a dict that matches it will do.

        Returns:
            What to await for its confirmation, or to leave.

        Raises:
            InvalidAction: it does not match its model, or has no JSON form (NaN, for example).
            ActionRejected: middleware rejected it; nothing was shown or sent.
            StreamClosed: the stream takes no more actions.
            ProviderClosed: the provider was closed.
        """
        return self._engine.own.dispatch("action", action)


def _require_token(offset: object) -> None:
    if not is_valid_token(offset):
        raise _no_offset(offset)


def _no_offset(given: object) -> ConfigurationError:
    return ConfigurationError(
        f"{str(given)[:80]!r} is no offset", hint="Pass the `offset` of another handle of this key"
    )


def _steps(path: Path) -> list[str | int]:
    return [path] if isinstance(path, str | int) else list(path)
