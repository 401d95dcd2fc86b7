"""The faces of what users hold of a provider: streams, derived values, rooms.

Streams are read in the caller's thread: a state is exchanged as a whole. Everything else is done by the
asynchronous handle, in the loop's thread, while the caller waits for it: a change is in `value` when the call
that makes it returns.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from contextlib import AbstractContextManager
from typing import Any, Final, Generic, Self, TypeVar, cast

from durafold import computed, engine, presence
from durafold.blocking.callbacks import Subscription
from durafold.blocking.dispatch import Dispatch, dispatches
from durafold.blocking.home import Home, Resident, within
from durafold.blocking.mirror import face_of
from durafold.client import Offset
from durafold.engine import Declaration, Status
from durafold.state.history import History
from durafold.state.replica import Fault
from durafold.state.snapshot import Snapshot

__all__ = [
    "Changes",
    "DerivedValue",
    "Handle",
    "Presence",
    "Reading",
    "ServerReducer",
    "ServerState",
    "face_for",
]

T = TypeVar("T")
S = TypeVar("S")
A = TypeVar("A")
M = TypeVar("M")
X = TypeVar("X")

_END: Final = object()


@face_of(engine.Reading)
class Reading(Resident[engine.Reading[T]], Generic[T]):
    """A value that changes, for its readers. Reading never waits for a server.

    Values are handed out as they are, not copied: treat them as immutable. `Provider(strict=True)` finds
    those who do not.

    Whatever hands it out counts its users: `close` gives it up, and with the last user of a value its
    connection, task or computation ends. Any thread may use it.
    """

    def __init__(self, target: engine.Reading[T], home: Home) -> None:
        super().__init__(target, home)
        self._subscriptions: set[Subscription] = set()

    def __repr__(self) -> str:
        return repr(self._target)

    def _read(self, function: Callable[[], X]) -> X:
        return self._portal.call(function)  # what is derived is computed when it is read

    @property
    def key(self) -> str:
        return self._target.key

    @property
    def value(self) -> T:
        return self._read(lambda: self._target.value)

    @property
    def version(self) -> int:
        return self._read(lambda: self._target.version)

    @property
    def offset(self) -> Offset | None:
        return self._read(lambda: self._target.offset)

    @property
    def status(self) -> Status:
        return self._read(lambda: self._target.status)

    @property
    def error(self) -> Exception | None:
        return self._read(lambda: self._target.error)

    def ready(self, *, timeout_s: float | None = None) -> Self:
        """Wait until the present value is known; until then `value` is the initial or cached one.

        Args:
            timeout_s: seconds to wait at most. None: for ever.

        Raises:
            TimeoutError: it is not known yet.
            DurafoldError: the server refuses to serve the stream (`Unauthorized`, `StreamNotFound` with
                `create=False` ...). While there is no connection, it waits.
            ProviderClosed: the provider was closed before.
        """
        self._portal.run(within, timeout_s, self._target.ready)
        return self

    def subscribe(self, callback: Callable[[], None], *, progress: bool = False) -> Callable[[], None]:
        """Call `callback` after every change of `value`.

        Callbacks of a provider run in one thread of their own, one after the other: never in the event loop,
        and never in the thread that makes a change. So a callback may make any call of this package, waiting
        ones too, and a slow one holds up other callbacks only. One that is told of changes while it runs, or
        waits for its turn, is called once for all of them. What it raises goes to the provider's `on_error`.

        Args:
            callback: a plain function without arguments. It sees the context variables of the caller.
            progress: call it also when only `status`, `pending`, `confirmed` or `faults` changed.

        Returns:
            A function that unsubscribes; any thread may call it, and more than once. A call of `callback`
            that has begun then goes on.

        Raises:
            ConfigurationError: the callback is asynchronous.
        """
        subscription = Subscription(self._home.callbacks, callback, self._home.report)
        remove = self._portal.call(lambda: self._target.subscribe(subscription.tell, progress=progress))
        self._subscriptions.add(subscription)

        def unsubscribe() -> None:
            subscription.end()
            self._subscriptions.discard(subscription)
            self._portal.call(remove)

        return unsubscribe

    def changes(self) -> Changes[T]:
        """The present value, and then each later one; ends when nothing can change any more.

        Who is slow gets the latest value only, and misses those between. Leaving the loop needs no cleaning
        up. `for value in handle` is the same. An iterator belongs to one thread; every thread may have one.
        """
        return Changes(self._target.changes(), self._home)

    def __iter__(self) -> Iterator[T]:
        return self.changes()

    def close(self) -> None:
        for subscription in tuple(self._subscriptions):
            subscription.end()
        self._subscriptions.clear()
        self._portal.call(self._target.close)


class Changes(Iterator[T]):
    """See `Reading.changes`."""

    def __init__(self, target: Any, home: Home) -> None:
        self._target = target
        self._home = home

    def __iter__(self) -> Self:
        return self

    def __next__(self) -> T:
        return self.wait()

    def wait(self, timeout_s: float | None = None) -> T:
        """The next value, as `next` gives it, for those who cannot wait for ever.

        Args:
            timeout_s: seconds to wait at most. None: for ever.

        Raises:
            TimeoutError: it has not changed yet; nothing is missed by that.
            StopIteration: it cannot change any more.
        """
        value = self._home.portal.run(within, timeout_s, anext, self._target, _END)
        if value is _END:
            raise StopIteration
        return cast("T", value)


@face_of(engine.Handle)
class Handle(Reading[S]):
    """What the handles of streams have in common: reading, and how far own actions are."""

    def _read(self, function: Callable[[], X]) -> X:
        return self._home.read(function)

    @property
    def _handle(self) -> engine.Handle[S]:
        return cast("engine.Handle[S]", self._target)

    @property
    def confirmed(self) -> S:
        return self._read(lambda: self._handle.confirmed)

    @property
    def offset(self) -> Offset:
        return self._read(lambda: self._handle.offset)

    @property
    def pending(self) -> int:
        return self._read(lambda: self._handle.pending)

    @property
    def faults(self) -> tuple[Fault, ...]:
        return self._read(lambda: self._handle.faults)

    @property
    def partial(self) -> bool:
        return self._read(lambda: self._handle.partial)

    @property
    def client_id(self) -> str:
        return self._read(lambda: self._handle.client_id)

    @property
    def declaration(self) -> Declaration[S]:
        return self._handle.declaration

    def wait_for(self, offset: Offset, *, timeout_s: float | None = None) -> Self:
        """Wait until `value` contains all that the stream has before an offset.

        So one process reads what another has written: the writer hands its `offset` over (in a URL, a job, a
        cookie) after its dispatch was confirmed, and the reader waits for it.

        Args:
            offset: of this stream, such as the `offset` of another handle of its key.
            timeout_s: seconds to wait at most. None: for ever.

        Raises:
            TimeoutError: it was not read so far yet.
            ConfigurationError: it is no offset.
            DurafoldError: the server refuses to serve the stream. While there is no connection, it waits.
            ProviderClosed: the provider was closed before.
        """
        self._portal.run(within, timeout_s, self._handle.wait_for, offset)
        return self

    def require_same(self, declaration: Declaration[Any]) -> None:
        self._handle.require_same(declaration)

    def snapshot(self) -> Snapshot[S] | None:
        return self._read(self._handle.snapshot)

    # ---- undo ----

    @property
    def can_undo(self) -> bool:
        return self._portal.call(lambda: self._handle.can_undo)

    @property
    def can_redo(self) -> bool:
        return self._portal.call(lambda: self._handle.can_redo)

    def undo(self) -> Dispatch[S] | None:
        return self._dispatched(self._handle.undo)

    def redo(self) -> Dispatch[S] | None:
        return self._dispatched(self._handle.redo)

    def _dispatched(self, function: Callable[[], engine.Dispatch[S] | None]) -> Dispatch[S] | None:
        dispatch = self._portal.call(function)
        return None if dispatch is None else Dispatch(dispatch, self._portal)

    def undo_group(self) -> AbstractContextManager[None]:
        return self._handle.undo_group()

    def acting_for(self, user: str) -> AbstractContextManager[None]:
        return self._handle.acting_for(user)

    # ---- the past ----

    def history(self) -> History[S]:
        return self._portal.run(self._handle.history)

    def at(self, offset: Offset) -> S:
        return self._portal.run(self._handle.at, offset)


@face_of(engine.ServerState)
class ServerState(Handle[S]):
    def set(self, value: S | Callable[[S], S]) -> Dispatch[S]:
        state = cast("engine.ServerState[S]", self._target)
        return Dispatch(self._portal.call(lambda: state.set(value)), self._portal)

    increment = dispatches(engine.ServerState.increment)
    append = dispatches(engine.ServerState.append)
    extend = dispatches(engine.ServerState.extend)
    remove = dispatches(engine.ServerState.remove)
    merge = dispatches(engine.ServerState.merge)
    put = dispatches(engine.ServerState.put)
    toggle = dispatches(engine.ServerState.toggle)
    min = dispatches(engine.ServerState.min)
    max = dispatches(engine.ServerState.max)


@face_of(engine.ServerReducer)
class ServerReducer(Handle[S], Generic[S, A]):
    def dispatch(self, action: A) -> Dispatch[S]:
        reducer = cast("engine.ServerReducer[S, A]", self._target)
        return Dispatch(self._portal.call(lambda: reducer.dispatch(action)), self._portal)


@face_of(computed.DerivedValue)
class DerivedValue(Reading[T]):
    @property
    def is_stale(self) -> bool:
        return self._read(lambda: cast("computed.DerivedValue[T]", self._target).is_stale)


@face_of(presence.Presence)
class Presence(Reading[Mapping[str, M]], Generic[M]):
    @property
    def _room(self) -> presence.Presence[M]:
        return cast("presence.Presence[M]", self._target)

    @property
    def others(self) -> Mapping[str, M]:
        return self._read(lambda: self._room.others)

    @property
    def me(self) -> M | None:
        return self._read(lambda: self._room.me)

    def set(self, value: M) -> None:
        self._portal.call(lambda: self._room.set(value))


_FACES: Final[tuple[tuple[type[engine.Reading[Any]], type[Reading[Any]]], ...]] = (
    (engine.ServerState, ServerState),
    (engine.ServerReducer, ServerReducer),
    (computed.DerivedValue, DerivedValue),
    (presence.Presence, Presence),
    (engine.Reading, Reading),
)


def face_for(target: engine.Reading[Any], home: Home) -> Any:
    """The face of whatever a provider hands out."""
    face = next(face for original, face in _FACES if isinstance(target, original))
    return face(target, home)
