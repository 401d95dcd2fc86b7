"""One process, one engine per stream, any number of browser tabs.

The hub opens what is declared when the app starts, hands out its current state, and tells each connected tab
to refresh when something that it looks at changed. Nothing here opens anything at import: in production
Reflex imports the app once and forks its worker from that process.

What has parameters in its key (`rooms/[room]`) is opened when the first tab looks at it, and closed some time
after the last one has left.

People in rooms change all the time, as when they move a mouse. Tabs hear of a stream at once and of a room
from time to time, so that a crowd takes a part of a processor and not all of it.
"""

from __future__ import annotations

from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from types import MappingProxyType
from typing import Any, Final, cast

import anyio
import anyio.to_thread
import reflex as rx
from anyio.abc import TaskGroup

from durafold.engine import Handle, Reading
from durafold.errors import ConfigurationError
from durafold.hydrate import HydrationBoundary
from durafold.presence import Presence
from durafold.provider import Provider
from durafold.reflex import connection
from durafold.reflex.connection import CONNECTING, Connection, connection_of, is_lost
from durafold.reflex.last_states import LastStates
from durafold.reflex.specs import DerivedSpec, Parameters, RoomSpec, Spec, StreamSpec
from durafold.reflex.tabs import Tabs

__all__ = ["Hub"]

SAVE_INTERVAL_S: Final = 1.0
"""How far the last states on disk may be behind what pages show."""

SWEEP_INTERVAL_S: Final = 30.0
"""How often gone tabs are looked for. What has parameters outlives its last tab by up to twice this."""

LOOK_INTERVAL_S: Final = 0.5
"""How often it is checked who has left a room, and which streams stay away."""

ROOM_INTERVAL_S: Final = 0.05
"""The least time between two refreshes of a tab because of the people in a room."""

ROOM_INTERVAL_PER_TAB_S: Final = 0.004
"""The same for each of many tabs: twice what refreshing one takes, so rooms take half a processor at most."""

_NONE: Final[Parameters] = MappingProxyType({})


@dataclass(slots=True)
class _Open:
    """Something declared that is open.

    Attributes:
        was_idle: nobody looked at it when it was last checked.
        is_news: tabs have not heard of its last change.
        is_telling: its changes are being told from time to time.
        lost_since_s: since when it has not been followed, if it is not.
        is_long_lost: tabs were told that it stays so.
    """

    reading: Reading[Any]
    spec: Spec
    unsubscribe: Callable[[], None]
    was_idle: bool = False
    is_news: bool = False
    is_telling: bool = False
    lost_since_s: float | None = None
    is_long_lost: bool = False

    @property
    def stream(self) -> Handle[Any] | None:
        """The handle of a stream, if it is one."""
        return cast("Handle[Any]", self.reading) if isinstance(self.spec, StreamSpec) else None

    @property
    def pending(self) -> int:
        """How much that was done with it is not confirmed yet."""
        return self.stream.pending if self.stream is not None else 0

    def close(self) -> None:
        self.unsubscribe()
        self.reading.close()


@dataclass(slots=True)
class _Running:
    """What there is only while the app runs."""

    tasks: TaskGroup
    tabs: Tabs
    provider: Provider
    last_states: LastStates
    opened: dict[str, _Open] = field(default_factory=dict)
    unsaved: set[str] = field(default_factory=set)
    has_unsaved: anyio.Event = field(default_factory=anyio.Event)


