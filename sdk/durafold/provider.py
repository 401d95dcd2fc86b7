"""`Provider`: the streams of one server, shared by everything in a process."""

from __future__ import annotations

import itertools
import logging
import secrets
import time
from collections import deque
from collections.abc import Callable, Coroutine, Iterator
from contextlib import contextmanager
from contextvars import ContextVar, Token
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path
from types import TracebackType
from typing import Any, Final, Generic, Protocol, Self, TypeVar
from weakref import WeakKeyDictionary

import anyio
from anyio.abc import TaskGroup, TaskStatus

from durafold.cache import StateCache, scope_of
from durafold.client import ClientSettings, DurableStream, Headers, LiveChoice, Offset, Params, Transport
from durafold.client.settings import DEFAULT_SETTINGS
from durafold.engine import (
    Declaration,
    Definition,
    Engine,
    EngineOptions,
    Handle,
    Notice,
    OnFault,
    Reading,
    ServerReducer,
    ServerState,
    base_url,
    define,
    stream_url,
)
from durafold.errors import ConfigurationError, ProviderClosed
from durafold.hydrate import hydrated_state
from durafold.outbox import Outbox
from durafold.presence import Presence, Room, presence_key
from durafold.snapshots import SnapshotPolicy, SnapshotStore
from durafold.state.reducer import Reducer, set_state_reducer
from durafold.wire.names import JSON_CONTENT_TYPE

__all__ = ["Attached", "Openable", "Provider", "ambient_provider", "use_provider"]

S = TypeVar("S")
T = TypeVar("T")
A = TypeVar("A")
M = TypeVar("M")

_logger: Final = logging.getLogger("durafold")


H_co = TypeVar("H_co", covariant=True)
H = TypeVar("H")
AnyHandle = TypeVar("AnyHandle", bound=Handle[Any])


class Openable(Protocol[H_co]):
    """Something declared that a provider can bring to life: an atom, a derived value."""

    def open_on(self, provider: Provider, /) -> H_co:
        """What users hold of it on this provider."""
        ...


class Attached(Protocol):
    """Something alive that belongs to a provider and ends with it."""

    def stop(self) -> None:
        """End at once; called by the provider, perhaps more than once."""


@dataclass(eq=False, slots=True)
class _Shared(Generic[S]):
    """An engine, and how many handles use it."""

    engine: Engine[S]
    users: int = 0


