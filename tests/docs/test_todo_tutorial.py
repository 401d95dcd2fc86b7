"""The tutorial "A todo list with undo", followed with the files and command lines that it prints."""

from __future__ import annotations

from pathlib import Path
from typing import Any, Final

import pytest

pytest.importorskip("reflex", reason="the tutorial's page needs: pip install 'durafold[reflex]'")
pytest.importorskip("websockets", reason="these tests speak Reflex's protocol with: pip install websockets")

from durafold.testing import ServerProcess
from support.pages import Shell, files, write_files
from support.ports import free_port
from support.reflex_app import ReflexApp
from support.reflex_tab import ReflexTab

PAGE: Final = "tutorial/a-todo-list-with-undo.md"


@pytest.mark.timeout(300)
@pytest.mark.usefixtures("reader")
def test_every_command_prints_what_the_page_shows(
    durable_server: ServerProcess, tmp_path: Path, shell: Shell
) -> None:
    write_files(PAGE, tmp_path, server_url=durable_server.url)

    assert shell.differing(PAGE) == []


@pytest.mark.xdist_group("reflex_app")
def test_two_windows_share_the_list_and_each_undoes_its_own(tmp_path: Path) -> None:
    source = tmp_path / "todo-list"
    source.mkdir()
    write_files(PAGE, source)
    streams = f"http://127.0.0.1:{free_port()}/v1/stream"

    with (
        ReflexApp(streams, tmp_path / "run", source=source) as app,
        ReflexTab(app.url, "page") as here,
        ReflexTab(app.url, "page") as there,
    ):
        here.wait_for(lambda: here.shown["TodoList.status"] == "live")
        here.send("TodoList.Page.add", form={"text": "apples"})
        there.wait_for(lambda: texts(there) == [("apples", False)])
        there.send("TodoList.Page.add", form={"text": "coffee"})
        here.wait_for(lambda: texts(here) == [("apples", False), ("coffee", False)])
        here.send("TodoList.undo")
        there.wait_for(lambda: texts(there) == [("coffee", False)])

        here.send("TodoList.Page.add", form={"text": "coffee"})

        here.wait_for(lambda: any("is on the list already" in toast for toast in here.toasts))


def texts(tab: ReflexTab) -> list[tuple[str, bool]]:
    """The rows that a tab shows, and whether each is being saved."""
    rows: list[dict[str, Any]] = tab.shown["Page.rows"]
    return [(row["text"], row["is_saving"]) for row in rows]


def test_the_page_has_all_files_that_it_tells_of() -> None:
    assert list(files(PAGE)) == [
        "todos.py",
        "conftest.py",
        "test_todos.py",
        "shopping.py",
        "load.py",
        "rxconfig.py",
        "page.py",
    ]