class Hub:
    """What one Reflex app declares, and the tabs that look at it."""

    def __init__(self) -> None:
        self._specs: dict[str, Spec] = {}
        self._running: _Running | None = None

    def declare(self, spec: Spec) -> None:
        """Register something declared. The same key may be declared again if both declarations agree.

        Raises:
            ConfigurationError: the key was declared with another default or reducer, or the app runs already.
        """
        if self._running is not None:
            raise ConfigurationError(
                f"{spec.key!r} was declared while the app runs",
                hint="Call use_server_state, use_server_reducer and use_presence at module level",
            )
        if self._specs.setdefault(spec.key, spec).identity != spec.identity:
            raise ConfigurationError(
                f"{spec.key!r} is declared twice, with different defaults or reducers",
                hint="Declare it once and import that, or give one of them another key",
            )

    @property
    def tabs(self) -> frozenset[str]:
        """Client tokens of the tabs that are refreshed when something changes."""
        return self._running.tabs.tokens if self._running else frozenset()

    @property
    def keys(self) -> frozenset[str]:
        """Keys of what is open."""
        return frozenset(self._running.opened) if self._running else frozenset()

    def handle(self, key: str, parameters: Parameters = _NONE) -> Any:
        """What is open for a declaration.

        Args:
            key: as it was declared.
            parameters: of the page that the tab shows.

        Raises:
            ConfigurationError: the app does not run, or was never mounted; or the page's address does not
                say which one is meant.
        """
        running, spec = self._require_running(key), self._specs[key]
        return _opened(running, spec, _required_key(spec, parameters), parameters).reading

    def read(self, key: str, tab: str, parameters: Parameters = _NONE) -> Any:
        """What a var reads; from now on the tab that asks is refreshed when it changes.

        Args:
            key: of a declaration, as it was declared.
            tab: client token; empty if nobody asks, as when Reflex sets states up.
            parameters: of the page that the tab shows.

        Returns:
            None while no app runs, as when Reflex builds the pages; and for a page whose address does not
            say which one is meant.
        """
        running = self._running
        if running is None:
            return None
        spec = self._specs[key]
        actual = spec.key_for(parameters)
        if tab:
            running.tabs.look(tab, key, actual)
        if actual is None or (not tab and actual not in running.opened):
            return None
        return _opened(running, spec, actual, parameters).reading

    def sit(
        self, key: str, tab: str, parameters: Parameters, show: Callable[[Presence[Any]], None]
    ) -> Presence[Any]:
        """The place of a tab in the room that it looks at.

        Args:
            key: of a declared room, as it was declared.
            tab: client token.
            parameters: of the page that the tab shows.
            show: is called with a place that was taken just now.

        Raises:
            ConfigurationError: the app does not run, or was never mounted; or the page's address does not
                say which room is meant.
        """
        running, spec = self._require_running(key), self._specs[key]
        actual = _required_key(spec, parameters)
        self.read(key, tab, parameters)

        def join() -> Presence[Any]:
            seat = cast("RoomSpec", spec).join(running.provider, actual)
            show(seat)
            return seat

        return running.tabs.seat(tab, key, join)

    def connection(self, tab: str) -> Connection:
        """How a tab stands with the streams that it looks at, and with those that every tab does."""
        running = self._running
        if running is None:
            return CONNECTING
        looked_at = running.tabs.looked_at(tab)
        followed = [
            opened
            for key, opened in running.opened.items()
            if not isinstance(opened.spec, DerivedSpec) and (key in looked_at or not opened.spec.parameters)
        ]
        now_s = anyio.current_time()
        return connection_of(
            [opened.reading for opened in followed],
            lost_for_s=max((now_s - (opened.lost_since_s or now_s) for opened in followed), default=0),
            pending=sum(opened.pending for opened in followed),
        )

    @asynccontextmanager
    async def run(self, app: rx.App, provider: Provider, last_states: LastStates) -> AsyncIterator[None]:
        """Keep everything declared open while the app runs.

        Does not wait for the stream server: until it answers, pages show the last or the initial states.

        Raises:
            ConfigurationError: it runs already, or the provider refuses a declaration.
        """
        if self._running is not None:
            raise ConfigurationError("The app is mounted twice", hint="Call durafold.reflex.mount(app) once")
        async with provider:
            tasks = anyio.create_task_group()
            running = _Running(tasks, Tabs(app, tasks), provider, last_states)
            for spec in self._specs.values():
                if not spec.parameters:
                    _open(running, spec, spec.key, _NONE)
            async with tasks:
                self._running = running
                for opened in running.opened.values():
                    _note_loss(opened)
                tasks.start_soon(_save_now_and_then, running)
                tasks.start_soon(_look_around, running)
                tasks.start_soon(self._sweep_now_and_then)
                try:
                    yield
                finally:
                    self._running = None
                    tasks.cancel_scope.cancel()
                    for opened in running.opened.values():
                        opened.unsubscribe()
                    with anyio.CancelScope(shield=True):
                        await _save(running, list(running.opened))

    async def sweep(self) -> None:
        """Forget tabs that are gone, and close what was idle at the last sweep, too."""
        if self._running is not None:
            self._running.tabs.forget_gone()
            await _close_idle(self._running)

    async def _sweep_now_and_then(self) -> None:
        while True:
            await anyio.sleep(SWEEP_INTERVAL_S)
            await self.sweep()

    def _require_running(self, key: str) -> _Running:
        if self._running is None:
            raise ConfigurationError(
                f"{key!r} is not open", hint="Call durafold.reflex.mount(app) once, where the app is made"
            )
        return self._running


