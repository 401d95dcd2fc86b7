"""One process, one engine per stream, any number of browser tabs.

The hub opens the streams when the app starts, hands out their current state, and tells each connected tab to
refresh when one that it looks at changed. Nothing here opens anything at import: in production Reflex imports
the app once and forks its worker from that process.

A stream whose key has parameters (`rooms/[room]`) is opened when the first tab looks at it, and closed some
time after the last one has left.

Reflex does not say when a tab goes away, and need not: a tab that comes back always hydrates first, which
reads the vars and so joins again (`Hub.read`). Tabs without a socket are therefore simply forgotten: at the
next change, whenever another tab joins, and by a sweep now and then.
"""

from __future__ import annotations

import logging
import re
from collections.abc import AsyncIterator, Callable, Mapping
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from functools import cached_property
from typing import Any, Final

import anyio
import anyio.to_thread
import reflex as rx
from anyio.abc import TaskGroup

from durafold.engine import Handle
from durafold.errors import ConfigurationError
from durafold.hydrate import HydrationBoundary
from durafold.provider import Provider
from durafold.reflex import _internals
from durafold.reflex.last_states import LastStates
from durafold.state.models import Model

__all__ = ["Hub", "StreamSpec"]

logger = logging.getLogger("durafold.reflex")

SAVE_INTERVAL_S: Final = 1.0
"""How far the last states on disk may be behind what pages show."""

SWEEP_INTERVAL_S: Final = 30.0
"""How often gone tabs are looked for. A stream with parameters outlives its last tab by up to twice this."""

_PARAMETER: Final = re.compile(r"\[(\w+)\]")


@dataclass(frozen=True)
class StreamSpec:
    """A stream declared at import time, or one for each value of its parameters.

    Attributes:
        key: path of the stream below the server's URL. `[room]` in it stands for what the address of a tab's
            page has for `room`.
        initial: state before the first action, and what pages show until the app runs.
        model: how states travel as JSON.
        open: makes the handle of a key once there is a provider.
        identity: what makes two declarations of one key the same.
    """

    key: str
    initial: Any
    model: Model
    open: Callable[[Provider, str], Handle[Any]]
    identity: tuple[object, ...]

    @cached_property
    def parameters(self) -> tuple[str, ...]:
        """Names of the parameters in the key."""
        return tuple(_PARAMETER.findall(self.key))

    def key_for(self, values: Mapping[str, object]) -> str | None:
        """The key of the stream that a page with these parameters looks at; None if it looks at none.

        The values come from a browser, so they may be anything. What is no single segment of a path names no
        stream, lest it reach outside of the key's own place.
        """
        if not all(_is_segment(values.get(name)) for name in self.parameters):
            return None
        return _PARAMETER.sub(lambda found: str(values[found[1]]), self.key)


@dataclass(slots=True)
class _Tab:
    """A connected tab. A change makes it stale, and one refresh serves all changes before it.

    Attributes:
        looks_at: the key that it last read, for every declaration.
    """

    token: str
    looks_at: dict[str, str] = field(default_factory=dict)
    is_stale: bool = False
    is_refreshing: bool = False


@dataclass(slots=True)
class _Open:
    """A stream that is open."""

    handle: Handle[Any]
    spec: StreamSpec
    unsubscribe: Callable[[], None]
    was_idle: bool = False

    def close(self) -> None:
        self.unsubscribe()
        self.handle.close()


@dataclass(slots=True)
class _Running:
    """What there is only while the app runs."""

    app: rx.App
    tasks: TaskGroup
    provider: Provider
    last_states: LastStates
    streams: dict[str, _Open] = field(default_factory=dict)
    tabs: dict[str, _Tab] = field(default_factory=dict)
    unsaved: set[str] = field(default_factory=set)
    has_unsaved: anyio.Event = field(default_factory=anyio.Event)


