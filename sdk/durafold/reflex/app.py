"""`mount`: connect the declared streams to a Reflex app."""

from __future__ import annotations

import os
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any, Final

import reflex as rx

from durafold.provider import Provider
from durafold.reflex._internals import require_supported_reflex
from durafold.reflex.classes import HUB
from durafold.reflex.last_states import LastStates

__all__ = ["DEFAULT_CACHE_DIR", "DEFAULT_STREAM_URL", "mount"]

DEFAULT_STREAM_URL: Final = "http://127.0.0.1:4437/v1/stream"
"""Where `durafold serve` listens."""

DEFAULT_CACHE_DIR: Final = ".durafold"
"""In the app's directory. It is hidden because Reflex's development mode restarts the app for other files."""


def mount(
    app: rx.App, url: str | None = None, *, cache_dir: Path | str | None = None, **provider_options: Any
) -> rx.App:
    """Keep the declared streams open while the app runs.

    The app starts whether or not the stream server does. Without it, pages show the last states.

    Args:
        app: the Reflex app.
        url: base URL of the streams. Default: the environment variable STREAM_URL, or else
            `http://127.0.0.1:4437/v1/stream`.
        cache_dir: where the last states are kept. Default: the environment variable DURAFOLD_CACHE_DIR, or
            else `.durafold` in the working directory.
        provider_options: more arguments for `durafold.Provider`, such as `headers`.

    Returns:
        The same app.

    Raises:
        ConfigurationError: the installed Reflex is of a version that the adapter does not know.
    """
    require_supported_reflex()
    base_url = url or os.environ.get("STREAM_URL") or DEFAULT_STREAM_URL
    directory = Path(cache_dir or os.environ.get("DURAFOLD_CACHE_DIR") or DEFAULT_CACHE_DIR)

    @asynccontextmanager
    async def shared_streams() -> AsyncIterator[None]:
        # Made here and not at import: Reflex forks its worker from the process that imported the app.
        provider = Provider(base_url, **provider_options)
        async with HUB.run(app, provider, LastStates(directory, provider.url)):
            yield

    app.register_lifespan_task(shared_streams)
    return app
