"""The board as a component; how drawing works in the browser stands in `assets/canvas.jsx`."""

from typing import Any

import reflex as rx


def one(value: rx.Var[dict[str, Any]]) -> tuple[rx.Var[dict[str, Any]]]:
    return (value,)


class Canvas(rx.Component):
    library = "$/public/canvas.jsx"
    tag = "Canvas"

    shapes: rx.Var[list[Any]]
    others: rx.Var[list[Any]]

    on_show: rx.EventHandler[one]
    """Where the pointer is and what is being drawn, at most 20 times a second."""

    on_action: rx.EventHandler[one]
    """A shape was drawn, moved, written or erased: an action of `BoardAction`."""
