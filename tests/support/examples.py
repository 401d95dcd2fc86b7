"""Examples in processes of their own, started as their README says."""

from __future__ import annotations

import sys
import tempfile
from collections.abc import Generator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Final

import httpx

from durafold.processes import ChildProcess

__all__ = ["EXAMPLES", "running", "web_app"]

EXAMPLES: Final = Path(__file__).parents[2] / "examples"


@contextmanager
def running(program: Path, *arguments: str, env: Mapping[str, str], cwd: Path) -> Generator[ChildProcess]:
    """A Python program of an example, with warnings as errors; ended in the end."""
    command = [sys.executable, "-u", "-W", "error", str(program), *arguments]
    with (
        tempfile.TemporaryFile() as log,
        ChildProcess(program.name, command, log, cwd=cwd, env=env) as process,
    ):
        yield process


@contextmanager
def web_app(program: Path, directory: Path, port: int, **env: str) -> Generator[ChildProcess]:
    """The same for a program with a page, once it answers on its port."""
    variables = {"PORT": str(port), "DATA_DIR": str(directory / "data"), **env}
    with running(program, env=variables, cwd=directory) as process:
        process.wait_until(lambda: _answers(port), timeout_s=60)
        yield process


def _answers(port: int) -> bool | None:
    try:
        return not httpx.get(f"http://127.0.0.1:{port}/", timeout=5).is_error or None
    except httpx.TransportError:
        return None
