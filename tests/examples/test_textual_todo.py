"""The terminal app beside another client of the same list."""

from __future__ import annotations

import importlib.util
import sys
from types import ModuleType
from typing import Any, Final

import pytest

pytest.importorskip("textual", reason="the terminal example needs: pip install textual")

from durafold import Provider
from durafold.testing import ServerProcess
from support.examples import EXAMPLES
from support.waiting import eventually

APP: Final = EXAMPLES / "textual_todo" / "app.py"


@pytest.fixture
def anyio_backend() -> str:
    return "asyncio"  # Textual's only one


@pytest.fixture
def module(monkeypatch: pytest.MonkeyPatch) -> ModuleType:
    monkeypatch.setattr(sys, "path", list(sys.path))
    spec = importlib.util.spec_from_file_location("textual_todo", APP)
    assert spec
    assert spec.loader
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def shown(app: Any, module: ModuleType) -> list[tuple[str, bool]]:
    return [(row.todo.text, row.todo.done) for row in app.query(module.Row)]


@pytest.mark.anyio
async def test_what_is_typed_and_toggled_here_shows_in_another_client(
    durable_server: ServerProcess, module: ModuleType
) -> None:
    app = module.TodoApp(durable_server.url)
    async with app.run_test() as keys, Provider(durable_server.url) as party:
        other = party.server_reducer(module.todo_reducer, module.Todos(), "todos", actions=module.TodoAction)
        await keys.press(*"milk", "enter")
        await eventually(lambda: [todo.text for todo in other.value.todos] == ["milk"])
        await other.dispatch(module.Add(id="bread", text="bread"))
        await eventually(lambda: shown(app, module) == [("milk", False), ("bread", False)])

        await keys.press("tab", "down", "space")
        await eventually(lambda: [todo.done for todo in other.value.todos] == [False, True])
        await keys.press("alt+up")
        await eventually(lambda: shown(app, module) == [("bread", True), ("milk", False)])
        await keys.press("ctrl+z")
        await eventually(lambda: [todo.text for todo in other.value.todos] == ["milk", "bread"])
        await keys.press("up", "delete")
        await eventually(lambda: [todo.text for todo in other.value.todos] == ["bread"])
