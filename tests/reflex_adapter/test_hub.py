"""The hub between streams and tabs, with a stand-in for Reflex and for the provider."""

from __future__ import annotations

from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Self, cast

import anyio
import pytest

pytest.importorskip("reflex", reason="the Reflex adapter needs: pip install 'durafold[reflex]'")

import reflex as rx

from durafold.errors import ConfigurationError
from durafold.provider import Provider
from durafold.reflex import connection
from durafold.reflex import hub as hub_module
from durafold.reflex import tabs as tabs_module
from durafold.reflex.hub import Hub
from durafold.reflex.last_states import LastStates
from durafold.reflex.specs import RoomSpec, StreamSpec
from durafold.state.models import PLAIN
from durafold.state.snapshot import Snapshot
from support.waiting import PATIENCE_S

pytestmark = pytest.mark.anyio


@pytest.fixture
def anyio_backend() -> str:
    return "asyncio"  # Reflex's own


@dataclass
class FakeHandle:
    """A stream's handle that changes when the test says so."""

    value: int = 0
    confirmed: int = 0
    status: str = "live"
    pending: int = 0
    offset: str = "0"
    error: Exception | None = None
    closed: bool = False
    listeners: list[Callable[[], None]] = field(default_factory=list)

    def snapshot(self) -> Snapshot[int]:
        return Snapshot(self.value, self.offset, 1, 1, {}, "fingerprint")

    def subscribe(self, callback: Callable[[], None], *, progress: bool) -> Callable[[], None]:
        assert progress, "the badge follows the status, too"
        self.listeners.append(callback)
        return lambda: self.listeners.remove(callback)

    def close(self) -> None:
        self.closed = True

    def change(self, value: int) -> None:
        self.value, self.offset = value, str(value)
        for callback in self.listeners:
            callback()


@dataclass
class FakeApp:
    """What the hub sees of a Reflex app: the sockets, and a lock per tab that refreshing has to wait for."""

    token_to_sid: dict[str, str] = field(default_factory=dict)
    refreshed: list[str] = field(default_factory=list)
    locks: dict[str, anyio.Lock] = field(default_factory=dict)
    broken: set[str] = field(default_factory=set)

    @property
    def event_namespace(self) -> FakeApp:
        return self

    def connect(self, *tabs: str) -> None:
        for tab in tabs:
            self.token_to_sid[tab] = f"sid of {tab}"
            self.locks[tab] = anyio.Lock()

    @asynccontextmanager
    async def modify_state(self, token: rx.BaseStateToken) -> AsyncIterator[None]:
        if token.ident in self.broken:
            raise RuntimeError("lost the lock")
        async with self.locks[token.ident]:
            yield
        self.refreshed.append(token.ident)


@dataclass
class FakeProvider:
    closed: bool = False

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(self, *exc_info: object) -> None:
        self.closed = True


def spec(handle: FakeHandle, key: str = "k", **changes: Any) -> StreamSpec:
    return StreamSpec(
        **{"key": key, "initial": 0, "model": PLAIN, "open": lambda *_: handle, "identity": 0} | changes
    )


class Running:
    """Runs a hub as the app would, with last states in a directory of the test."""

    def __init__(self, directory: Path) -> None:
        self.last_states = LastStates(directory, "http://localhost/v1/stream")

    def __call__(self, hub: Hub, app: FakeApp, provider: FakeProvider | None = None) -> Any:
        return hub.run(cast("rx.App", app), cast("Provider", provider or FakeProvider()), self.last_states)

    def kept(self, key: str) -> Any:
        """What is on disk of a stream's state; None if nothing is."""
        payload = self.last_states.load(key)
        return payload[key] if key in payload else None  # noqa: SIM401 - it is no dict


@pytest.fixture
def running(tmp_path: Path) -> Running:
    return Running(tmp_path / "cache")


async def settle() -> None:
    """Let every task run until it waits for something."""
    await anyio.wait_all_tasks_blocked()


async def until(condition: Callable[[], bool]) -> None:
    """Wait for something that a thread does."""
    with anyio.fail_after(PATIENCE_S):
        while not condition():
            await anyio.sleep(0.01)


async def test_a_change_refreshes_every_tab_that_joined(running: Running) -> None:
    hub, app, handle = Hub(), FakeApp(), FakeHandle()
    hub.declare(spec(handle))
    app.connect("a", "b", "never joined")

    async with running(hub, app):
        hub.read("k", "a")
        hub.read("k", "b")
        handle.change(1)
        await settle()

    assert sorted(app.refreshed) == ["a", "b"]


