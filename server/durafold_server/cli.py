"""Starts the server: `python -m durafold_server`, and what `durafold serve` calls."""

from __future__ import annotations

import argparse
import asyncio
import ipaddress
import os
import signal
import socket
import sys
from collections.abc import Callable, Sequence
from dataclasses import fields
from pathlib import Path

from durafold_server.allocator import keep_freed_memory
from durafold_server.config import ServeSettings, ServiceSettings
from durafold_server.http.handler import Handler
from durafold_server.http.wire import WireServer
from durafold_server.store.base import StoreFailure, StreamStore
from durafold_server.store.memory import MemoryStore
from durafold_server.subscriptions.signing import SigningUnavailable

_SHUTDOWN_S = 4.0


def main(arguments: Sequence[str] | None = None) -> int:
    """Parse a command line and serve; returns the exit code."""
    return serve(parse_arguments(arguments))


def parse_arguments(arguments: Sequence[str] | None = None) -> ServeSettings:
    """The settings that a command line asks for; exits with a usage message if it is wrong."""
    defaults = ServeSettings()
    parser = argparse.ArgumentParser(prog="durafold serve", description="A durable streams server.")
    parser.add_argument("--host", default=defaults.host, help="address to listen on (%(default)s)")
    parser.add_argument(
        "--port", type=_port, default=defaults.port, help="port, 0 for any free one (%(default)s)"
    )
    parser.add_argument("--data", type=Path, default=defaults.data_dir, help="data directory (%(default)s)")
    parser.add_argument("--memory", action="store_true", help="keep data in memory only: all is lost at exit")
    for field in fields(ServiceSettings):
        parser.add_argument(
            f"--{field.name.replace('_', '-')}",
            type=_parser_like(field.default),
            default=field.default,
            choices=field.metadata.get("choices"),
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
        family = socket.AF_INET6 if ":" in settings.host else socket.AF_INET
        listener = socket.create_server((settings.host, settings.port), family=family, backlog=2048)
    except OSError as exc:
        return _fail(
            f"cannot listen on {settings.host}:{settings.port} ({os.strerror(exc.errno or 0)}). "
            "Choose another port with --port, or end the program that uses this one."
        )
    with listener:
        return _run(settings, listener)


def _run(settings: ServeSettings, listener: socket.socket) -> int:
    try:
        import uvloop
    except ModuleNotFoundError:  # not on Windows
        run = asyncio.run
    else:
        run = uvloop.run
    keep_freed_memory()
    try:
        run(_serve_until_told(settings, listener))
    except (StoreFailure, SigningUnavailable) as exc:
        return _fail(str(exc))
    return 0


async def _serve_until_told(settings: ServeSettings, listener: socket.socket) -> None:
    """Serve until SIGINT or SIGTERM, then finish what is under way.

    Raises:
        StoreFailure: the store cannot be opened.
        SigningUnavailable: webhooks are on, but their extra is not installed.
    """
    loop, told = asyncio.get_running_loop(), asyncio.Event()
    for number in (signal.SIGINT, signal.SIGTERM):
        loop.add_signal_handler(number, told.set)
    handler = Handler(
        lambda: open_store(settings), prefix=settings.prefix, cors=settings.cors, settings=settings.service
    )
    service = await handler.service()
    server = WireServer(handler, max_body_bytes=settings.service.max_body_bytes, limits=settings.connection)
    await server.start(listener)
    host, port = listener.getsockname()[:2]
    url = f"http://{f'[{host}]' if ':' in host else host}:{port}{settings.prefix}"
    print(f"durafold: listening on {url}, {service.store.location}", file=sys.stderr, flush=True)  # noqa: T201
    await told.wait()
    handler.stop()
    await server.stop(_SHUTDOWN_S)
    await handler.aclose()


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


def _port(text: str) -> int:
    port = int(text)
    if not 0 <= port <= 65535:
        raise argparse.ArgumentTypeError("must be a port from 0 to 65535")
    return port


def _parser_like(default: object) -> Callable[[str], object]:
    if isinstance(default, str):
        return str
    return _positive(int if isinstance(default, int) else float)


def _positive(kind: type[float]) -> Callable[[str], float]:
    """A parser of numbers greater than 0: any other would keep the server busy, or of no use."""

    def number(text: str) -> float:
        value = kind(text)
        if not 0 < value < float("inf"):
            raise argparse.ArgumentTypeError("must be greater than 0")
        return value

    return number


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
