"""Starts the server: `python -m durafold_server`, and what `durafold serve` calls."""

from __future__ import annotations

import argparse
import ipaddress
import socket
import sys
from collections.abc import Sequence
from dataclasses import fields
from pathlib import Path
from typing import TYPE_CHECKING

from durafold_server.config import ServeSettings, ServiceSettings
from durafold_server.http.app import DurableStreamsApp
from durafold_server.store.base import StoreFailure, StreamStore
from durafold_server.store.memory import MemoryStore

if TYPE_CHECKING:
    from uvicorn import Server

_SHUTDOWN_S = 5


def main(arguments: Sequence[str] | None = None) -> int:
    """Parse a command line and serve; returns the exit code."""
    return serve(parse_arguments(arguments))


def parse_arguments(arguments: Sequence[str] | None = None) -> ServeSettings:
    """The settings that a command line asks for; exits with a usage message if it is wrong."""
    defaults = ServeSettings()
    parser = argparse.ArgumentParser(prog="durafold_server", description="A durable streams server.")
    parser.add_argument("--host", default=defaults.host, help="address to listen on (%(default)s)")
    parser.add_argument(
        "--port", type=int, default=defaults.port, help="port, 0 for any free one (%(default)s)"
    )
    parser.add_argument("--data", type=Path, default=defaults.data_dir, help="data directory (%(default)s)")
    parser.add_argument("--memory", action="store_true", help="keep data in memory only: all is lost at exit")
    for field in fields(ServiceSettings):
        parser.add_argument(
            f"--{field.name.replace('_', '-')}",
            type=type(field.default),
            default=field.default,
            help=f"{field.metadata['help']} (%(default)s)",
        )
    options = parser.parse_args(arguments)
    service = ServiceSettings(
        **{field.name: getattr(options, field.name) for field in fields(ServiceSettings)}
    )
    return ServeSettings(options.host, options.port, options.data, options.memory, service=service)


def serve(settings: ServeSettings) -> int:
    """Listen until SIGINT or SIGTERM; returns the exit code.

    Prints one line to standard error once connections are accepted: where it listens and where the data is.
    """
    if not _is_loopback(settings.host):
        return _fail(
            f"{settings.host} is reachable from other machines, and this server has no access control yet. "
            "Listen on 127.0.0.1 and put a proxy that authenticates in front."
        )
    try:
        listener = socket.create_server((settings.host, settings.port), backlog=2048)
    except OSError as exc:
        return _fail(
            f"cannot listen on {settings.host}:{settings.port} ({exc.strerror}). "
            "Choose another port with --port, or end the program that uses this one."
        )
    with listener:
        return _run(settings, listener)


def _run(settings: ServeSettings, listener: socket.socket) -> int:
    import uvicorn

    app = DurableStreamsApp(
        lambda: open_store(settings), prefix=settings.prefix, cors=settings.cors, settings=settings.service
    )
    config = uvicorn.Config(
        app,
        log_level="warning",
        access_log=False,
        lifespan="on",
        server_header=False,
        timeout_graceful_shutdown=_SHUTDOWN_S,
        backlog=2048,
    )
    host, port = listener.getsockname()[:2]
    url = f"http://{f'[{host}]' if ':' in host else host}:{port}{settings.prefix}"
    server = _server(config, app, url, settings)
    server.run(sockets=[listener])
    return 0 if server.started else 1


def _server(config: object, app: DurableStreamsApp, url: str, settings: ServeSettings) -> Server:
    import uvicorn

    class AnnouncingServer(uvicorn.Server):
        """Says when it listens, and ends live reads before it waits for requests to finish."""

        async def startup(self, sockets: list[socket.socket] | None = None) -> None:
            await super().startup(sockets)
            if self.started:
                where = (await app.service()).store.location
                print(f"durafold: listening on {url}, {where}", file=sys.stderr, flush=True)  # noqa: T201

        async def shutdown(self, sockets: list[socket.socket] | None = None) -> None:
            app.stop()
            await super().shutdown(sockets)

    if not isinstance(config, uvicorn.Config):
        raise TypeError(f"{settings} needs a uvicorn configuration")
    return AnnouncingServer(config)


async def open_store(settings: ServeSettings) -> StreamStore:
    """The store that the settings ask for.

    Raises:
        StoreFailure: the data directory cannot be used; the message says why.
    """
    if settings.memory or settings.data_dir is None:
        return MemoryStore()
    try:
        from durafold_server.store.sqlite import SqliteStore
    except ModuleNotFoundError as exc:
        raise StoreFailure('keeping data on disk needs: pip install "durafold[server]"') from exc
    return await SqliteStore.open(settings.data_dir)


def _is_loopback(host: str) -> bool:
    if host == "localhost":
        return True
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return False


def _fail(message: str) -> int:
    print(f"durafold: {message}", file=sys.stderr)  # noqa: T201
    return 1