class Hub:
    """The streams of one Reflex app and the tabs that look at them."""

    def __init__(self) -> None:
        self._specs: dict[str, StreamSpec] = {}
        self._running: _Running | None = None

    def declare(self, spec: StreamSpec) -> None:
        """Register a stream. The same key may be declared again if both declarations agree.

        Raises:
            ConfigurationError: the key was declared with another default or reducer, or the app runs already.
        """
        if self._running is not None:
            raise ConfigurationError(
                f"{spec.key!r} was declared while the app runs",
                hint="Call use_server_state and use_server_reducer at module level",
            )
        if self._specs.setdefault(spec.key, spec).identity != spec.identity:
            raise ConfigurationError(
                f"{spec.key!r} is declared twice, with different defaults or reducers",
                hint="Declare it once and import that, or give one of them another key",
            )

    @property
    def tabs(self) -> frozenset[str]:
        """Client tokens of the tabs that are refreshed when something changes."""
        return frozenset(self._running.tabs) if self._running else frozenset()

    @property
    def keys(self) -> frozenset[str]:
        """Keys of the streams that are open."""
        return frozenset(self._running.streams) if self._running else frozenset()

    def handle(self, key: str, parameters: Mapping[str, object] | None = None) -> Handle[Any]:
        """The open handle of a declared stream.

        Args:
            key: as it was declared.
            parameters: of the page that the tab shows.

        Raises:
            ConfigurationError: the app does not run, or was never mounted; or the page's address does not
                say which stream is meant.
        """
        if self._running is None:
            raise ConfigurationError(
                f"{key!r} is not open", hint="Call durafold.reflex.mount(app) once, where the app is made"
            )
        spec = self._specs[key]
        actual = spec.key_for(parameters or {})
        if actual is None:
            raise ConfigurationError(
                f"The address of the page does not say which {key!r} is meant",
                hint=f"Give the page a route with {' and '.join(f'[{name}]' for name in spec.parameters)}",
            )
        return _stream(self._running, spec, actual).handle

    def read(self, key: str, tab: str, parameters: Mapping[str, object] | None = None) -> Handle[Any] | None:
        """The handle for a var to read; from now on the tab that asks is refreshed when it changes.

        Args:
            key: of a declared stream, as it was declared.
            tab: client token; empty if nobody asks, as when Reflex sets states up.
            parameters: of the page that the tab shows.

        Returns:
            None while no app runs, as when Reflex builds the pages; and for a page whose address does not
            say which stream is meant.
        """
        running = self._running
        if running is None:
            return None
        spec = self._specs[key]
        actual = spec.key_for(parameters or {})
        if tab:
            _look(running, tab, key, actual)
        if actual is None or (not tab and actual not in running.streams):
            return None
        return _stream(running, spec, actual).handle

    @asynccontextmanager
    async def run(self, app: rx.App, provider: Provider, last_states: LastStates) -> AsyncIterator[None]:
        """Keep every declared stream open while the app runs.

        Does not wait for the stream server: until it answers, pages show the last or the initial states.

        Raises:
            ConfigurationError: it runs already, or the provider refuses a declaration.
        """
        if self._running is not None:
            raise ConfigurationError("The app is mounted twice", hint="Call durafold.reflex.mount(app) once")
        async with provider:
            running = _Running(app, anyio.create_task_group(), provider, last_states)
            for spec in self._specs.values():
                if not spec.parameters:
                    _stream(running, spec, spec.key)
            async with running.tasks as tasks:
                self._running = running
                tasks.start_soon(_save_now_and_then, running)
                tasks.start_soon(self._sweep_now_and_then)
                try:
                    yield
                finally:
                    self._running = None
                    tasks.cancel_scope.cancel()
                    for stream in running.streams.values():
                        stream.unsubscribe()
                    with anyio.CancelScope(shield=True):
                        await _save(running, list(running.streams))

    async def sweep(self) -> None:
        """Forget tabs that are gone, and close streams that were idle at the last sweep, too."""
        if self._running is not None:
            _forget_gone(self._running)
            await _close_idle(self._running)

    async def _sweep_now_and_then(self) -> None:
        while True:
            await anyio.sleep(SWEEP_INTERVAL_S)
            await self.sweep()


def _is_segment(value: object) -> bool:
    return (
        isinstance(value, str) and value not in ("", ".", "..") and "/" not in value and value.isprintable()
    )


def _stream(running: _Running, spec: StreamSpec, key: str) -> _Open:
    """The open stream of a key, opened now if it is not."""
    stream = running.streams.get(key)
    if stream is None:
        with HydrationBoundary(running.last_states.load(key)):
            handle = spec.open(running.provider, key)
        unsubscribe = handle.subscribe(lambda: _changed(running, key), progress=True)
        stream = running.streams[key] = _Open(handle, spec, unsubscribe)
    return stream


def _look(running: _Running, token: str, declared: str, actual: str | None) -> None:
    """Remember what a tab looks at."""
    tab = running.tabs.get(token)
    if tab is None:
        _forget_gone(running)
        tab = running.tabs[token] = _Tab(token)
    if actual is None:
        tab.looks_at.pop(declared, None)
    else:
        tab.looks_at[declared] = actual


def _changed(running: _Running, key: str) -> None:
    """A stream changed: tabs that look at it are stale, and those without a refresh under way get one."""
    running.unsaved.add(key)
    running.has_unsaved.set()
    _forget_gone(running)
    for tab in running.tabs.values():
        if key not in tab.looks_at.values():
            continue
        tab.is_stale = True
        if not tab.is_refreshing:
            tab.is_refreshing = True
            running.tasks.start_soon(_refresh, running.app, tab)


async def _refresh(app: rx.App, tab: _Tab) -> None:
    """Refresh one tab until no change is left. A slow one delays nobody else: each has a task of its own."""
    try:
        while tab.is_stale:
            tab.is_stale = False
            await _internals.refresh(app, tab.token)
    except Exception:
        # It hydrates in full when it returns, so nothing is lost.
        logger.exception("Could not refresh the tab %s", tab.token)
    finally:
        tab.is_refreshing = False


async def _save_now_and_then(running: _Running) -> None:
    while True:
        await running.has_unsaved.wait()
        running.has_unsaved = anyio.Event()
        keys, running.unsaved = running.unsaved, set()
        await _save(running, list(keys))
        await anyio.sleep(SAVE_INTERVAL_S)


async def _save(running: _Running, keys: list[str]) -> None:
    for key in keys:
        if (stream := running.streams.get(key)) is not None:
            await _save_one(running, key, stream)


async def _save_one(running: _Running, key: str, stream: _Open) -> None:
    snapshot, model = stream.handle.snapshot(), stream.spec.model
    await anyio.to_thread.run_sync(running.last_states.save, key, snapshot, model)


async def _close_idle(running: _Running) -> None:
    """Close streams that nobody looked at for a whole interval."""
    wanted = {key for tab in running.tabs.values() for key in tab.looks_at.values()}
    for key, stream in list(running.streams.items()):
        is_idle = bool(stream.spec.parameters) and key not in wanted and not stream.handle.pending
        if is_idle and stream.was_idle:
            # First, so that a tab which comes while it is saved opens it anew, and gets no closed one.
            del running.streams[key]
            try:
                await _save_one(running, key, stream)
            finally:
                stream.close()
        stream.was_idle = is_idle


def _forget_gone(running: _Running) -> None:
    for token in running.tabs.keys() - _internals.connected_tabs(running.app):
        del running.tabs[token]
