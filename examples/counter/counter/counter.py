"""A counter that every open window agrees on, and that is still there after a restart."""

import reflex as rx

from durafold.reflex import embed_server, mount, use_server_state

Counter = use_server_state(0, "counter")


def index() -> rx.Component:
    return rx.center(
        rx.vstack(
            rx.heading(Counter.value, size="9"),
            rx.hstack(
                rx.button(
                    "−", on_click=Counter.increment(-1), size="4", variant="soft", aria_label="Decrease"
                ),
                rx.button("+", on_click=Counter.increment(1), size="4", aria_label="Increase"),
            ),
            rx.text("Open this page in a second window.", color_scheme="gray"),
            align="center",
            spacing="5",
        ),
        min_height="100vh",
    )


app = embed_server(mount(rx.App()))
app.add_page(index, title="Counter")
