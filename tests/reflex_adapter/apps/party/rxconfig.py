"""Reflex settings of the app that the adapter's tests run."""

import reflex as rx

config = rx.Config(
    app_name="party",
    state_manager_mode="memory",  # pyright: ignore[reportArgumentType]
    telemetry_enabled=False,
    show_built_with_reflex=False,
    disable_plugins=[rx.plugins.SitemapPlugin],
)
