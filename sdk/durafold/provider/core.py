"""`Provider`: the streams of one server, shared by everything in a process."""

from __future__ import annotations

import itertools
import time
from collections import deque
from collections.abc import Callable, Sequence
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import Any, TypeVar, get_args
from weakref import WeakKeyDictionary

from durafold.cache import StateCache, scope_of
from durafold.client import ClientSettings, DurableStream, Headers, LiveChoice, Offset, Params, Transport
from durafold.client.dynamic import check_fixed_headers
from durafold.client.read_state import check_live
from durafold.client.settings import DEFAULT_SETTINGS
from durafold.engine import (
    Declaration,
    EngineOptions,
    Handle,
    Middleware,
    Notice,
    OnFault,
    Reading,
    ServerReducer,
    ServerState,
    base_url,
    checked,
    stream_url,
)
from durafold.errors import ConfigurationError
from durafold.outbox import Outbox
from durafold.presence import Presence, Seat
from durafold.provider.belongings import Openable
from durafold.provider.connection import Connection, ConnectionReading
from durafold.provider.defaults import log_error, log_notice, unique_id
from durafold.provider.engines import Engines
from durafold.provider.life import Lifetime
from durafold.provider.rooms import Rooms
from durafold.provider.shared import SharedEngine
from durafold.snapshots import SnapshotPolicy
from durafold.state.reducer import Reducer, set_state_reducer
from durafold.wire.names import JSON_CONTENT_TYPE

__all__ = ["Provider"]

S = TypeVar("S")
T = TypeVar("T")
A = TypeVar("A")
M = TypeVar("M")

H = TypeVar("H")
AnyHandle = TypeVar("AnyHandle", bound=Handle[Any])


