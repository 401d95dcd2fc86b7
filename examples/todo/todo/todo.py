"""A todo list that every window agrees on. Each has a filter of its own, and undoes what was done in it."""

from collections.abc import Iterator
from typing import Any
from uuid import uuid4

import reflex as rx
from pydantic import BaseModel

from durafold.reflex import embed_server, mount, use_presence, use_server_reducer
from todo.frame import (
    banner,
    framed,
    here,
    hints,
    icon_button,
    loading_rows,
    nothing_here,
    once_loaded,
    without_overlay,
)
from todo.people import Person, newcomer
from todo.sortable import grip, sortable
from todo.todos import TodoAction, Todos, rank_before, rank_behind, todo_reducer, without

TodoList = use_server_reducer(todo_reducer, Todos(), "todos", actions=TodoAction, name="TodoList")
People = use_presence("todos", Person, initial=newcomer, name="People")

FILTERS = "all", "open", "done"


class Row(BaseModel):
    """A todo as the page shows it."""

    id: str
    text: str
    done: bool
    is_unsaved: bool


class Page(TodoList):
    """What one window shows of the list. Vars over `self.value` follow the shared state on their own."""

    filter: str = "all"
    editing: str = ""

    @rx.var(cache=False, initial_value=[])
    def rows(self) -> list[Row]:
        shown = [t for t in self.value.todos if self.filter == "all" or t.done == (self.filter == "done")]
        return [
            Row(id=todo.id, text=todo.text, done=todo.done, is_unsaved=todo not in self.confirmed.todos)
            for todo in shown
        ]

    @rx.var(cache=False, initial_value="")
    def open_count(self) -> str:
        count = sum(not todo.done for todo in self.value.todos)
        return f"{count} open" if self.value.todos else ""

    @rx.event
    def show(self, which: str) -> None:
        self.filter = which if which in FILTERS else "all"

    @rx.event
    def add(self, form: dict[str, Any]) -> Any:
        # The id is made here, and not by the reducer, so that undoing knows what to remove.
        return TodoList.dispatch({"type": "add", "id": uuid4().hex, "text": str(form.get("text", ""))})

    @rx.event
    def edit(self, key: str) -> Any:
        self.editing = key
        return People.update({"editing": key})

    @rx.event
    def rename(self, key: str, text: str) -> Iterator[Any]:
        """Enter and leaving the field both end here; whichever comes second finds nothing to do."""
        if self.editing != key:
            return
        self.editing = ""
        yield People.update({"editing": ""})
        is_new = any(todo.id == key and todo.text != text.strip() for todo in self.value.todos)
        if is_new and text.strip():
            yield TodoList.dispatch({"type": "rename", "id": key, "text": text})

    @rx.event
    def place(self, key: str, before: str) -> Any:
        """Before another todo; behind the last that this window shows if that is an empty text."""
        others = [row.id for row in self.rows if row.id != key]
        rest = without(self.value, key)
        rank = rank_before(rest, before) if before or not others else rank_behind(rest, others[-1])
        return TodoList.dispatch({"type": "move", "id": key, "rank": rank})


def new_todo() -> rx.Component:
    return rx.form(
        rx.input(
            id="new-todo",
            name="text",
            placeholder="What needs doing?",
            aria_label="New todo",
            required=True,
            max_length=200,
            size="3",
        ),
        rx.button("Add", type="submit", size="3"),
        on_submit=Page.add,
        reset_on_submit=True,
        auto_complete="off",
        class_name="new-todo",
    )


def toolbar() -> rx.Component:
    return rx.el.div(
        rx.el.div(*[filter_button(name) for name in FILTERS], class_name="filters", role="group"),
        rx.text(Page.open_count, class_name="muted", role="status"),
        icon_button("undo-2", "Undo", TodoList.undo, disabled=~TodoList.can_undo, id="undo"),
        icon_button("redo-2", "Redo", TodoList.redo, disabled=~TodoList.can_redo, id="redo"),
        class_name="toolbar",
    )


def filter_button(name: str) -> rx.Component:
    return rx.el.button(
        name.capitalize(), on_click=Page.show(name), aria_pressed=Page.filter == name, type="button"
    )


def todo_row(row: Row) -> rx.Component:
    return rx.el.li(
        grip(),
        rx.checkbox(
            checked=row.done,
            on_change=lambda done: TodoList.dispatch({"type": "set_done", "id": row.id, "done": done}),
            aria_label=row.text,
            size="3",
        ),
        rx.cond(Page.editing == row.id, editor(row), text_button(row)),
        rx.foreach(People.others, lambda person: pencil(person, row)),
        icon_button("x", "Remove", TodoList.dispatch({"type": "remove", "id": row.id}), class_name="remove"),
        key=row.id,
        class_name=rx.cond(row.done, "done", ""),
        data_id=row.id,
        data_unsaved=row.is_unsaved,
    )


def text_button(row: Row) -> rx.Component:
    return rx.el.button(row.text, on_click=Page.edit(row.id), title="Edit", type="button", class_name="text")


def editor(row: Row) -> rx.Component:
    return rx.el.input(
        default_value=row.text,
        on_blur=lambda text: Page.rename(row.id, text),
        auto_focus=True,
        max_length=200,
        aria_label="Text of the todo",
        class_name="text",
        custom_attrs={"data-original": row.text},
    )


def pencil(person: Person, row: Row) -> rx.Component:
    """Who else is changing this text just now."""
    mark = rx.el.span(
        rx.icon("pencil", size=12), person.name, class_name="pencil " + person.color.to(str), key=person.key
    )
    return rx.cond(person.editing == row.id, mark)


def index() -> rx.Component:
    return framed(
        here(People),
        banner(TodoList.status, TodoList.pending),
        new_todo(),
        toolbar(),
        once_loaded(
            rx.cond(
                Page.rows.length() > 0,
                sortable(rx.foreach(Page.rows, todo_row), on_place=Page.place, aria_label="Todos"),
                nothing_here(Page.filter),
            ),
            loading_rows(),
        ),
        hints(),
    )


overlay = {(5, "Overlay"): without_overlay}
app = mount(rx.App(stylesheets=["/todo.css"], html_lang="en", extra_app_wraps=overlay))
app = embed_server(app, reducers=("todo.todos",))  # for the page that shows streams, at /_ui/
app.add_page(index, title="Todos", description="A todo list, shared by every open window.")
