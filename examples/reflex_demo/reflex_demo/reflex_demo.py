"""A counter and a todo list that every window, and every restart, agrees on."""

import reflex as rx

from durafold.reflex import mount, use_server_reducer, use_server_state
from reflex_demo.frame import card, connection_badge, framed, loading_rows, nothing_to_do, once_loaded
from reflex_demo.todos import Todo, TodoAction, Todos, todo_reducer

Counter = use_server_state(0, "demo/counter")
TodoList = use_server_reducer(todo_reducer, Todos(), "demo/todos", actions=TodoAction)


class Page(TodoList):
    """What the page derives from the list. Such vars follow the shared state on their own."""

    @rx.var(cache=False, initial_value="")
    def progress(self) -> str:
        todos = self.value.todos
        return f"{sum(todo.done for todo in todos)} of {len(todos)} done" if todos else ""

    @rx.var(cache=False, initial_value=[])
    def unsaved(self) -> list[int]:
        return [todo.id for todo in self.value.todos if todo not in self.confirmed.todos]


def counter() -> rx.Component:
    return card(
        "Counter",
        rx.button("Reset", on_click=Counter.set(0), variant="ghost", color_scheme="gray"),
        rx.el.output(
            once_loaded(rx.el.span(Counter.value), rx.skeleton(width="0.7em", height="0.8em")),
            class_name="count",
        ),
        rx.el.div(
            rx.button(
                "\u2212", on_click=Counter.increment(-1), size="4", variant="soft", aria_label="Decrease"
            ),
            rx.button("+", on_click=Counter.increment(1), size="4", aria_label="Increase"),
            class_name="count-buttons",
        ),
        class_name="counter",
    )


def todo_list() -> rx.Component:
    todos = TodoList.value.todos
    return card(
        "Todos",
        rx.text(Page.progress, class_name="muted"),
        new_todo(),
        once_loaded(
            rx.cond(todos.length() > 0, rx.el.ul(rx.foreach(todos, todo_row)), nothing_to_do()),
            loading_rows(),
        ),
        class_name="todos",
    )


def new_todo() -> rx.Component:
    return rx.form(
        rx.input(
            name="text",
            placeholder="What needs doing?",
            aria_label="New todo",
            required=True,
            max_length=200,
            size="3",
        ),
        rx.button("Add", type="submit", size="3"),
        on_submit=lambda form: TodoList.dispatch({"type": "add", "text": form.to(dict[str, str])["text"]}),
        reset_on_submit=True,
        auto_complete="off",
        class_name="new-todo",
    )


def todo_row(todo: Todo) -> rx.Component:
    return rx.el.li(
        rx.checkbox(
            todo.text,
            checked=todo.done,
            on_change=lambda _: TodoList.dispatch({"type": "toggle", "id": todo.id}),
            size="3",
        ),
        rx.icon_button(
            rx.icon("x", size=16),
            on_click=TodoList.dispatch({"type": "remove", "id": todo.id}),
            aria_label=f"Remove {todo.text}",
            variant="ghost",
            color_scheme="gray",
        ),
        class_name=rx.cond(todo.done, "done", ""),
        data_unsaved=Page.unsaved.contains(todo.id),
    )


def index() -> rx.Component:
    badge = connection_badge(TodoList.status, unsaved=TodoList.pending + Counter.pending)
    return framed(badge, counter(), todo_list())


app = mount(rx.App(stylesheets=["/demo.css"], html_lang="en"))
app.add_page(
    index, title="durafold demo", description="A counter and a todo list, shared by every open window."
)
