"""Starts the server: `python -m durafold_server`, and what `durafold serve` and `durafold config` call."""

from __future__ import annotations

import argparse
import asyncio
import os
import signal
import sys
from collections.abc import Sequence
from pathlib import Path

from durafold_server import settings as table
from durafold_server import settings_text
from durafold_server.allocator import keep_freed_memory
from durafold_server.config import ServeSettings
from durafold_server.reducers.registered import UnknownReducer
from durafold_server.server import Server, ServerError
from durafold_server.settings import InvalidSetting, Resolved
from durafold_server.store.base import StoreFailure
from durafold_server.subscriptions.signing import SigningUnavailable

_SPARE_FILES = 256  # for the store, logs and what else a process opens beside its connections


def main(arguments: Sequence[str] | None = None) -> int:
    """Parse a command line and serve; returns the exit code."""
    return serve(parse_arguments(arguments))


def parse_arguments(arguments: Sequence[str] | None = None) -> ServeSettings:
    """The settings that a command line, the environment and the file ask for.

    Exits with a usage message and code 2 if one of them is wrong.
    """
    parser = argparse.ArgumentParser(
        prog="durafold serve",
        usage="%(prog)s [OPTIONS]",
        description="A durable streams server. Every option can come from an environment variable "
        f"({table.ENV_PREFIX}PORT for --port) or from {table.FILE_NAME} as well: `durafold config show`.",
    )
    table.add_flags(parser)
    options = parser.parse_args(arguments)
    try:
        return _resolve(options).serve_settings()
    except InvalidSetting as exc:
        parser.error(str(exc))


def config(arguments: Sequence[str] | None = None) -> int:
    """`durafold config`: show the settings in force, or write the reference page; returns the exit code."""
    parser = argparse.ArgumentParser(prog="durafold config", description="Settings of the stream server.")
    commands = parser.add_subparsers(dest="command", required=True)
    show = commands.add_parser(
        "show",
        usage="%(prog)s [OPTIONS]",
        help="print each value and where it comes from; takes the options of `durafold serve`",
    )
    show.add_argument("--json", action="store_true", help="for programs")
    table.add_flags(show)
    commands.add_parser("reference", help="print the reference page of all settings, in Markdown")
    options = parser.parse_args(arguments)
    if options.command == "reference":
        sys.stdout.write(settings_text.reference_page())
        return 0
    try:
        resolved = _resolve(options)
    except InvalidSetting as exc:
        show.error(str(exc))
    sys.stdout.write(settings_text.as_json(resolved) if options.json else settings_text.as_text(resolved))
    return 0


def serve(settings: ServeSettings) -> int:
    """Listen until SIGINT or SIGTERM; returns the exit code.

    Prints one line to standard error once connections are accepted: where it listens and where the data is.
    """
    _allow_open_files(settings.connection.max_connections + _SPARE_FILES)
    try:
        import uvloop
    except ModuleNotFoundError:  # not on Windows
        run = asyncio.run
    else:
        run = uvloop.run
    keep_freed_memory()
    try:
        run(_serve_until_told(settings))
    except (InvalidSetting, ServerError, StoreFailure, SigningUnavailable, UnknownReducer) as exc:
        hint = f". {exc.hint}" if isinstance(exc, UnknownReducer) and exc.hint else ""
        print(f"durafold: {exc}{hint}", file=sys.stderr)  # noqa: T201
        return 1
    return 0


async def _serve_until_told(settings: ServeSettings) -> None:
    """Serve until SIGINT or SIGTERM, then finish what is under way.

    Raises:
        InvalidSetting: the tokens' file cannot be used.
        ServerError: it cannot listen, or must not.
        StoreFailure: the store cannot be opened.
        SigningUnavailable: webhooks are on, but their extra is not installed.
        UnknownReducer: one that is named cannot be found or used.
    """
    loop, told = asyncio.get_running_loop(), asyncio.Event()
    for number in (signal.SIGINT, signal.SIGTERM):
        loop.add_signal_handler(number, told.set)
    async with Server(settings) as server:
        location = (await server.service()).store.location
        print(f"durafold: listening on {server.url}, {location}", file=sys.stderr, flush=True)  # noqa: T201
        await told.wait()


def _resolve(options: argparse.Namespace) -> Resolved:
    return table.resolve(table.given(options), os.environ, Path.cwd())


def _allow_open_files(count: int) -> None:
    """Raise this process's own limit towards what its connections need, as far as the system lets it."""
    try:
        import resource
    except ModuleNotFoundError:  # not on Windows
        return
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    wanted = count if hard == resource.RLIM_INFINITY else min(count, hard)
    if soft != resource.RLIM_INFINITY and soft < wanted:
        resource.setrlimit(resource.RLIMIT_NOFILE, (wanted, hard))
