"""How the page looks around its list. Nothing in here is shared state but what is passed in."""

from typing import Any

import reflex as rx


def framed(*parts: rx.Component) -> rx.Component:
    return rx.el.div(
        rx.el.header(
            rx.el.div(rx.image("/favicon.svg", alt="", class_name="logo"), "durafold", class_name="brand"),
            rx.color_mode.button(size="2", variant="ghost"),
        ),
        rx.el.main(rx.heading("Todos", as_="h1", size="7"), *parts),
        rx.script(src="/keys.js"),
        class_name="page",
    )


def banner(status: rx.Var[str], unsaved: rx.Var[int]) -> rx.Component:
    """Shown while the stream server is away: what was last seen is there, and so is what is changed now."""
    is_away = rx.State.is_hydrated & (status != "live") & (status != "connecting")
    return rx.cond(
        is_away,
        rx.el.p(
            rx.icon("cloud-off", size=18),
            rx.el.span("Offline. Changes are kept, and sent when the connection is back."),
            rx.cond(unsaved > 0, rx.el.strong(unsaved, " to send")),
            class_name="banner",
            role="status",
        ),
    )


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
