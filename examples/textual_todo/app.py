"""The todo app's list in a terminal: the same reducer, the same stream, live in step with the browser.

Run it with `python app.py` beside the todo app (`../todo`), or beside any `durafold serve`.
"""

import os
import sys
from pathlib import Path
from typing import ClassVar
from uuid import uuid4

import anyio
from textual.app import App, ComposeResult
from textual.binding import Binding, BindingType
from textual.containers import Vertical
from textual.widgets import Footer, Header, Input, Label, ListItem, ListView

from durafold import Dispatch, Provider, ServerReducer
from durafold.errors import DurafoldError

sys.path.insert(0, str(Path(__file__).parents[1] / "todo"))

from todo.todos import (
    Add,
    AnyAction,
    Move,
    Remove,
    SetDone,
    Todo,
    TodoAction,
    Todos,
    rank_before,
    todo_reducer,
    without,
)

STREAM_URL = os.environ.get("STREAM_URL", "http://127.0.0.1:4437/v1/stream")


class Row(ListItem):
    def __init__(self, todo: Todo, *, is_saved: bool) -> None:
        mark = "☑" if todo.done else "☐"
        super().__init__(Label(f"{mark} {todo.text}{'' if is_saved else '  …'}", markup=False))
        self.todo = todo
        self.set_class(todo.done, "done")


class TodoApp(App[None]):
    TITLE = "Todos"
    CSS = """
    Vertical { padding: 1 2; }
    Input { border: round $primary; background: transparent; }
    ListView { height: 1fr; margin-top: 1; background: transparent; }
    .done { color: $text-muted; text-style: strike; }
    """
    BINDINGS: ClassVar[list[BindingType]] = [
        Binding("space", "toggle", "Toggle"),
        Binding("delete", "remove", "Remove"),
        Binding("alt+up", "move(-1)", "Move up", show=False),
        Binding("alt+down", "move(1)", "Move", key_display="alt+↑↓"),
        Binding("ctrl+z", "undo", "Undo"),
        Binding("ctrl+y", "redo", "Redo"),
        Binding("ctrl+q", "quit", "Quit"),
    ]

    def __init__(self, url: str = STREAM_URL) -> None:
        super().__init__()
        self._url = url
        self._todos: ServerReducer[Todos, AnyAction] | None = None

    def compose(self) -> ComposeResult:
        yield Header(icon="≡")
        with Vertical():
            yield Input(placeholder="What needs doing?", max_length=200)
            yield ListView()
        yield Footer()

    def on_mount(self) -> None:
        self.run_worker(self._follow(), exclusive=True)

    async def _follow(self) -> None:
        """Connected for as long as the app runs; starts and goes on whether or not the server does."""
        async with Provider(self._url) as party:
            self._todos = party.server_reducer(todo_reducer, Todos(), "todos", actions=TodoAction)
            self._todos.subscribe(lambda: self.call_later(self._show), progress=True)
            await self._show()
            await anyio.sleep_forever()

    async def _show(self) -> None:
        if self._todos is None:
            return
        self.sub_title = self._todos.status
        todos, saved = self._todos.value.todos, self._todos.confirmed.todos
        rows = self.query_one(ListView)
        chosen, place = rows.highlighted_child, rows.index or 0
        with self.batch_update():
            await rows.clear()
            await rows.extend(Row(todo, is_saved=todo in saved) for todo in todos)
        # The mark stays with its todo, wherever that is now; with its place if the todo is gone.
        found = [at for at, todo in enumerate(todos) if isinstance(chosen, Row) and todo.id == chosen.todo.id]
        rows.index = found[0] if found else min(place, len(todos) - 1) if todos else None

    def on_input_submitted(self, event: Input.Submitted) -> None:
        if event.value.strip():
            self._dispatch(Add(id=uuid4().hex, text=event.value))
            event.input.clear()

    def action_toggle(self) -> None:
        if todo := self._chosen:
            self._dispatch(SetDone(id=todo.id, done=not todo.done))

    def action_remove(self) -> None:
        if todo := self._chosen:
            self._dispatch(Remove(id=todo.id))

    def action_move(self, by: int) -> None:
        todo = self._chosen
        if todo is None or self._todos is None:
            return
        rest = without(self._todos.value, todo.id)
        index = self._todos.value.todos.index(todo) + by
        if 0 <= index <= len(rest.todos):
            before = rest.todos[index].id if index < len(rest.todos) else None
            self._dispatch(Move(id=todo.id, rank=rank_before(rest, before)))

    def action_undo(self) -> None:
        """The last change that was made in this terminal."""
        if self._todos is not None:
            self._tell(self._todos.undo())

    def action_redo(self) -> None:
        if self._todos is not None:
            self._tell(self._todos.redo())

    @property
    def _chosen(self) -> Todo | None:
        row = self.query_one(ListView).highlighted_child
        return row.todo if isinstance(row, Row) and self.query_one(ListView).has_focus else None

    def _dispatch(self, action: AnyAction) -> None:
        if self._todos is not None:
            self._tell(self._todos.dispatch(action))

    def _tell(self, dispatched: Dispatch[Todos] | None) -> None:
        """Shown at once; what becomes of it is told when it is known."""
        if dispatched is not None:
            self.run_worker(self._outcome(dispatched))

    async def _outcome(self, dispatched: Dispatch[Todos]) -> None:
        try:
            await dispatched
        except DurafoldError as error:
            self.notify(error.message, severity="error")


if __name__ == "__main__":
    TodoApp().run()