async def test_a_burst_of_changes_costs_a_waiting_tab_one_refresh_more(running: Running) -> None:
    hub, app, handle = Hub(), FakeApp(), FakeHandle()
    hub.declare(spec(handle))
    app.connect("a")

    async with running(hub, app):
        hub.read("k", "a")
        async with app.locks["a"]:
            handle.change(1)
            await settle()
            handle.change(2)
            handle.change(3)
        await settle()

    assert app.refreshed == ["a", "a"]


async def test_a_tab_whose_state_is_locked_delays_nobody_else(running: Running) -> None:
    hub, app, handle = Hub(), FakeApp(), FakeHandle()
    hub.declare(spec(handle))
    app.connect("slow", "quick")

    async with running(hub, app):
        hub.read("k", "slow")
        hub.read("k", "quick")
        async with app.locks["slow"]:
            handle.change(1)
            await settle()
            refreshed_meanwhile = list(app.refreshed)

    assert refreshed_meanwhile == ["quick"]


async def test_a_tab_that_went_away_is_forgotten_until_it_joins_again(running: Running) -> None:
    hub, app, handle = Hub(), FakeApp(), FakeHandle()
    hub.declare(spec(handle))
    app.connect("a")

    async with running(hub, app):
        hub.read("k", "a")
        del app.token_to_sid["a"]
        handle.change(1)
        await settle()
        app.connect("a")
        handle.change(2)
        await settle()
        assert app.refreshed == []

        hub.read("k", "a")
        handle.change(3)
        await settle()

    assert app.refreshed == ["a"]


async def test_tabs_that_went_away_leave_nothing_behind(running: Running) -> None:
    hub, app, handle = Hub(), FakeApp(), FakeHandle()
    hub.declare(spec(handle))
    app.connect("a", "b", "c")

    async with running(hub, app):
        hub.read("k", "a")
        hub.read("k", "b")
        app.token_to_sid.clear()
        app.connect("c")
        hub.read("k", "c")

        assert hub.tabs == {"c"}


async def test_a_tab_that_cannot_be_refreshed_is_reported_and_stops_nobody(
    running: Running, caplog: pytest.LogCaptureFixture
) -> None:
    hub, app, handle = Hub(), FakeApp(), FakeHandle()
    hub.declare(spec(handle))
    app.connect("broken", "fine")
    app.broken.add("broken")

    async with running(hub, app):
        hub.read("k", "broken")
        hub.read("k", "fine")
        handle.change(1)
        await settle()
        app.broken.clear()
        handle.change(2)
        await settle()

    assert sorted(app.refreshed) == ["broken", "fine", "fine"]
    assert "Could not refresh the tab broken" in caplog.text


async def test_when_the_app_stops_subscriptions_end_and_the_provider_closes(running: Running) -> None:
    hub, app, handle, provider = Hub(), FakeApp(), FakeHandle(), FakeProvider()
    hub.declare(spec(handle))

    async with running(hub, app, provider):
        assert hub.handle("k") is handle

    assert handle.listeners == []
    assert provider.closed
    with pytest.raises(ConfigurationError, match=r"mount\(app\)"):
        hub.handle("k")


class Rooms:
    """A hub with one declaration for many streams, whose handles are at hand by key."""

    def __init__(self) -> None:
        self.handles: dict[str, FakeHandle] = {}
        self.hub = Hub()
        self.hub.declare(spec(FakeHandle(), "rooms/[room]", open=self._open))

    def look(self, tab: str, room: object) -> Any:
        return self.hub.read("rooms/[room]", tab, {"room": room})

    def _open(self, _: Provider, key: str, parameters: object) -> Any:
        self.handles[key] = FakeHandle()
        return self.handles[key]


async def test_every_room_is_a_stream_and_a_change_refreshes_only_who_looks_at_it(running: Running) -> None:
    rooms, app = Rooms(), FakeApp()
    app.connect("a", "b", "c")

    async with running(rooms.hub, app):
        assert rooms.look("a", "red") is rooms.look("b", "red")
        assert rooms.look("c", "blue") is not rooms.look("a", "red")
        rooms.handles["rooms/red"].change(1)
        await settle()

    assert app.refreshed == ["a", "b"]


async def test_a_tab_that_moved_to_another_room_follows_that_one(running: Running) -> None:
    rooms, app = Rooms(), FakeApp()
    app.connect("a")

    async with running(rooms.hub, app):
        rooms.look("a", "red")
        rooms.look("a", "blue")
        rooms.handles["rooms/red"].change(1)
        await settle()
        assert app.refreshed == []
        rooms.handles["rooms/blue"].change(1)
        await settle()

    assert app.refreshed == ["a"]