def _required_key(spec: Spec, parameters: Parameters) -> str:
    actual = spec.key_for(parameters)
    if actual is None:
        raise ConfigurationError(
            f"The address of the page does not say which {spec.key!r} is meant",
            hint=f"Give the page a route with {' and '.join(f'[{name}]' for name in spec.parameters)},"
            " or sign in where the app fills it in",
        )
    return actual


def _opened(running: _Running, spec: Spec, key: str, parameters: Parameters) -> _Open:
    """What is open under a key, opened now if it is not."""
    opened = running.opened.get(key)
    if opened is None:
        opened = _open(running, spec, key, parameters)
        _note_loss(opened)
    return opened


def _open(running: _Running, spec: Spec, key: str, parameters: Parameters) -> _Open:
    with HydrationBoundary(running.last_states.load(key)):
        reading = spec.open(running.provider, key, parameters)
    changed = _room_changed if isinstance(spec, RoomSpec) else _stream_changed
    unsubscribe = reading.subscribe(lambda: changed(running, key), progress=True)
    opened = running.opened[key] = _Open(reading, spec, unsubscribe)
    return opened


def _note_loss(opened: _Open) -> None:
    """Remember since when something is not followed."""
    if not is_lost(opened.reading):
        opened.lost_since_s = None
    elif opened.lost_since_s is None:
        opened.lost_since_s, opened.is_long_lost = anyio.current_time(), False


def _stream_changed(running: _Running, key: str) -> None:
    if (opened := running.opened.get(key)) is not None:
        _note_loss(opened)
    running.unsaved.add(key)
    running.has_unsaved.set()
    running.tabs.tell(key)


def _room_changed(running: _Running, key: str) -> None:
    if (room := running.opened.get(key)) is None:
        return
    _note_loss(room)
    room.is_news = True
    if not room.is_telling:
        room.is_telling = True
        running.tasks.start_soon(_tell_from_time_to_time, running, key, room)


async def _tell_from_time_to_time(running: _Running, key: str, room: _Open) -> None:
    while room.is_news:
        room.is_news = False
        tabs = running.tabs.tell(key)
        await anyio.sleep(max(ROOM_INTERVAL_S, tabs * ROOM_INTERVAL_PER_TAB_S))
    room.is_telling = False


async def _look_around(running: _Running) -> None:
    """Find who has left a room, and which streams stay away; neither is told of by anybody."""
    while True:
        await anyio.sleep(LOOK_INTERVAL_S)
        if running.tabs.have_seats:
            running.tabs.forget_gone()
        long_ago_s = anyio.current_time() - connection.OFFLINE_AFTER_S
        for key, opened in list(running.opened.items()):
            is_long_lost = opened.lost_since_s is not None and opened.lost_since_s <= long_ago_s
            if is_long_lost and not opened.is_long_lost:
                opened.is_long_lost = True
                running.tabs.tell(key)


async def _save_now_and_then(running: _Running) -> None:
    while True:
        await running.has_unsaved.wait()
        running.has_unsaved = anyio.Event()
        keys, running.unsaved = running.unsaved, set()
        await _save(running, list(keys))
        await anyio.sleep(SAVE_INTERVAL_S)


async def _save(running: _Running, keys: list[str]) -> None:
    for key in keys:
        if (opened := running.opened.get(key)) is not None:
            await _save_one(running, key, opened)


async def _save_one(running: _Running, key: str, opened: _Open) -> None:
    """Keep the state of a stream; there is nothing to keep of anything else."""
    if isinstance(opened.spec, StreamSpec) and opened.stream is not None:
        snapshot, model = opened.stream.snapshot(), opened.spec.model
        await anyio.to_thread.run_sync(running.last_states.save, key, snapshot, model)


async def _close_idle(running: _Running) -> None:
    """Close what nobody looked at for a whole interval."""
    wanted = running.tabs.wanted
    for key, opened in list(running.opened.items()):
        is_idle = bool(opened.spec.parameters) and key not in wanted and not opened.pending
        if is_idle and opened.was_idle:
            # First, so that a tab which comes while it is saved opens it anew, and gets no closed one.
            del running.opened[key]
            try:
                await _save_one(running, key, opened)
            finally:
                opened.close()
        opened.was_idle = is_idle
