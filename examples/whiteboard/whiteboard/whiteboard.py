"""A whiteboard: shapes are kept, pointers are not. Every address below /board is a board of its own."""

import re
from typing import Any
from uuid import uuid4

import reflex as rx

from durafold.reflex import embed_server, mount, use_presence, use_server_reducer
from whiteboard.canvas import Canvas
from whiteboard.frame import front_page, header, without_overlay
from whiteboard.people import Person, newcomer
from whiteboard.shapes import Board, BoardAction, board_reducer

Shapes = use_server_reducer(board_reducer, Board(), "boards/[room]", actions=BoardAction, name="Shapes")
People = use_presence("boards/[room]", Person, initial=newcomer, name="People")


class Rooms(rx.State):
    @rx.event
    def open(self, form: dict[str, Any]) -> Any:
        """The board of a name; a new one without a name."""
        name = re.sub(r"[^a-z0-9]+", "-", str(form.get("name", "")).lower()).strip("-")
        return rx.redirect(f"/board/{name[:40] or uuid4().hex[:8]}")


def board() -> rx.Component:
    return rx.el.div(
        header(Shapes, People),
        Canvas.create(
            shapes=Shapes.value.shapes,
            others=People.others,
            on_show=People.update,
            on_action=Shapes.dispatch,
        ),
        class_name="room",
    )


overlay = {(5, "Overlay"): without_overlay}
app = mount(rx.App(stylesheets=["/whiteboard.css"], html_lang="en", extra_app_wraps=overlay))
app = embed_server(app, reducers=("whiteboard.shapes",))  # for the page that shows streams, at /_ui/
app.add_page(
    lambda: front_page(Rooms.open),
    route="/",
    title="Whiteboard",
    description="Boards that everyone who opens them draws on.",
)
app.add_page(board, route="/board/[room]", title="Whiteboard")
