"""The face of `durafold.Provider`, and which one the hooks of a thread use."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from contextvars import ContextVar, Token
from functools import partial
from pathlib import Path
from types import TracebackType
from typing import Any, Self, TypeVar, cast, overload

from durafold import provider as asynchronous
from durafold.atoms import Atom, ReducerAtom
from durafold.blocking.callables import in_threads
from durafold.blocking.callbacks import Callbacks
from durafold.blocking.handles import (
    DerivedValue,
    Handle,
    Presence,
    Reading,
    ServerReducer,
    ServerState,
    face_for,
)
from durafold.blocking.home import Home, within
from durafold.blocking.mirror import face_of
from durafold.blocking.portal import Running, shared_portal
from durafold.cache import StateCache
from durafold.client import ClientSettings, Headers, LiveChoice, Offset, Params, Transport
from durafold.client.settings import DEFAULT_SETTINGS
from durafold.computed import Derived
from durafold.engine import Middleware, Notice, OnFault
from durafold.errors import ConfigurationError
from durafold.snapshots import SnapshotPolicy
from durafold.state.reducer import Reducer

__all__ = ["Provider", "ambient_provider", "use_provider"]

S = TypeVar("S")
T = TypeVar("T")
A = TypeVar("A")
M = TypeVar("M")
X = TypeVar("X")
AnyHandle = TypeVar("AnyHandle", bound=Handle[Any])


@face_of(asynchronous.Provider)
class Provider:
    """The streams of one server, shared by everything in a process:

        with Provider("http://127.0.0.1:4437/v1/stream") as party:
            counter = party.server_state(0, "my-counter")
            counter.increment().wait()
            print(counter.value)

    There is one connection per key, however many handles of it there are. The server need not run when the
    provider is opened: values are the initial (or cached, or hydrated) ones, what is dispatched waits, and
    all goes on by itself when the server answers.

    Any number of threads may use a provider and its handles. Where a `with` block does not fit, as in a
    notebook, there are `start` and `close`. Leaving the block waits until the server has what was dispatched,
    at most `close_timeout_s`; if an exception ends the block, it does not wait. A process that is forked off
    needs a provider of its own: this one refuses to work there.

    `on_error` and `on_notice` are called in the thread of callbacks (see `Reading.subscribe`), functions for
    headers and parameters in worker threads. Reducers, the functions given to `set`, those of derived values
    middleware, and `clock` run in the event loop's thread: they compute, and must not wait for anything.

    Args:
        url: where the server's streams are. A bare `http://host:port` means `/v1/stream` there.
        client_id: a name for this client, to recognise its actions in the stream: printable ASCII without
            `:`. A random part is added, because ids must never be used twice.
        headers: more request headers, or functions that make them; see `durafold.client.Headers`.
        params: more query parameters, likewise.
        transport: connections to share with others. Default: its own.
        settings: timeouts and limits of the client.
        cache: where confirmed states are kept, to start from when a key is opened again.
        cache_scope: whose states these are; needed if `headers` or `params` contain functions.
        snapshots: write a snapshot beside every stream from time to time; see `durafold.snapshots`.
        outbox: a file where actions are kept until they have come back; the next process that opens the key
            sends them, once. Every process needs a file of its own.
        live: how to wait for new data.
        create: create streams that do not exist.
        by: who dispatches, put into every action for others to see.
        strict: find reducers that are not pure, and values that were changed in place; for tests.
        on_fault: "skip" a message that cannot be folded, or "halt" before it.
        on_error: is given what nobody waits for: failures of dispatches, exceptions of callbacks, faults of
            actions. Default: they are logged.
        on_notice: is given notices such as `StreamReset`. Default: they are logged.
        middleware: functions that every dispatch passes before anything is shown or sent; the same ones as
            for asynchronous code, see `durafold.Middleware`.
        close_timeout_s: seconds that leaving waits for the server to take what was dispatched, and for
            callbacks that run.
        clock: seconds since 1970, for the time in actions.

    Raises:
        ConfigurationError: an argument cannot work.
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
        self._callbacks = Callbacks()
        self._target = asynchronous.Provider(
            url,
            client_id=client_id,
            headers=in_threads(headers),
            params=in_threads(params),
            transport=transport,
            settings=settings,
            cache=cache,
            cache_scope=cache_scope,
            snapshots=snapshots,
            outbox=outbox,
            live=live,
            create=create,
            by=by,
            strict=strict,
            on_fault=on_fault,
            on_error=self._callbacks.posting(on_error),
            on_notice=self._callbacks.posting(on_notice),
            middleware=middleware,
            close_timeout_s=close_timeout_s,
            clock=clock,
        )
        self._is_strict = strict
        self._close_timeout_s = close_timeout_s
        self._opened: Home | None = None
        self._running: Running | None = None
        self._ambient: Token[Provider | None] | None = None

    def __repr__(self) -> str:
        return f"<blocking Provider of {self.url}>"

    @property
    def url(self) -> str:
        """Where the streams are."""
        return self._target.url

    @property
    def client_id(self) -> str:
        """What the ids of all actions of this provider begin with."""
        return self._target.client_id

    # ---- keys ----

    @overload
    def open(self, declared: Atom[T]) -> ServerState[T]: ...
    @overload
    def open(self, declared: ReducerAtom[S, A]) -> ServerReducer[S, A]: ...
    @overload
    def open(self, declared: Derived[T]) -> DerivedValue[T]: ...
    @overload
    def open(self, declared: asynchronous.Openable[Any]) -> Reading[Any]: ...
    def open(self, declared: Any) -> Any:
        return self._made(lambda: self._target.open(declared))

    def server_state(
        self, default: T, key: str, *, state_type: Any = None, middleware: Sequence[Middleware] = ()
    ) -> ServerState[T]:
        make = partial(self._target.server_state, state_type=state_type, middleware=middleware)
        return cast("ServerState[T]", self._made(lambda: make(default, key)))

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
        make = partial(
            self._target.server_reducer,
            actions=actions,
            state_type=state_type,
            unwrap=unwrap,
            middleware=middleware,
        )
        return cast("ServerReducer[S, A]", self._made(lambda: make(reducer, initial, key)))

    def fork(self, handle: AnyHandle, key: str, *, at: Offset | None = None) -> AnyHandle:
        home = self._home
        fork = home.portal.run(partial(self._target.fork, at=at), handle._handle, key)
        return cast("AnyHandle", face_for(fork, home))

    def presence(self, room: str, model: type[M], *, ttl_s: float = 15.0, apart: bool = False) -> Presence[M]:
        made = self._made(lambda: self._target.presence(room, model, ttl_s=ttl_s, apart=apart))
        return cast("Presence[M]", made)

    @property
    def connection(self) -> Reading[asynchronous.Connection]:
        return cast("Reading[asynchronous.Connection]", self._made(lambda: self._target.connection))

    def _made(self, make: Callable[[], Any]) -> Any:
        home = self._home
        return face_for(home.portal.call(make), home)

    def in_loop(self, function: Callable[[], X]) -> tuple[X, Home]:
        """What the asynchronous hooks give where this provider is theirs; for the blocking hooks."""

        def call() -> X:
            with asynchronous.use_provider(self._target):
                return function()

        return self._home.portal.call(call), self._home

    @property
    def _home(self) -> Home:
        if self._opened is None:
            raise ConfigurationError(
                "The provider is not open",
                hint="Use it inside `with Provider(...) as party:`, or call `start`",
            )
        return self._opened

    # ---- life ----

    def flush(self, *, timeout_s: float | None = None) -> None:
        """Wait until the server has durably whatever was dispatched on any key, or has refused it.

        It says nothing of refusals: those are raised by `Dispatch.wait`, or go to `on_error`.

        Args:
            timeout_s: seconds to wait at most. None: for ever.

        Raises:
            TimeoutError: the server does not have all of it yet.
            ConfigurationError: the provider is not open.
        """
        self._home.portal.run(within, timeout_s, self._target.flush)

    def start(self) -> Self:
        """Open the provider until `close` is called, where a `with` block does not fit.

        Raises:
            ConfigurationError: it was opened before, or this thread runs an event loop.
            OutboxInUse: another process uses the outbox.
        """
        portal = shared_portal()
        self._running = portal.start(self._target.run)
        self._opened = Home(portal.lease(), self._callbacks, self._target.report, self._is_strict)
        self._callbacks.start()
        _open_providers[self] = None
        return self

    def close(self) -> None:
        """Wait until what was dispatched is on the server, at most `close_timeout_s`, and stop everything.

        Any thread may call it, a callback too, and more than once. Ctrl-C ends the waiting, not the closing.

        Raises:
            ConfigurationError: called where waiting would stop an event loop, such as in middleware; the
                provider stays open.
        """
        self._end(in_peace=True)

    def _end(self, *, in_peace: bool) -> None:
        home, running = self._opened, self._running
        if home is None or running is None or not home.portal.is_alive:
            _open_providers.pop(self, None)
            return
        home.portal.require_outside()
        _open_providers.pop(self, None)
        try:
            if in_peace:
                home.portal.run(self._target.aclose)
        except BaseException:
            in_peace = False
            raise
        finally:
            if not in_peace:
                home.portal.call(running.cancel)
            running.wait()
            self._callbacks.stop(self._close_timeout_s)

    @property
    def is_open(self) -> bool:
        """Whether it was opened, in this process, and not closed."""
        return self in _open_providers and self._home.portal.is_alive

    def __enter__(self) -> Self:
        self.start()
        self._ambient = _ambient.set(self)
        return self

    def __exit__(
        self, exc_type: type[BaseException] | None, exc: BaseException | None, tb: TracebackType | None
    ) -> None:
        assert self._ambient is not None
        try:
            _ambient.reset(self._ambient)
        except ValueError:  # left in another context than entered, as some test fixtures do
            _ambient.set(None)
        self._end(in_peace=exc is None)


_ambient: ContextVar[Provider | None] = ContextVar("durafold_blocking_provider", default=None)
_open_providers: dict[Provider, None] = {}


def ambient_provider() -> Provider:
    """The provider that hooks use: of the innermost `with Provider` or `use_provider` around the call.

    A thread that was started inside such a block is not in it. There it is the one that is open, if there is
    exactly one.

    Raises:
        ConfigurationError: there is none, or nothing tells which.
    """
    provider = _ambient.get()
    if provider is not None:
        return provider
    opened = [provider for provider in tuple(_open_providers) if provider.is_open]
    if len(opened) == 1:
        return opened[0]
    raise ConfigurationError(
        f"There is no provider around this call, and {len(opened)} are open",
        hint="Call it inside `with Provider(url):`, or in another thread `with use_provider(party):`",
    )


@contextmanager
def use_provider(provider: Provider) -> Iterator[Provider]:
    """Make a provider the one that hooks use in this block, in this thread."""
    token = _ambient.set(provider)
    try:
        yield provider
    finally:
        _ambient.reset(token)
