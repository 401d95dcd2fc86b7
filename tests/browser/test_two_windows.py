"""The demo in two real browsers: what a person sees who opens it twice."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import ExitStack
from pathlib import Path

import pytest

pytest.importorskip("reflex", reason="THE DEMO WAS NOT TESTED IN A BROWSER: pip install 'durafold[reflex]'")
pytest.importorskip("selenium", reason="THE DEMO WAS NOT TESTED IN A BROWSER: pip install selenium")

from durafold.testing import ServerProcess
from support.ports import free_port
from support.reflex_app import ReflexApp
from support.windows import Row, Window, require_chromium

pytestmark = [
    pytest.mark.browser,
    pytest.mark.timeout(420),  # the first build of the pages installs its packages
    pytest.mark.xdist_group("two_windows"),
]


@pytest.fixture(scope="module")
def directory(tmp_path_factory: pytest.TempPathFactory) -> Path:
    require_chromium()
    return tmp_path_factory.mktemp("demo")


@pytest.fixture(scope="module")
def streams(directory: Path) -> Iterator[ServerProcess]:
    with ServerProcess(directory / "streams", port=free_port()) as server:
        yield server


@pytest.fixture(scope="module")
def app(streams: ServerProcess, directory: Path) -> Iterator[ReflexApp]:
    with ReflexApp(streams.url, directory / "app", pages=True) as app:
        yield app


@pytest.fixture
def windows(app: ReflexApp) -> Iterator[tuple[Window, Window]]:
    with ExitStack() as stack:
        first, second = Window(app.url), Window(app.url)
        yield stack.enter_context(first), stack.enter_context(second)


def increased(count: str) -> str:
    return str(int(count) + 1)


def test_a_click_in_one_window_shows_in_the_other(windows: tuple[Window, Window]) -> None:
    here, there = windows
    expected = increased(there.count)

    here.press("Increase")

    there.wait_for(lambda: there.count == expected)
    here.wait_for(lambda: here.count == expected)
    assert (here.errors(), there.errors()) == ([], [])


def test_todos_added_toggled_and_removed_in_one_window_follow_in_the_other(
    windows: tuple[Window, Window],
) -> None:
    here, there = windows

    here.add("Water the tomatoes")
    there.wait_for(lambda: Row("Water the tomatoes") in there.todos)

    here.toggle("Water the tomatoes")
    there.wait_for(lambda: Row("Water the tomatoes", done=True) in there.todos)

    here.remove("Water the tomatoes")
    there.wait_for(lambda: "Water the tomatoes" not in [row.text for row in there.todos])

    assert (here.errors(), there.errors()) == ([], [])


def test_a_reload_keeps_everything(windows: tuple[Window, Window]) -> None:
    here, _ = windows
    expected = increased(here.count)
    here.add("Book the ferry to Tjøme")
    here.press("Increase")
    here.wait_for(lambda: Row("Book the ferry to Tjøme") in here.todos and here.count == expected)
    before = here.count, here.todos

    here.reload()

    assert (here.count, here.todos) == before
    assert here.errors() == []


def test_windows_outlive_a_killed_stream_server_without_a_reload(
    windows: tuple[Window, Window], streams: ServerProcess
) -> None:
    here, there = windows
    here.add("Buy film for the camera")
    there.wait_for(lambda: Row("Buy film for the camera") in there.todos)
    expected = increased(here.count)

    streams.kill()
    here.wait_for(lambda: here.status.startswith("Reconnecting"))
    here.press("Increase")
    here.add("Ask Nadia about the tent")
    there.wait_for(lambda: Row("Ask Nadia about the tent", unsaved=True) in there.todos)
    there.wait_for(lambda: there.status == "Reconnecting…\n2 unsaved")
    there.screenshot("reconnecting")
    streams.start()

    here.wait_for(lambda: here.status == "Live")
    here.wait_for(lambda: here.count == expected)
    there.wait_for(lambda: there.count == expected)
    there.wait_for(lambda: Row("Ask Nadia about the tent") in there.todos)
    there.wait_for(lambda: Row("Buy film for the camera") in there.todos)
    assert (here.errors(), there.errors()) == ([], [])


def test_the_app_starts_with_its_last_state_while_the_stream_server_is_down(
    app: ReflexApp, streams: ServerProcess
) -> None:
    with Window(app.url) as window:
        window.add("Fix the broken pole")
        window.wait_for(lambda: Row("Fix the broken pole") in window.todos)
        before = window.count, window.todos

    app.stop()
    streams.kill()
    app.start()

    with Window(app.url) as window:
        assert window.status.startswith("Reconnecting")
        assert (window.count, window.todos) == before
        streams.start()
        window.wait_for(lambda: window.status == "Live")
        assert (window.count, window.todos) == before
        assert window.errors() == []


def test_the_page_looks_right_in_every_size_and_scheme(app: ReflexApp) -> None:
    """For the eye: the pictures are in test-output/browser."""
    with Window(app.url) as desktop, Window(app.url, width=390, height=844, dark=True) as phone:
        desktop.add("Send the pictures round")
        phone.wait_for(lambda: Row("Send the pictures round") in phone.todos)
        desktop.screenshot("desktop-light")
        phone.screenshot("phone-dark")

    with Window(app.url, dark=True) as desktop, Window(app.url, width=390, height=844) as phone:
        desktop.screenshot("desktop-dark")
        phone.screenshot("phone-light")
        assert phone.overflow_px == 0
