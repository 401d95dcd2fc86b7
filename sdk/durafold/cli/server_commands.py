"""Commands that hand all their arguments to another module's parser, so that every flag has one home."""

from __future__ import annotations

from collections.abc import Callable
from importlib import import_module
from typing import Annotated, Any, Final

import typer

from durafold.cli.exits import CommandFailed

__all__ = ["bench", "config", "conformance", "repair", "serve"]

_INSTALL: Final = 'Run: pip install "durafold[cli,server]"'

_SDK_BENCHES: Final = {"--client": "durafold.bench.clients", "--state": "durafold.bench.state"}

Arguments = Annotated[list[str] | None, typer.Argument(metavar="[OPTIONS]")]


def _forwards(function: Callable[..., None]) -> Callable[..., None]:
    function.forwards_arguments = True  # type: ignore[attr-defined]
    return function


@_forwards
def serve(arguments: Arguments = None) -> None:
    """Start the stream server."""
    _forward("durafold_server.cli", arguments)


@_forwards
def config(arguments: Arguments = None) -> None:
    """Show the server's settings: `durafold config show`."""
    _forward("durafold_server.cli", arguments, function="config")


@_forwards
def repair(arguments: Arguments = None) -> None:
    """Check and repair a data directory."""
    _forward("durafold_server.store.sqlite.repair", arguments)


@_forwards
def conformance(arguments: Arguments = None) -> None:
    """Check a stream server against the protocol."""
    _forward("durafold_server.conformance.cli", arguments)


@_forwards
def bench(arguments: Arguments = None) -> None:
    """Measure stream servers, clients or shared state, side by side.

    With --client as the first option it measures clients, with --state the state layer, else servers.
    """
    first = arguments[0] if arguments else ""
    if arguments and first in _SDK_BENCHES:
        _forward(_SDK_BENCHES[first], arguments[1:])
    _forward("durafold_server.bench.cli", arguments)


def _forward(module: str, arguments: list[str] | None, *, function: str = "main") -> None:
    try:
        run: Callable[[list[str]], Any] = getattr(import_module(module), function)
    except ModuleNotFoundError as exc:
        raise _missing(exc.name or module) from exc
    except AttributeError as exc:
        raise _missing(f"{module}.{function}") from exc
    raise typer.Exit(run(arguments or []))


def _missing(name: str) -> CommandFailed:
    return CommandFailed(f"This command needs {name}, which is not installed", hint=_INSTALL)
