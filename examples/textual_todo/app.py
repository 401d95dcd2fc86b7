"""The demo's todo list in a terminal: the same reducer, the same stream, live in step with the browser.

Run it with `python app.py` beside the demo (`make demo`), or beside any `durafold serve`.
"""

import os
import sys
from pathlib import Path
from typing import ClassVar

import anyio
from textual.app import App, ComposeResult
from textual.binding import Binding, BindingType
from textual.containers import Vertical
from textual.widgets import Footer, Header, Input, Label, ListItem, ListView

from durafold import Dispatch, Provider, ServerReducer
from durafold.errors import DurafoldError

sys.path.insert(0, str(Path(__file__).parents[1] / "reflex_demo"))

from reflex_demo.todos import Add, Remove, Todo, TodoAction, Todos, Toggle, todo_reducer

STREAM_URL = os.environ.get("STREAM_URL", "http://127.0.0.1:4437/v1/stream")


class Row(ListItem):
    def __init__(self, todo: Todo, *, is_saved: bool) -> None:
        mark = "[x]" if todo.done else "[ ]"
        super().__init__(Label(f"{mark} {todo.text}{'' if is_saved else '  …'}", markup=False))
        self.todo = todo
        self.set_class(todo.done, "done")


class TodoApp(App[None]):
    TITLE = "Todos"
    CSS = """
    Vertical { padding: 1 2; }
    ListView { height: 1fr; margin-top: 1; background: transparent; }
    .done { color: $text-muted; text-style: strike; }
    """
    BINDINGS: ClassVar[list[BindingType]] = [
        Binding("space", "toggle", "Toggle"),
        Binding("delete", "remove", "Remove"),
        Binding("ctrl+q", "quit", "Quit"),
    ]

    def __init__(self, url: str = STREAM_URL) -> None:
        super().__init__()
        self._url = url
        self._todos: ServerReducer[Todos, Add | Toggle | Remove] | None = None

    def compose(self) -> ComposeResult:
        yield Header()
        with Vertical():
            yield Input(placeholder="What needs doing?", max_length=200)
            yield ListView()
        yield Footer()

    def on_mount(self) -> None:
        self.run_worker(self._follow(), exclusive=True)

    async def _follow(self) -> None:
        """Connected for as long as the app runs; starts and goes on whether or not the server does."""
        async with Provider(self._url) as party:
            self._todos = party.server_reducer(todo_reducer, Todos(), "demo/todos", actions=TodoAction)
            self._todos.subscribe(lambda: self.call_later(self._show), progress=True)
            await self._show()
            await anyio.sleep_forever()

    async def _show(self) -> None:
        if self._todos is None:
            return
        self.sub_title = self._todos.status
        todos, saved = self._todos.value.todos, self._todos.confirmed.todos
        rows = self.query_one(ListView)
        place = rows.index or 0
        with self.batch_update():
            await rows.clear()
            await rows.extend(Row(todo, is_saved=todo in saved) for todo in todos)
        rows.index = min(place, len(todos) - 1) if todos else None

    def on_input_submitted(self, event: Input.Submitted) -> None:
        if event.value.strip():
            self._dispatch(Add(text=event.value))
            event.input.clear()

    def action_toggle(self) -> None:
        if todo := self._chosen:
            self._dispatch(Toggle(id=todo.id))

    def action_remove(self) -> None:
        if todo := self._chosen:
            self._dispatch(Remove(id=todo.id))

    @property
    def _chosen(self) -> Todo | None:
        row = self.query_one(ListView).highlighted_child
        return row.todo if isinstance(row, Row) and self.query_one(ListView).has_focus else None

    def _dispatch(self, action: Add | Toggle | Remove) -> None:
        """Shown at once; what becomes of it is told when it is known."""
        if self._todos is not None:
            self.run_worker(self._outcome(self._todos.dispatch(action)))

    async def _outcome(self, dispatched: Dispatch[Todos]) -> None:
        try:
            await dispatched
        except DurafoldError as error:
            self.notify(error.message, severity="error")


if __name__ == "__main__":
    TodoApp().run()