class Provider(Lifetime):
    """The streams of one server, shared by everything in a process:

        async with Provider("http://127.0.0.1:4437/v1/stream") as party:
            counter = party.server_state(0, "my-counter")
            await counter.increment()
            print(counter.value)

    There is one connection per key, however many handles of it there are. The server need not run when the
    provider is opened: values are the initial (or cached, or hydrated) ones, what is dispatched waits, and
    all goes on by itself when the server answers.

    A provider belongs to one event loop, and is opened and left in one task, because a task group is inside.
    Where one task lives as long as the application (the lifespan function of an ASGI app, `main`), use
    `async with`. Where start and stop are called from tasks of their own, start `run` as a task and stop it
    with `aclose`, which any task may call.

    Args:
        url: where the server's streams are. A bare `http://host:port` means `/v1/stream` there.
        client_id: a name for this client, to recognise its actions in the stream: printable ASCII without
            `:`. A random part is added, because ids must never be used twice, not even by the next start of
            the same program.
        headers: more request headers, or functions that make them; see `durafold.client.Headers`.
        params: more query parameters, likewise.
        transport: connections to share with others. Default: its own.
        settings: timeouts and limits of the client.
        cache: where confirmed states are kept, to start from when a key is opened again.
        cache_scope: whose states these are; needed if `headers` or `params` contain functions.
        snapshots: write a snapshot beside every stream from time to time, and let new clients start from
            it: see `durafold.snapshots`.
        outbox: a file where actions are kept until they have come back: what a process that was killed had
            dispatched is sent, once, by the next one that opens the key. Every process needs a file of its
            own. Functions given to `set` are kept once they were computed.
        live: how to wait for new data.
        create: create streams that do not exist.
        by: who dispatches, put into every action for others to see.
        strict: find reducers that are not pure, and values that were changed in place; for tests.
        on_fault: what to do at a message that cannot be folded: "skip" it, record it in `faults` and go on;
            or "halt" before the page it came in, with the status `failed`, where a wrong state is worse than
            an old one.
        on_error: is given what nobody awaits: failures of dispatches, exceptions of callbacks, faults of
            actions. Default: they are logged.
        on_notice: is given notices such as `StreamReset`. Default: they are logged.
        middleware: functions that every dispatch passes before anything is shown or sent, to log, stamp or
            reject it; see `durafold.Middleware`.
        close_timeout_s: seconds that leaving waits for the server to take what was dispatched.
        clock: seconds since 1970, for the time in actions.

    Raises:
        ConfigurationError: an argument cannot work.

    Attributes:
        url: where the streams are.
        client_id: what the ids of all actions of this provider begin with.
        hook_handles: the handles that hooks share, by key or declaration.
        hook_members: which of them are members of atom families, the one used last at the end.
        hook_readings: the derived values that hooks use, as long as their declarations exist.
        hook_orphans: those whose declarations are gone, to be closed by the next hook.
        nodes: the computations behind derived values, as long as somebody uses them.

    Examples:
        >>> async with Provider(url) as own:
        ...     counter = own.server_state(0, "visits")
        ...     await counter.increment()
        1
    """

    def __init__(
        self,
        url: str,
        *,
        client_id: str | None = None,
        headers: Headers | None = None,
        params: Params | None = None,
        transport: Transport | None = None,
        settings: ClientSettings = DEFAULT_SETTINGS,
        cache: StateCache | None = None,
        cache_scope: str | None = None,
        snapshots: SnapshotPolicy | None = None,
        outbox: str | Path | None = None,
        live: LiveChoice = "auto",
        create: bool = True,
        by: str | None = None,
        strict: bool = False,
        on_fault: OnFault = "skip",
        on_error: Callable[[Exception], None] | None = None,
        on_notice: Callable[[Notice], None] | None = None,
        middleware: Sequence[Middleware] = (),
        close_timeout_s: float = 5.0,
        clock: Callable[[], float] = time.time,
    ) -> None:
        self.url = base_url(url)
        check_live(live, get_args(LiveChoice))
        check_fixed_headers(headers)
        self.client_id = unique_id(client_id)
        scope = scope_of(cache_scope, headers, params)
        if cache is not None and scope is None:
            raise ConfigurationError(
                "Whose states would be cached? Headers and parameters made by functions do not tell",
                hint='Name the user with cache_scope=, or pass cache_scope="" if everybody sees the same',
            )
        numbers = itertools.count(1)
        self._options = EngineOptions(
            new_client_id=lambda: f"{self.client_id}.{next(numbers)}",
            create=create,
            live=live,
            strict=strict,
            on_fault=on_fault,
            by=by,
            cache=cache,
            cache_scope=scope,
            on_error=on_error or log_error,
            on_notice=on_notice or log_notice,
            clock=clock,
            middleware=checked(middleware),
        )
        shared_transport = transport or Transport()

        def open_stream(key: str) -> DurableStream:
            return DurableStream(
                stream_url(self.url, key),
                headers=headers,
                params=params,
                transport=shared_transport,
                content_type=JSON_CONTENT_TYPE,
                settings=settings,
            )

        self._open_stream = open_stream
        kept = Outbox(outbox) if outbox is not None else None
        super().__init__(
            Engines(self.url, self._options, open_stream, snapshots, kept, close_timeout_s),
            Rooms(
                self.client_id, self._options.new_client_id, open_stream, live, self.report, close_timeout_s
            ),
            outbox=kept,
            transport=shared_transport if transport is None else None,
            on_error=self._options.on_error,
            close_timeout_s=close_timeout_s,
        )
        self.hook_handles: dict[str, Handle[Any]] = {}
        self.hook_members: dict[str, None] = {}
        self.hook_readings: WeakKeyDictionary[Any, Reading[Any]] = WeakKeyDictionary()
        self.hook_orphans: deque[Any] = deque()
        self.nodes: WeakKeyDictionary[Any, Any] = WeakKeyDictionary()

    # ---- keys ----

    def open(self, declared: Openable[H]) -> H:
        """Bring something declared to life: an `atom`, a `reducer_atom`, a `derived` value, a `select`.

        Args:
            declared: the declaration. Opening it again gives another handle of the same thing.

        Returns:
            `ServerState` for an atom, `ServerReducer` for a reducer atom, a `Reading` for derived values.

        Raises:
            ConfigurationError: the provider is not open, or the declaration cannot work.
            ProviderClosed: the provider was closed.
        """
        return declared.open_on(self)

    def server_state(
        self, default: T, key: str, *, state_type: Any = None, middleware: Sequence[Middleware] = ()
    ) -> ServerState[T]:
        """A shared value, like `useState`, but the same for every client.

        It can be used at once; `await handle.ready()` waits until its present value was read.

        Args:
            default: its value before anybody has set one: plain JSON, a pydantic model, a dataclass ...
            key: the stream's name; `/` separates segments.
            state_type: its type, if it is not that of `default`, such as `list[Todo]` for `[]`.
            middleware: functions that every dispatch on it passes, after the provider's.

        Raises:
            ConfigurationError: the provider is not open, the key cannot be used, or it is in use with another
                default.
            ProviderClosed: the provider was closed.

        Examples:
            >>> counter = party.server_state(0, "my-counter")
            >>> await counter.increment(2)
            2
            >>> await counter.set(lambda n: n * 10)
            20
            >>> counter.value
            20
        """
        own = checked(middleware)
        shared = self._use(
            Declaration(key, set_state_reducer, default, state_type=state_type, middleware=own)
        )
        return ServerState(shared.engine, partial(self._release, shared))

    def server_reducer(
        self,
        reducer: Reducer[S, A],
        initial: S,
        key: str,
        *,
        actions: Any = None,
        state_type: Any = None,
        unwrap: Callable[[Any], Any] | None = None,
        middleware: Sequence[Middleware] = (),
    ) -> ServerReducer[S, A]:
        """Shared state that is changed by actions only, like `useReducer`, but the same for every client.

        It can be used at once; `await handle.ready()` waits until its present state was read.

        Args:
            reducer: a pure function `(state, action) -> state`.
            initial: state before the first action.
            key: the stream's name; `/` separates segments.
            actions: type of the actions: a pydantic discriminated union, a dataclass, a TypedDict. Default:
                what the reducer's second parameter is annotated with; plain JSON without annotation.
            state_type: type of the state, if it is not that of `initial`.
            unwrap: takes the action out of a message that another program wrote. Default: the message is it.
            middleware: functions that every dispatch on it passes, after the provider's.

        Raises:
            ConfigurationError: the provider is not open, the key or types cannot be used, or the key is in
                use with another reducer or initial state.
            ProviderClosed: the provider was closed.

        Examples:
            >>> def shopping(items: list[str], action: str) -> list[str]:
            ...     return [*items, action]
            >>> items = party.server_reducer(shopping, [], "shopping")
            >>> await items.dispatch("milk")
            ['milk']
        """
        own = checked(middleware)
        shared = self._use(Declaration(key, reducer, initial, actions, state_type, unwrap, own))
        return ServerReducer(shared.engine, partial(self._release, shared))

    async def fork(self, handle: AnyHandle, key: str, *, at: Offset | None = None) -> AnyHandle:
        """A copy of a stream up to an offset, to go on from there without touching the original.

        Args:
            handle: of the stream to fork.
            key: name of the fork.
            at: where it branches off. Default: at the tail that the handle has read.

        Returns:
            A handle of the fork, of the same kind.

        Raises:
            StreamConflict: a stream of that name exists, and is something else.
            BadRequest: it is no offset of the stream.
            DurafoldError: the server does not answer, or refuses.

        Examples:
            >>> plan = party.server_state("a", "plan")
            >>> await plan.set("b")
            'b'
            >>> what_if = await party.fork(plan, "plan-what-if")
            >>> await what_if.set("c")
            'c'
            >>> plan.value
            'b'
        """
        source = self._open_stream(handle.key)
        await source.fork(stream_url(self.url, key), offset=at or handle.offset)
        shared = self._use(replace(handle.declaration, key=key))
        return type(handle)(shared.engine, partial(self._release, shared))

    def presence(self, room: str, model: type[M], *, ttl_s: float = 15.0, apart: bool = False) -> Presence[M]:
        """Who else is in a room, and what each shows: cursors, names, "is typing". Nothing of it is kept.

            room = party.presence("rooms/7", Cursor)
            room.set(Cursor(x=3, y=4))
            print(room.others)

        Args:
            room: its name; the stream `<room>/__presence__` carries it.
            model: type of what clients show: a pydantic model, a dataclass, `dict`, `str` ...
            ttl_s: seconds after which somebody who was not heard of is gone, at most 3600. Who is here says
                so three times in that time. The same for all clients of a room.
            apart: this handle is a person of its own, as for a web app that speaks for its visitors. All of
                them share one connection. Default: all handles of a room in a process are one person.

        Raises:
            ConfigurationError: the provider is not open, an argument cannot work, or the room is in use with
                another type or `ttl_s`.
            ProviderClosed: the provider was closed.

        Examples:
            >>> import anyio
            >>> async with Provider(url, client_id="ben") as other:
            ...     theirs, mine = other.presence("rooms/7", str), party.presence("rooms/7", str)
            ...     theirs.set("is typing")
            ...     while not mine.others:
            ...         await anyio.sleep(0.01)
            ...     list(mine.others.values())
            ['is typing']
        """
        tasks = self._require_open()
        seat = self._rooms.enter(room, model, ttl_s, tasks, apart=apart)
        return Presence(seat, partial(self._leave_room, seat))

    @property
    def connection(self) -> Reading[Connection]:
        """How the streams in use are doing, all in one, for a line such as "offline, trying again in 4 s".

        Its value is a `Connection`. Rooms do not count; a `Presence` has a status of its own.

        Example:
            >>> count = await party.server_state(0, "my-counter").ready()
            >>> _ = party.connection.subscribe(lambda: print(party.connection.value.reason))
            >>> party.connection.value
            Connection(status='live', key=None, reason=None, next_attempt_at=None)
        """
        return ConnectionReading(self._engines.connections)

    def _use(self, declaration: Declaration[S]) -> SharedEngine[S]:
        return self._engines.use(declaration, self._require_open())

    def _release(self, shared: SharedEngine[Any]) -> None:
        if self._tasks is not None and not self._is_closing:  # closing ends all of them
            self._engines.release(shared, self._tasks)

    def _leave_room(self, seat: Seat[Any]) -> None:
        if self._tasks is not None and not self._is_closing:
            self._rooms.leave(seat, self._tasks)