class Provider:
    """The streams of one server, shared by everything in a process::

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
        close_timeout_s: float = 5.0,
        clock: Callable[[], float] = time.time,
    ) -> None:
        self.url = base_url(url)
        self.client_id = _unique_id(client_id)
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
            on_error=on_error or _log_error,
            on_notice=on_notice or _log_notice,
            clock=clock,
        )
        self._snapshots = snapshots
        self._outbox = Outbox(outbox) if outbox is not None else None
        self._transport = transport or Transport()
        self._owns_transport = transport is None
        self._make_stream = partial(
            DurableStream,
            headers=headers,
            params=params,
            transport=self._transport,
            content_type=JSON_CONTENT_TYPE,
            settings=settings,
        )
        self._close_timeout_s = close_timeout_s
        self.hook_handles: dict[str, Handle[Any]] = {}
        self.hook_members: dict[str, None] = {}
        self.hook_readings: WeakKeyDictionary[Any, Reading[Any]] = WeakKeyDictionary()
        self.hook_orphans: deque[Reading[Any]] = deque()
        self.nodes: WeakKeyDictionary[Any, Any] = WeakKeyDictionary()
        self._attached: dict[Attached, None] = {}
        self._shared: dict[str, _Shared[Any]] = {}
        self._retired: set[Engine[Any]] = set()
        self._rooms: dict[str, Room[Any]] = {}
        self._tasks: TaskGroup | None = None
        self._is_closing = False
        self._closing = anyio.Event()
        self._ambient: Token[Provider | None] | None = None

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

    def server_state(self, default: T, key: str, *, state_type: Any = None) -> ServerState[T]:
        """A shared value, like `useState`, but the same for every client.

        It can be used at once; `await handle.ready()` waits until its present value was read.

        Args:
            default: its value before anybody has set one: plain JSON, a pydantic model, a dataclass ...
            key: the stream's name; `/` separates segments.
            state_type: its type, if it is not that of `default`, such as `list[Todo]` for `[]`.

        Raises:
            ConfigurationError: the provider is not open, the key cannot be used, or it is in use with another
                default.
            ProviderClosed: the provider was closed.
        """
        shared = self._use(Declaration(key, set_state_reducer, default, state_type=state_type))
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

        Raises:
            ConfigurationError: the provider is not open, the key or types cannot be used, or the key is in
                use with another reducer or initial state.
            ProviderClosed: the provider was closed.
        """
        shared = self._use(Declaration(key, reducer, initial, actions, state_type, unwrap))
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
        """
        source = self._make_stream(stream_url(self.url, handle.key))
        await source.fork(stream_url(self.url, key), offset=at or handle.offset)
        shared = self._use(replace(handle.declaration, key=key))
        return type(handle)(shared.engine, partial(self._release, shared))

    def presence(self, room: str, model: type[M], *, ttl_s: float = 15.0) -> Presence[M]:
        """Who else is in a room, and what each shows: cursors, names, "is typing". Nothing of it is kept.

        ::

            room = party.presence("rooms/7", Cursor)
            room.set(Cursor(x=3, y=4))
            print(room.others)

        Args:
            room: its name; the stream `<room>/__presence__` carries it.
            model: type of what clients show: a pydantic model, a dataclass, `dict`, `str` ...
            ttl_s: seconds after which somebody who was not heard of is gone, at most 3600. Who is here says
                so three times in that time. The same for all clients of a room.

        Raises:
            ConfigurationError: the provider is not open, an argument cannot work, or the room is in use with
                another type or `ttl_s`.
            ProviderClosed: the provider was closed.
        """
        tasks = self._require_open()
        entered = self._rooms.get(room)
        if entered is None:
            entered = self._rooms[room] = self._room(room, model, ttl_s)
            tasks.start_soon(entered.run, name=f"durafold presence {room}")
        entered.require_same(model, ttl_s)
        entered.users += 1
        return Presence(entered, partial(self._leave_room, entered))

    def _room(self, room: str, model: type[M], ttl_s: float) -> Room[M]:
        return Room(
            room,
            self._make_stream(stream_url(self.url, presence_key(room))),
            model,
            client=self.client_id,
            ttl_s=ttl_s,
            live=self._options.live,
            report=self.report,
        )

    def _leave_room(self, room: Room[Any]) -> None:
        room.users -= 1
        if not room.users and not self._is_closing and self._tasks is not None:
            del self._rooms[room.room]
            self._tasks.start_soon(self._retire_room, room)

    async def _retire_room(self, room: Room[Any]) -> None:
        with anyio.move_on_after(self._close_timeout_s):
            await room.leave()

    def _use(self, declaration: Declaration[S]) -> _Shared[S]:
        tasks = self._require_open()
        shared = self._shared.get(declaration.key) or self._revived(declaration.key)
        if shared is None:
            shared = self._shared[declaration.key] = _Shared(self._engine(declaration))
            tasks.start_soon(shared.engine.run, name=f"durafold {declaration.key}")
        else:
            shared.engine.definition.declaration.require_same(declaration)
        shared.users += 1
        return shared

    def _revived(self, key: str) -> _Shared[Any] | None:
        """With an outbox, an engine that is about to end goes on: two would be the same client."""
        ending = [engine for engine in self._retired if engine.definition.key == key and self._outbox]
        for engine in ending:
            self._retired.discard(engine)
            self._shared[key] = _Shared(engine)
        return self._shared.get(key)

    def _engine(self, declaration: Declaration[S]) -> Engine[S]:
        definition = define(declaration, strict=self._options.strict)
        stream = self._make_stream(stream_url(self.url, declaration.key))
        scope = self._options.cache_scope or ""
        return Engine(
            definition,
            stream,
            self._options,
            base_url=self.url,
            hydrated=hydrated_state(definition),
            outbox=self._outbox.of(self.url, scope, declaration.key) if self._outbox else None,
            snapshots=self._snapshots_of(definition),
        )

    def _snapshots_of(self, definition: Definition[S]) -> SnapshotStore[S] | None:
        if self._snapshots is None:
            return None
        return SnapshotStore(
            definition.key,
            definition.fingerprint,
            definition.states,
            self._snapshots,
            lambda key: self._make_stream(stream_url(self.url, key)),
        )

    def _require_open(self) -> TaskGroup:
        if self._is_closing:
            raise ProviderClosed("The provider was closed", hint="Make a new one")
        if self._tasks is None:
            raise ConfigurationError(
                "The provider is not open", hint="Use it inside `async with Provider(...) as party:`"
            )
        return self._tasks

    def _release(self, shared: _Shared[Any]) -> None:
        """A handle was closed: with the last of its key, the engine ends once everything is sent."""
        shared.users -= 1
        if not shared.users and not self._is_closing and self._tasks is not None:
            del self._shared[shared.engine.definition.key]
            self._retired.add(shared.engine)
            self._tasks.start_soon(self._retire, shared.engine)

    async def _retire(self, engine: Engine[Any]) -> None:
        with anyio.move_on_after(self._close_timeout_s):
            await engine.flushed()
        if engine in self._retired:
            engine.stop()
            self._retired.discard(engine)

    # ---- what else belongs to it ----

    def attach(self, thing: Attached) -> None:
        """Have something stopped when the provider closes.

        Raises:
            ConfigurationError: the provider is not open.
            ProviderClosed: the provider was closed.
        """
        self._require_open()
        self._attached[thing] = None

    def detach(self, thing: Attached) -> None:
        """It has ended by itself."""
        self._attached.pop(thing, None)

    def start_soon(self, task: Callable[..., Coroutine[Any, Any, Any]], *args: Any) -> None:
        """Run something that never raises as long as the provider is open at most.

        Raises:
            ConfigurationError: the provider is not open.
            ProviderClosed: the provider was closed.
        """
        self._require_open().start_soon(task, *args)

    def report(self, error: Exception) -> None:
        """Hand an error that nobody awaits to `on_error`."""
        try:
            self._options.on_error(error)
        except Exception:
            _logger.exception("on_error raised")

    # ---- life ----

    async def run(self, *, task_status: TaskStatus[None] = anyio.TASK_STATUS_IGNORED) -> None:
        """Open the provider and keep it open until `aclose` is called: for a task of its own.

        ::

            await task_group.start(party.run)  # open from here on
            ...
            await party.aclose()
        """
        async with self:
            task_status.started()
            await self._closing.wait()

    async def flush(self) -> None:
        """Wait until the server has durably whatever was dispatched on any key, or has refused it.

        It says nothing of refusals: those are raised by the dispatches, or go to `on_error`.
        """
        for engine in self._engines():
            await engine.flushed()

    def _engines(self) -> list[Engine[Any]]:
        return [*(shared.engine for shared in self._shared.values()), *self._retired]

    async def aclose(self) -> None:
        """Wait until what was dispatched is on the server, at most `close_timeout_s`, and stop everything.

        May be called from any task, and more than once.
        """
        self._is_closing = True
        engines = self._engines()
        with anyio.move_on_after(self._close_timeout_s):
            for engine in engines:
                await engine.flushed()
            for room in self._rooms.values():
                await room.leave()
        self._stop()
        for engine in engines:
            await engine.ended.wait()

    def _stop(self) -> None:
        self._is_closing = True
        for thing in tuple(self._attached):
            thing.stop()
        for engine in self._engines():
            engine.stop()
        for room in self._rooms.values():
            room.stop()
        self._closing.set()

    async def __aenter__(self) -> Self:
        if self._tasks is not None:
            raise ConfigurationError("A provider can be opened only once", hint="Make a new one")
        if self._outbox is not None:
            self._outbox.open()
        self._tasks = anyio.create_task_group()
        await self._tasks.__aenter__()
        self._ambient = _ambient.set(self)
        return self

    async def __aexit__(
        self, exc_type: type[BaseException] | None, exc: BaseException | None, tb: TracebackType | None
    ) -> None:
        assert self._tasks is not None
        self._leave_context()
        reason = await self._leave(exc)
        self._stop()
        try:
            # The task group is told of cancellation only: it would wrap any other exception in a group.
            if isinstance(reason, anyio.get_cancelled_exc_class()):
                await self._tasks.__aexit__(type(reason), reason, reason.__traceback__)
            else:
                await self._tasks.__aexit__(None, None, None)
        finally:
            if self._outbox is not None:
                self._outbox.close()
            await self._close_transport()
        if reason is not None and reason is not exc:
            raise reason

    async def _leave(self, exc: BaseException | None) -> BaseException | None:
        """Close in peace if there is peace; return what is to be raised."""
        if exc is not None:
            return exc
        try:
            await self.aclose()
        except BaseException as leaving:  # noqa: BLE001 - handed to our caller, who raises it
            return leaving
        return None

    async def _close_transport(self) -> None:
        if self._owns_transport:
            with anyio.CancelScope(shield=True):
                await self._transport.aclose()

    def _leave_context(self) -> None:
        if self._ambient is not None:
            try:
                _ambient.reset(self._ambient)
            except ValueError:
                # Left in another context than entered, as some test fixtures do: there is nothing to restore.
                _ambient.set(None)


_ambient: ContextVar[Provider | None] = ContextVar("durafold_provider", default=None)


def ambient_provider() -> Provider:
    """The provider that the code around the caller is in: the innermost `async with Provider`, or what
    `use_provider` was given.

    Raises:
        ConfigurationError: there is none.
    """
    provider = _ambient.get()
    if provider is None:
        raise ConfigurationError(
            "There is no provider around this call",
            hint="Call it inside `async with Provider(url):`, or `with use_provider(party):` where the code"
            " runs in another task, such as a request handler",
        )
    return provider


@contextmanager
def use_provider(provider: Provider) -> Iterator[Provider]:
    """Make a provider the one that hooks use, in this block and in tasks that are started from it."""
    token = _ambient.set(provider)
    try:
        yield provider
    finally:
        _ambient.reset(token)


def _unique_id(name: str | None) -> str:
    if name is None:
        return secrets.token_hex(6)
    if not name or not name.isascii() or not name.isprintable() or ":" in name:
        raise ConfigurationError(
            f"{name!r} cannot be a client id", hint="Use printable ASCII characters without ':'"
        )
    return f"{name}-{secrets.token_hex(4)}"


def _log_error(error: Exception) -> None:
    _logger.error("%s", error, exc_info=error)


def _log_notice(notice: Notice) -> None:
    _logger.warning("%s", notice)
