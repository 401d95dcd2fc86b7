"""A list that is put in order by hand; how that works in the browser stands in `assets/sortable.jsx`."""

from typing import Any

import reflex as rx


def places(key: rx.Var[str], before: rx.Var[str]) -> tuple[rx.Var[str], rx.Var[str]]:
    """What `on_place` is given: the id of the row that was moved, and of the next one, empty at the end."""
    return key, before


class Sortable(rx.Component):
    library = "$/public/sortable.jsx"
    tag = "Sortable"

    on_place: rx.EventHandler[places]


def sortable(*rows: rx.Component, on_place: Any, **props: Any) -> rx.Component:
    """Rows are `li` elements with a `data_id` and a `grip()`."""
    return Sortable.create(
        *rows, on_place=on_place, custom_attrs={name.replace("_", "-"): prop for name, prop in props.items()}
    )


def grip() -> rx.Component:
    return rx.el.button(
        rx.icon("grip-vertical", size=18),
        type="button",
        aria_label="Move",
        title="Drag, or press ↑ and ↓",
        class_name="grip",
    )
