"""What is around the board: its name, who is here, and the buttons for all of it."""

from typing import Any

import reflex as rx

from whiteboard.people import Person

SUGGESTIONS = "ideas", "retro", "doodles"


def header(shapes: Any, people: Any) -> rx.Component:
    return rx.el.header(
        rx.link(rx.image("/favicon.svg", alt="All boards", class_name="logo"), href="/"),
        rx.el.h1(rx.State.room),  # type: ignore[attr-defined]  # the part of the address
        connection(shapes.status),
        rx.el.div(
            rx.el.div(
                face(people.me, "You, " + people.me.name),
                rx.foreach(people.others, lambda person: face(person, person.name)),
                class_name="faces",
                aria_hidden=True,
            ),
            rx.el.span(
                people.count,
                rx.cond(people.count == 1, " person here", " people here"),
                class_name="count",
                role="status",
            ),
            class_name="people",
        ),
        button("undo-2", "Undo", shapes.undo, disabled=~shapes.can_undo, id="undo"),
        button("redo-2", "Redo", shapes.redo, disabled=~shapes.can_redo, id="redo"),
        button("trash-2", "Clear the board", shapes.dispatch({"type": "clear"}), id="clear"),
        rx.color_mode.button(size="2", variant="ghost", aria_label="Light or dark"),
    )


def connection(status: rx.Var[str]) -> rx.Component:
    is_away = rx.State.is_hydrated & (status != "live") & (status != "connecting")
    return rx.fragment(
        rx.connection_banner(notice("No connection: what you draw is sent later")),
        rx.cond(is_away, notice("Offline: changes are kept")),
    )


def notice(text: str) -> rx.Component:
    return rx.el.span(text, class_name="offline", role="status")


def without_overlay(_: bool) -> rx.Component:
    """In place of what Reflex puts over a page whose app is away: `connection` says that in the page."""
    return rx.fragment()


def face(person: Person, title: Any) -> rx.Component:
    return rx.el.span(person.name[0], title=title, key=person.key, class_name="face " + person.color.to(str))


def button(icon: str, label: str, on_click: Any, **props: Any) -> rx.Component:
    return rx.icon_button(
        rx.icon(icon, size=18),
        on_click=on_click,
        aria_label=label,
        title=label,
        type="button",
        variant="ghost",
        color_scheme="gray",
        **props,
    )


def front_page(on_open: Any) -> rx.Component:
    return rx.el.main(
        rx.image("/favicon.svg", alt="", class_name="logo"),
        rx.el.h1("Whiteboard"),
        rx.el.p("Open a board and send its address to others. What is drawn stays."),
        rx.form(
            rx.input(name="name", placeholder="Name of a board", aria_label="Name of a board", size="3"),
            rx.button("Open", type="submit", size="3"),
            on_submit=on_open,
            auto_complete="off",
            width="auto",
        ),
        rx.el.nav(*[rx.link(name, href=f"/board/{name}") for name in SUGGESTIONS]),
        class_name="front",
    )
