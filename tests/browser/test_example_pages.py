"""What only a browser can show of the examples: dragging, drawing, a page that outlives its server."""

from __future__ import annotations

import signal
from collections.abc import Iterator
from pathlib import Path

import pytest

pytest.importorskip("reflex", reason="EXAMPLES WERE NOT TESTED IN A BROWSER: pip install 'durafold[reflex]'")
pytest.importorskip("selenium", reason="EXAMPLES WERE NOT TESTED IN A BROWSER: pip install selenium")

from selenium.webdriver import Keys

from support.browser_page import Page
from support.examples import EXAMPLES, web_app
from support.ports import free_port
from support.reflex_app import ReflexApp
from support.windows import require_chromium

pytestmark = [
    pytest.mark.browser,
    pytest.mark.timeout(420),  # the first build of the pages installs its packages
    pytest.mark.xdist_group("example_pages"),
]


@pytest.fixture
def app(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[ReflexApp]:
    """An example by its name, with its pages."""
    require_chromium()
    source = EXAMPLES / request.param
    with ReflexApp(f"http://127.0.0.1:{free_port()}/v1/stream", tmp_path, pages=True, source=source) as app:
        yield app


def texts(page: Page) -> list[str]:
    return [element.text for element in page.all("li[data-id] .text")]


def nameless_buttons(page: Page) -> list[str]:
    """Buttons that a screen reader has no name for."""
    return [
        str(button.get_property("outerHTML")) for button in page.all("button") if not button.accessible_name
    ]


def add(page: Page, *new: str) -> None:
    page.wait_for(lambda: bool(page.all(".empty, li[data-id]")))
    page.one("#new-todo").send_keys(*[text + Keys.ENTER for text in new])
    page.wait_for(lambda: texts(page) == list(new))


@pytest.mark.parametrize("app", ["todo"], indirect=True)
def test_todos_are_put_in_order_by_mouse_finger_and_keys_until_the_app_is_away(app: ReflexApp) -> None:
    with Page(app.url) as here, Page(app.url, width=390, dark=True) as there:
        add(here, "a", "b", "c", "d")

        here.press_at(here.all(".grip")[0], (0, 30), (0, 30), (0, 40))
        here.screenshot("todo-dragging")
        here.release()
        there.wait_for(lambda: texts(there) == ["b", "c", "a", "d"])
        here.wait_for(lambda: texts(here) == ["b", "c", "a", "d"] and not here.all("[data-dragging]"))

        there.swipe(there.all(".grip")[1], down_px=110)
        here.wait_for(lambda: texts(here) == ["b", "a", "d", "c"])

        here.all(".grip")[3].send_keys(Keys.ARROW_UP)
        there.wait_for(lambda: texts(there) == ["b", "a", "c", "d"])
        here.wait_for(lambda: here.one(".said").get_attribute("textContent") == "Place 3 of 4")
        here.focused.send_keys(Keys.ARROW_UP)
        there.wait_for(lambda: texts(there) == ["b", "c", "a", "d"])

        there.screenshot("todo-phone")
        assert nameless_buttons(there) == []
        assert (here.errors(), there.errors()) == ([], [])

        app.kill()
        here.wait_for(lambda: here.one(".banner").text.startswith("No connection to the app."))


@pytest.mark.parametrize("app", ["whiteboard"], indirect=True)
def test_a_line_shows_while_it_is_drawn_and_is_kept_and_undone_as_a_whole(app: ReflexApp) -> None:
    room = f"{app.url}/board/lines"
    with Page(room) as here, Page(room, dark=True) as there:
        here.wait_for(lambda: here.one(".people .count").text == "2 people here")
        here.press_at(here.one(".paper svg"), (40, 20), (40, -60), (40, 20), (40, 40))
        there.wait_for(lambda: len(there.all(".stroke")) == 1 and len(there.all(".cursor")) == 1)
        there.screenshot("whiteboard-drawing")
        assert here.one("#undo").get_attribute("disabled")

        here.release()
        here.wait_for(lambda: not here.one("#undo").get_attribute("disabled"))
        there.reload()
        there.wait_for(lambda: len(there.all(".stroke")) == 1)
        with Page(room, width=390) as phone:
            phone.wait_for(lambda: 0 < phone.one(".stroke").rect["x"] < 390)
            assert nameless_buttons(phone) == []

        here.one("#undo").click()
        there.wait_for(lambda: there.all(".shape") == [])
        here.wait_for(lambda: here.all(".shape") == [])
        assert (here.errors(), there.errors()) == ([], [])


def test_an_open_chat_learns_that_its_answer_was_stopped_and_takes_the_next_question(tmp_path: Path) -> None:
    require_chromium()
    port = free_port()
    program = EXAMPLES / "ai_chat" / "app.py"
    with (
        web_app(program, tmp_path, port, PAUSE_S="0.2") as first,
        Page(f"http://127.0.0.1:{port}/c/test") as page,
    ):
        page.wait_for(lambda: page.one("#state").text == "Live")
        page.one("input").send_keys("Why?" + Keys.ENTER)
        page.wait_for(lambda: page.one(".answer").text.startswith("You asked"))
        first.end(signal.SIGKILL)
        page.wait_for(lambda: page.one("#state").text == "Reconnecting…")

        with web_app(program, tmp_path, port):
            page.wait_for(lambda: "was stopped" in page.one(".failed").text)
            page.one("input").send_keys("And why?" + Keys.ENTER)
            page.wait_for(lambda: len(page.all(".answer")) == 2 and page.one("button").is_enabled())


def test_a_job_that_cannot_be_added_stays_in_the_field_and_the_page_says_why(tmp_path: Path) -> None:
    require_chromium()
    port = free_port()
    program = EXAMPLES / "fastapi_embed" / "app.py"
    with web_app(program, tmp_path, port) as first, Page(f"http://127.0.0.1:{port}/") as page:
        page.wait_for(lambda: page.one("#state").text.startswith("Live"))
        first.end(signal.SIGKILL)
        page.wait_for(lambda: page.one("#state").text == "Reconnecting…")
        page.one("input").send_keys("print" + Keys.ENTER)
        page.wait_for(lambda: page.one("#state").text == "Not added: the server cannot be reached")

        with web_app(program, tmp_path, port):
            page.wait_for(lambda: page.one("#state").text.startswith("Live"))
            page.one("input").send_keys(Keys.ENTER)
            page.wait_for(lambda: [job.text for job in page.all("li span:first-child")] == ["print"])
