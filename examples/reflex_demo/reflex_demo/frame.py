"""How the page looks around its two cards. Nothing in here is shared state but what is passed in."""

import reflex as rx


def framed(badge: rx.Component, *cards: rx.Component) -> rx.Component:
    return rx.el.div(
        rx.el.header(
            rx.el.div(rx.image("/favicon.svg", alt="", class_name="logo"), "durafold", class_name="brand"),
            rx.el.div(
                badge,
                rx.color_mode.button(size="2", variant="ghost", aria_label="Light or dark"),
                class_name="tools",
            ),
        ),
        rx.el.main(
            rx.heading("Shared state that stays.", as_="h1", size=rx.breakpoints(initial="7", sm="8")),
            rx.text(
                "Open this page in a second window: every change shows up in both, "
                "and is still there after a restart.",
                class_name="lead",
            ),
            rx.el.div(*cards, class_name="cards"),
        ),
        class_name="page",
    )


def card(title: str, aside: rx.Component, *children: rx.Component, class_name: str) -> rx.Component:
    return rx.el.section(
        rx.el.div(rx.heading(title, as_="h2", size="4"), aside, class_name="card-head"),
        *children,
        class_name=f"card {class_name}",
    )


def connection_badge(status: rx.Var[str], unsaved: rx.Var[int]) -> rx.Component:
    label = rx.match(
        status,
        ("live", "Live"),
        ("connecting", "Connecting…"),
        ("reconnecting", "Reconnecting…"),
        ("degraded", "Degraded"),
        "Offline",
    )
    return rx.el.div(
        rx.el.span(class_name="dot"),
        rx.el.span(once_loaded(label, "Connecting…")),
        rx.cond(unsaved > 0, rx.el.span(unsaved, " unsaved", class_name="unsaved")),
        class_name="badge",
        role="status",
        data_status=once_loaded(status, "connecting"),
    )


def once_loaded(content: rx.Component | rx.Var[str], placeholder: rx.Component | str) -> rx.Component:
    """The page is built ahead of time with default values; show a placeholder until the real ones came."""
    return rx.cond(rx.State.is_hydrated, content, placeholder)


def loading_rows() -> rx.Component:
    widths = "70%", "55%", "62%"
    return rx.el.ul(
        *[rx.el.li(rx.skeleton(width=width, height="1.35rem"), aria_hidden=True) for width in widths]
    )


def nothing_to_do() -> rx.Component:
    return rx.el.div(
        rx.icon("list-todo", size=28),
        rx.text("Nothing to do", weight="medium"),
        rx.text("Add the first todo. It shows up in every open window.", class_name="muted"),
        class_name="empty",
    )
