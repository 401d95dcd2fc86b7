"""`embed_server`: the stream server inside a Reflex app, so that one `reflex run` is the whole of it."""

from __future__ import annotations

import os
import socket
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from importlib.util import find_spec
from pathlib import Path
from typing import Any, Final
from urllib.parse import urlsplit

import reflex as rx

from durafold.errors import ConfigurationError
from durafold.reflex._internals import is_run
from durafold.wire.names import DEFAULT_PORT

__all__ = ["DEFAULT_DATA_DIR", "embed_server"]

DEFAULT_DATA_DIR: Final = ".durafold/streams"
"""In the app's directory. It is hidden because Reflex's development mode restarts the app for other files."""


def embed_server(
    app: rx.App, *, data: Path | str = DEFAULT_DATA_DIR, port: int | None = None, **settings: Any
) -> rx.App:
    """Run the stream server in the process of the app, for as long as the app runs.

        app = embed_server(mount(rx.App()))

    It listens on a port of its own, so that scripts, other apps and `durafold tail` can take part. It is for
    apps that run as one process, as Reflex apps do without Redis: two cannot share a data directory.

    Args:
        app: the Reflex app.
        data: directory that keeps the streams.
        port: where to listen on 127.0.0.1. Default: the port of the environment variable STREAM_URL, which
            `mount` goes by, or else 4437.
        settings: more settings of the server, by the names of `durafold_server.ServeSettings`.

    Returns:
        The same app.

    Raises:
        ConfigurationError: the server's extra is not installed.
        SystemExit: the port cannot be had, and `reflex run` is about to start the app.

    The app does not start if the directory is in use, either; the message says by whom.
    """
    if find_spec("httptools") is None:  # here, and not in the midst of the start
        raise ConfigurationError(
            "The stream server is not installed", hint='Run: pip install "durafold[server]"'
        )

    where = port or urlsplit(os.environ.get("STREAM_URL", "")).port or DEFAULT_PORT
    if is_run():
        _require_free(str(settings.get("host", "127.0.0.1")), where, is_chosen_here=port is not None)

    @asynccontextmanager
    async def stream_server() -> AsyncIterator[None]:
        # Imported and made here: Reflex forks its worker from the process that imported the app.
        from durafold_server import Server

        async with Server(data=str(data), port=where, **settings):
            yield

    app.register_lifespan_task(stream_server)
    return app


def _require_free(host: str, port: int, *, is_chosen_here: bool) -> None:
    """Raises SystemExit if nothing can listen there.

    Asked before Reflex builds the pages. It would show a later failure of the server as a page of traceback,
    and in development mode go on without it; of other errors in the app's module it shows a traceback, too.
    """
    family = socket.AF_INET6 if ":" in host else socket.AF_INET
    try:
        socket.create_server((host, port), family=family).close()
    except OSError as error:
        other = "port=..." if is_chosen_here else f"STREAM_URL=http://127.0.0.1:{port + 1}/v1/stream"
        where = "with embed_server" if is_chosen_here else "in the environment"
        raise SystemExit(
            f"durafold: the app's stream server cannot listen on {host}:{port} "
            f"({os.strerror(error.errno or 0)}). End the program that uses this port, which may be another "
            f"app or `durafold serve`, or choose another port {where}: {other}"
        ) from error
