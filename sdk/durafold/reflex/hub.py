"""One process, one engine per stream, any number of browser tabs.

The hub opens the streams when the app starts, hands out their current state, and tells each connected tab to
refresh when one of them changed. Nothing here opens anything at import: in production Reflex imports the app
once and forks its worker from that process.

Reflex does not say when a tab goes away, and need not: a tab that comes back always hydrates first, which
reads the vars and so joins again (`Hub.read`). Tabs without a socket are therefore simply forgotten, at the
next change and whenever another tab joins.
"""

from __future__ import annotations

import logging
from collections.abc import AsyncIterator, Callable, Iterator, Mapping
from contextlib import ExitStack, asynccontextmanager, contextmanager
from dataclasses import dataclass, field
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


@dataclass(frozen=True, slots=True)
class StreamSpec:
    """A stream declared at import time.

    Attributes:
        key: path of the stream below the server's URL.
        initial: state before the first action, and what pages show until the app runs.
        model: how states travel as JSON.
        open: makes the handle once there is a provider.
        identity: what makes two declarations of one key the same.
    """

    key: str
    initial: Any
    model: Model
    open: Callable[[Provider], Handle[Any]]
    identity: tuple[object, ...]


@dataclass(slots=True)
class _Tab:
    """A connected tab. A change makes it stale, and one refresh serves all changes before it."""

    token: str
    is_stale: bool = False
    is_refreshing: bool = False


@dataclass(slots=True)
class _Running:
    """What there is only while the app runs."""

    app: rx.App
    tasks: TaskGroup
    handles: Mapping[str, Handle[Any]]
    tabs: dict[str, _Tab] = field(default_factory=dict)
    unsaved: anyio.Event = field(default_factory=anyio.Event)


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

    def handle(self, key: str) -> Handle[Any]:
        """The open handle of a declared stream.

        Raises:
            ConfigurationError: the app does not run, or was never mounted.
        """
        if self._running is None:
            raise ConfigurationError(
                f"{key!r} is not open", hint="Call durafold.reflex.mount(app) once, where the app is made"
            )
        return self._running.handles[key]

    def read(self, key: str, tab: str) -> Handle[Any] | None:
        """The handle for a var to read; from now on the tab that asks is refreshed when something changes.

        Args:
            key: of a declared stream.
            tab: client token; empty if nobody asks, as when Reflex sets states up.

        Returns:
            None while no app runs, as when Reflex builds the pages.
        """
        if self._running is None:
            return None
        if tab and tab not in self._running.tabs:
            _forget_gone(self._running)
            self._running.tabs[tab] = _Tab(tab)
        return self._running.handles[key]

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
            handles = {key: _open(spec, provider, last_states) for key, spec in self._specs.items()}
            async with anyio.create_task_group() as tasks:
                running = self._running = _Running(app, tasks, handles)
                tasks.start_soon(self._save_now_and_then, running, last_states)
                try:
                    with _watching(running):
                        yield
                finally:
                    self._running = None
                    tasks.cancel_scope.cancel()
                    with anyio.CancelScope(shield=True):
                        await self._save(running, last_states)

    async def _save_now_and_then(self, running: _Running, last_states: LastStates) -> None:
        while True:
            await running.unsaved.wait()
            running.unsaved = anyio.Event()
            await self._save(running, last_states)
            await anyio.sleep(SAVE_INTERVAL_S)

    async def _save(self, running: _Running, last_states: LastStates) -> None:
        for key, handle in running.handles.items():
            snapshot, model = handle.snapshot(), self._specs[key].model
            await anyio.to_thread.run_sync(last_states.save, key, snapshot, model)


def _open(spec: StreamSpec, provider: Provider, last_states: LastStates) -> Handle[Any]:
    with HydrationBoundary(last_states.load(spec.key)):
        return spec.open(provider)


@contextmanager
def _watching(running: _Running) -> Iterator[None]:
    with ExitStack() as subscriptions:
        for handle in running.handles.values():
            subscriptions.callback(handle.subscribe(lambda: _changed(running), progress=True))
        yield


def _changed(running: _Running) -> None:
    """A stream changed: every tab is stale, and those without a refresh under way get one."""
    running.unsaved.set()
    _forget_gone(running)
    for tab in running.tabs.values():
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


def _forget_gone(running: _Running) -> None:
    for token in running.tabs.keys() - _internals.connected_tabs(running.app):
        del running.tabs[token]
