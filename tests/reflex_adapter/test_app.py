"""The adapter in a running app with a real stream server: the demo's backend, and tabs without a browser."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import ExitStack
from pathlib import Path

import pytest

pytest.importorskip("reflex", reason="the Reflex adapter needs: pip install 'durafold[reflex]'")
pytest.importorskip("websockets", reason="these tests speak Reflex's protocol with: pip install websockets")

from durafold.reflex.last_states import LastStates
from durafold.testing import ServerProcess
from support.ports import free_port
from support.reflex_app import ReflexApp
from support.reflex_tab import ReflexTab

pytestmark = pytest.mark.xdist_group("reflex_app")

MODULE = "reflex_demo.reflex_demo"


@pytest.fixture
def streams(tmp_path: Path) -> Iterator[ServerProcess]:
    with ServerProcess(tmp_path / "streams", port=free_port()) as server:
        yield server


@pytest.fixture
def app(streams: ServerProcess, tmp_path: Path) -> Iterator[ReflexApp]:
    with ReflexApp(streams.url, tmp_path / "app") as app:
        yield app


@pytest.fixture
def tabs(app: ReflexApp) -> Iterator[tuple[ReflexTab, ReflexTab]]:
    with ExitStack() as stack:
        yield stack.enter_context(ReflexTab(app.url, MODULE)), stack.enter_context(ReflexTab(app.url, MODULE))


def test_a_change_in_one_tab_reaches_the_other(tabs: tuple[ReflexTab, ReflexTab]) -> None:
    here, there = tabs

    here.send("DemoCounter.increment", by=2)
    here.send("DemoTodos.dispatch", action={"type": "add", "text": "milk"})

    there.wait_for(lambda: there.shown["DemoCounter.value"] == 2)
    there.wait_for(
        lambda: there.shown["Page.unsaved"] == [] and there.shown["DemoTodos.value"]["todos"] != []
    )
    assert there.shown["DemoTodos.value"] == {
        "todos": [{"id": 1, "text": "milk", "done": False}],
        "next_id": 2,
    }


def test_what_no_action_looks_like_is_refused_with_a_toast_and_changes_nothing(
    tabs: tuple[ReflexTab, ReflexTab],
) -> None:
    here, there = tabs

    here.send("DemoTodos.dispatch", action={"type": "add", "text": " "})
    here.wait_for(lambda: "at least 1 character" in "".join(here.toasts))
    here.send("DemoTodos.dispatch", action={"type": "drop table"})
    here.wait_for(lambda: len(here.toasts) == 2)
    here.send("DemoCounter.set_value", value="many")
    here.wait_for(lambda: len(here.toasts) == 3)

    here.send("DemoCounter.increment", by=1)
    there.wait_for(lambda: there.shown["DemoCounter.value"] == 1)
    assert there.shown["DemoTodos.value"]["todos"] == []


def test_a_tab_that_comes_back_has_the_current_state_in_its_first_frame(app: ReflexApp) -> None:
    with ReflexTab(app.url, MODULE) as other:
        with ReflexTab(app.url, MODULE) as tab:
            token = tab.token
        other.send("DemoCounter.increment", by=7)
        other.wait_for(
            lambda: other.shown["DemoCounter.value"] == 7 and other.shown["DemoCounter.pending"] == 0
        )

        with ReflexTab(app.url, MODULE, token=token) as tab:
            assert tab.updates[0]["DemoCounter.value"] == 7

            other.send("DemoCounter.increment", by=1)
            tab.wait_for(lambda: tab.shown["DemoCounter.value"] == 8)


def test_a_tab_gets_no_frame_when_nothing_it_shows_changed(tabs: tuple[ReflexTab, ReflexTab]) -> None:
    here, there = tabs
    here.send("DemoTodos.dispatch", action={"type": "add", "text": "milk"})
    there.wait_for(
        lambda: there.shown["DemoTodos.value"]["todos"] != [] and there.shown["DemoTodos.pending"] == 0
    )
    seen = len(there.updates)

    here.send("DemoTodos.dispatch", action={"type": "toggle", "id": 1})
    there.wait_for(lambda: there.shown["DemoTodos.value"]["todos"][0]["done"])

    assert all("DemoCounter.value" not in update for update in there.updates[seen:])


def test_tabs_show_reconnecting_while_the_stream_server_is_down_and_recover_alone(
    tabs: tuple[ReflexTab, ReflexTab], streams: ServerProcess
) -> None:
    here, there = tabs

    streams.kill()
    there.wait_for(lambda: there.shown["DemoCounter.status"] == "reconnecting")
    here.send("DemoCounter.increment", by=3)
    there.wait_for(lambda: (there.shown["DemoCounter.value"], there.shown["DemoCounter.pending"]) == (3, 1))
    streams.start()

    there.wait_for(lambda: there.shown["DemoCounter.status"] == "live")
    there.wait_for(lambda: (there.shown["DemoCounter.value"], there.shown["DemoCounter.pending"]) == (3, 0))


def test_the_app_starts_before_the_stream_server(tmp_path: Path) -> None:
    with ServerProcess(tmp_path / "streams", port=free_port()) as streams:
        streams.kill()
        with ReflexApp(streams.url, tmp_path / "app") as app, ReflexTab(app.url, MODULE) as tab:
            assert tab.shown["DemoCounter.status"] != "live"
            assert tab.shown["DemoCounter.value"] == 0

            streams.start()

            tab.wait_for(lambda: tab.shown["DemoCounter.status"] == "live")


@pytest.mark.crash
def test_an_app_killed_and_started_without_the_stream_server_shows_its_last_state(
    app: ReflexApp, streams: ServerProcess, tmp_path: Path
) -> None:
    with ReflexTab(app.url, MODULE) as tab:
        tab.send("DemoTodos.dispatch", action={"type": "add", "text": "milk"})
        tab.send("DemoCounter.increment", by=5)
        tab.wait_for(lambda: tab.shown["DemoCounter.value"] == 5 and tab.shown["DemoCounter.pending"] == 0)
        tab.wait_for(lambda: kept(streams, tmp_path, "demo/counter") == 5)
        tab.wait_for(lambda: kept(streams, tmp_path, "demo/todos") is not None)

    app.kill()
    streams.kill()
    app.start()

    with ReflexTab(app.url, MODULE) as tab:
        assert tab.updates[0]["DemoCounter.value"] == 5
        assert tab.updates[0]["DemoTodos.value"]["todos"] == [{"id": 1, "text": "milk", "done": False}]
        assert tab.updates[0]["DemoCounter.status"] == "reconnecting"
        streams.start()
        tab.wait_for(lambda: tab.shown["DemoCounter.status"] == "live")
        assert tab.shown["DemoCounter.value"] == 5


def kept(streams: ServerProcess, directory: Path, key: str) -> object:
    """The state of a stream that is on disk, if any."""
    payload = LastStates(directory / "app" / "cache", streams.url).load(key)
    return payload[key] if key in payload else None  # noqa: SIM401 - it is no dict
