"""How the page looks around its list. Nothing in here is shared state but what is passed in."""

from typing import Any

import reflex as rx

from todo.people import Person


def framed(people: rx.Component, *parts: rx.Component) -> rx.Component:
    return rx.el.div(
        rx.el.header(
            rx.el.div(rx.image("/favicon.svg", alt="", class_name="logo"), "durafold", class_name="brand"),
            people,
            rx.color_mode.button(size="2", variant="ghost", aria_label="Light or dark"),
        ),
        rx.el.main(rx.heading("Todos", as_="h1", size="7"), *parts),
        rx.script(src="/keys.js"),
        class_name="page",
    )


def here(people: Any) -> rx.Component:
    """Who has the list open, this window first."""
    return rx.cond(
        people.count > 0,
        rx.el.div(
            rx.el.div(
                face(people.me, "You, " + people.me.name),
                rx.foreach(people.others, lambda person: face(person, person.name)),
                class_name="faces",
                aria_hidden=True,
            ),
            rx.el.span(
                people.count, rx.cond(people.count == 1, " person here", " people here"), role="status"
            ),
            class_name="people muted",
        ),
    )


def face(person: Person, title: Any) -> rx.Component:
    return rx.el.span(person.name[0], title=title, key=person.key, class_name="face " + person.color.to(str))


def banner(status: rx.Var[str], unsaved: rx.Var[int]) -> rx.Component:
    """Shown while something is away: what was last seen is there, and what is changed now is not lost."""
    to_send = rx.cond(unsaved > 0, rx.el.strong(unsaved, " to send"))
    is_away = rx.State.is_hydrated & (status != "live") & (status != "connecting")
    return rx.fragment(
        rx.connection_banner(notice("No connection to the app. What you do is sent when it is back.")),
        rx.cond(is_away, notice("Offline. Changes are kept, and sent when the server is back.", to_send)),
    )


def notice(*children: rx.Component | str) -> rx.Component:
    return rx.el.p(rx.icon("cloud-off", size=18), *children, class_name="banner", role="status")


def without_overlay(_: bool) -> rx.Component:
    """In place of what Reflex puts over a page whose app is away: `banner` says that in the page."""
    return rx.fragment()


def icon_button(
    icon: str, label: str, on_click: Any, disabled: rx.Var[bool] | bool = False, **props: Any
) -> rx.Component:
    return rx.icon_button(
        rx.icon(icon, size=18),
        on_click=on_click,
        disabled=disabled,
        aria_label=label,
        title=label,
        type="button",
        variant="ghost",
        color_scheme="gray",
        **props,
    )


def once_loaded(content: rx.Component, placeholder: rx.Component) -> rx.Component:
    """The page is built ahead of time with default values; show a placeholder until the real ones came."""
    return rx.cond(rx.State.is_hydrated, content, placeholder)


def loading_rows() -> rx.Component:
    return rx.el.ul(
        *[rx.el.li(rx.skeleton(width=width, height="1.35rem"), aria_hidden=True) for width in ("70%", "55%")]
    )


def nothing_here(which: rx.Var[str]) -> rx.Component:
    title = rx.match(which, ("open", "Nothing left to do"), ("done", "Nothing done yet"), "Nothing to do")
    return rx.el.div(
        rx.icon("list-todo", size=28),
        rx.text(title, weight="medium"),
        rx.text("A new todo shows up in every open window.", class_name="muted"),
        class_name="empty",
    )


def hints() -> rx.Component:
    keys = (
        ("/", "new"),
        ("Ctrl Z", "undo"),
        ("Ctrl Y", "redo"),
        ("Alt ↑ ↓", "move"),
        ("Esc", "leave the text as it was"),
    )
    return rx.el.p(*[rx.el.span(rx.el.kbd(key), meaning) for key, meaning in keys], class_name="hints")