async def test_a_room_is_closed_when_nobody_has_looked_at_it_for_a_while(
    running: Running, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(hub_module, "SWEEP_INTERVAL_S", 0.01)
    rooms, app = Rooms(), FakeApp()
    app.connect("a", "b")

    async with running(rooms.hub, app):
        rooms.look("a", "red")
        rooms.look("b", "blue")
        rooms.handles["rooms/red"].change(5)
        del app.token_to_sid["a"]
        await until(lambda: rooms.hub.keys == {"rooms/blue"})

    assert rooms.handles["rooms/red"].closed
    assert not rooms.handles["rooms/red"].listeners
    assert running.kept("rooms/red") == 5


async def test_a_tab_that_comes_while_its_idle_room_is_saved_gets_an_open_one(running: Running) -> None:
    rooms, app = Rooms(), FakeApp()
    app.connect("a", "b")

    async with running(rooms.hub, app):
        rooms.look("a", "red")
        idle = rooms.handles["rooms/red"]
        del app.token_to_sid["a"]
        await rooms.hub.sweep()
        async with anyio.create_task_group() as tasks:
            tasks.start_soon(rooms.hub.sweep)
            await anyio.sleep(0)  # now it is being saved
            rooms.look("b", "red")

        assert idle.closed
        assert rooms.handles["rooms/red"] is not idle
        assert not rooms.handles["rooms/red"].closed


async def test_a_room_is_not_closed_on_changes_that_are_not_saved_yet(running: Running) -> None:
    rooms, app = Rooms(), FakeApp()
    app.connect("a")

    async with running(rooms.hub, app):
        rooms.look("a", "red")
        rooms.handles["rooms/red"].pending = 1
        app.token_to_sid.clear()
        await rooms.hub.sweep()
        await rooms.hub.sweep()
        assert rooms.hub.keys == {"rooms/red"}


@pytest.mark.parametrize("room", [None, "", ".", "..", "a/b", "/", "a\n", 7, ["red"]])
async def test_an_address_that_names_no_room_opens_none(running: Running, room: object) -> None:
    rooms, app = Rooms(), FakeApp()
    app.connect("a")

    async with running(rooms.hub, app):
        assert rooms.look("a", room) is None
        with pytest.raises(ConfigurationError, match=r"does not say which 'rooms/\[room\]' is meant"):
            rooms.hub.handle("rooms/[room]", {"room": room})

    assert rooms.handles == {}


@dataclass
class FakeSeat(FakeHandle):
    """A tab's place in a room."""

    shown: str | None = None

    def set(self, value: str) -> None:
        self.shown = value


class Stage:
    """A hub with one room, whose watching handle and seats are at hand."""

    def __init__(self) -> None:
        self.watched = FakeHandle()
        self.seats: list[FakeSeat] = []
        self.hub = Hub()
        self.hub.declare(RoomSpec("stage/[act]", lambda *_: cast("Any", self.watched), (), self._join))

    def sit(self, tab: str, act: str = "1") -> FakeSeat:
        seat: Any = self.hub.sit("stage/[act]", tab, {"act": act}, lambda seat: seat.set(tab))
        return cast("FakeSeat", seat)

    def _join(self, *_: Any) -> Any:
        self.seats.append(FakeSeat())
        return self.seats[-1]


async def test_every_tab_has_one_seat_in_a_room_and_shows_something_at_once(running: Running) -> None:
    stage, app = Stage(), FakeApp()
    app.connect("a", "b")

    async with running(stage.hub, app):
        assert stage.sit("a") is stage.sit("a")
        assert stage.sit("b") is not stage.sit("a")

    assert [seat.shown for seat in stage.seats] == ["a", "b"]


async def test_a_tab_that_moves_to_another_room_leaves_the_first(running: Running) -> None:
    stage, app = Stage(), FakeApp()
    app.connect("a")

    async with running(stage.hub, app):
        first = stage.sit("a", "1")
        second = stage.sit("a", "2")

        assert (first.closed, second.closed) == (True, False)
        stage.hub.read("stage/[act]", "a", {})
        assert second.closed


async def test_a_tab_without_a_socket_for_a_moment_keeps_its_seat(running: Running) -> None:
    stage, app = Stage(), FakeApp()
    app.connect("a")

    async with running(stage.hub, app):
        seat = stage.sit("a")
        app.token_to_sid.clear()
        await stage.hub.sweep()
        app.connect("a")
        await stage.hub.sweep()

        assert stage.sit("a") is seat
        assert not seat.closed


async def test_a_tab_without_a_socket_for_longer_has_left(
    running: Running, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(tabs_module, "LEAVE_AFTER_S", 0.01)
    monkeypatch.setattr(hub_module, "LOOK_INTERVAL_S", 0.005)
    stage, app = Stage(), FakeApp()
    app.connect("a")

    async with running(stage.hub, app):
        seat = stage.sit("a")
        app.token_to_sid.clear()
        await until(lambda: seat.closed)

        assert stage.hub.tabs == frozenset()


async def test_many_changes_in_a_room_cost_its_tabs_two_refreshes(running: Running) -> None:
    stage, app = Stage(), FakeApp()
    app.connect("a")

    async with running(stage.hub, app):
        stage.sit("a")
        stage.watched.change(1)
        await until(lambda: app.refreshed == ["a"])
        stage.watched.change(2)
        stage.watched.change(3)
        stage.watched.change(4)
        await settle()
        await until(lambda: len(app.refreshed) > 1)

    assert app.refreshed == ["a", "a"]


async def test_a_tab_learns_that_a_stream_stays_away_and_that_it_is_back(
    running: Running, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(connection, "OFFLINE_AFTER_S", 0.01)
    monkeypatch.setattr(hub_module, "LOOK_INTERVAL_S", 0.005)
    hub, app, handle = Hub(), FakeApp(), FakeHandle()
    hub.declare(spec(handle))
    app.connect("a")

    async with running(hub, app):
        hub.read("k", "a")
        assert hub.connection("a").status == "live"
        handle.status = "reconnecting"
        handle.change(1)
        assert hub.connection("a").status == "reconnecting"
        await until(lambda: len(app.refreshed) == 2)
        assert hub.connection("a").status == "offline"
        handle.status = "live"
        handle.change(2)
        await settle()

        assert hub.connection("a").status == "live"
    assert app.refreshed == ["a", "a", "a"]
    assert hub.connection("a").status == "connecting"


async def test_a_room_that_is_refused_is_an_outage_for_those_in_it_only(running: Running) -> None:
    rooms, app = Rooms(), FakeApp()
    app.connect("a", "b")

    async with running(rooms.hub, app):
        rooms.look("a", "red")
        rooms.look("b", "blue")
        rooms.handles["rooms/red"].status = "closed"

        assert rooms.hub.connection("a").status == "offline"
        assert rooms.hub.connection("b").status == "live"


def test_a_key_declared_twice_alike_is_one_stream() -> None:
    hub = Hub()

    hub.declare(spec(FakeHandle()))
    hub.declare(spec(FakeHandle()))


def test_a_key_declared_with_another_default_is_refused() -> None:
    hub = Hub()
    hub.declare(spec(FakeHandle()))

    with pytest.raises(ConfigurationError, match="declared twice"):
        hub.declare(spec(FakeHandle(), identity=1))


async def test_a_stream_declared_while_the_app_runs_is_refused(running: Running) -> None:
    hub = Hub()

    async with running(hub, FakeApp()):
        with pytest.raises(ConfigurationError, match="module level"):
            hub.declare(spec(FakeHandle()))


async def test_a_change_is_on_disk_while_the_app_runs(running: Running) -> None:
    hub, app, handle = Hub(), FakeApp(), FakeHandle()
    hub.declare(spec(handle))

    async with running(hub, app):
        handle.change(7)

        await until(lambda: running.kept("k") == 7)


async def test_what_changed_last_is_on_disk_when_the_app_stops(running: Running) -> None:
    hub, app, handle = Hub(), FakeApp(), FakeHandle()
    hub.declare(spec(handle))

    async with running(hub, app):
        handle.change(7)
        await until(lambda: running.kept("k") == 7)
        handle.change(8)

    assert running.kept("k") == 8


async def test_an_app_that_is_mounted_twice_is_refused(running: Running) -> None:
    hub = Hub()

    async with running(hub, FakeApp()):
        with pytest.raises(ConfigurationError, match="mounted twice"):
            async with running(hub, FakeApp()):
                pass


async def test_a_declaration_that_the_provider_refuses_ends_the_start_with_its_own_error(
    running: Running,
) -> None:
    def refuse(*_: object) -> Any:
        raise ConfigurationError("no such key")

    hub, provider = Hub(), FakeProvider()
    hub.declare(spec(FakeHandle(), open=refuse))

    with pytest.raises(ConfigurationError, match="no such key"):
        async with running(hub, FakeApp(), provider):
            pass

    assert provider.closed
