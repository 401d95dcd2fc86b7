"""`durafold version`."""

from __future__ import annotations

import platform
from importlib.metadata import version as installed_version
from typing import Annotated

import typer

from durafold.cli.output import Output

__all__ = ["print_version", "version"]


def version(json: Annotated[bool, typer.Option("--json", help="Print one line of JSON.")] = False) -> None:
    """Print the version."""
    print_version(as_json=json)


def print_version(*, as_json: bool = False) -> None:
    """The version of this package, and with JSON also that of Python."""
    number = installed_version("durafold")
    Output(as_json=as_json).result(
        {"durafold": number, "python": platform.python_version()}, f"durafold {number}"
    )
