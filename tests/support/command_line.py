"""Runs the `durafold` command in this process, with what it would read and print."""

from __future__ import annotations

import json
import sys
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

import pytest

from durafold.cli import main

__all__ = ["CommandLine", "Outcome"]

VARIABLES: Final = ("STREAM_URL", "STREAM_AUTH", "COLUMNS", "FORCE_COLOR")


@dataclass(frozen=True, slots=True)
class Outcome:
    """What a command did.

    Attributes:
        code: its exit code.
        data: what it wrote to standard output.
        err: what it wrote to standard error.
    """

    code: int
    data: bytes
    err: str

    @property
    def out(self) -> str:
        """Standard output as text."""
        return self.data.decode()

    @property
    def records(self) -> list[Any]:
        """The records of `--json`."""
        return [json.loads(line) for line in self.data.splitlines()]


class CommandLine:
    """Runs commands against a server.

    Args:
        url: base URL of its streams.
        directory: for the files that stand for standard input.
        capture: what catches the output.
        patch: what changes the environment until the test ends.

    Attributes:
        is_terminal: whether standard output looks like a terminal.
    """

    def __init__(
        self,
        url: str,
        directory: Path,
        capture: pytest.CaptureFixture[bytes],
        patch: pytest.MonkeyPatch,
    ) -> None:
        self.url = url
        self.is_terminal = False
        self._directory = directory
        self._capture = capture
        self._patch = patch
        for name in VARIABLES:
            patch.delenv(name, raising=False)
        patch.setenv("STREAM_URL", url)

    def __call__(self, *arguments: str, stdin: bytes = b"") -> Outcome:
        """Run one command line and return what it did, whatever its exit code."""
        file = self._directory / "stdin"
        file.write_bytes(stdin)
        self._capture.readouterr()
        with file.open() as source:
            self._patch.setattr(sys, "stdin", source)
            self._patch.setattr(sys.stdout, "isatty", lambda: self.is_terminal)
            code = main(arguments)
        out, err = self._capture.readouterr()
        return Outcome(code, out, err.decode())

    def ok(self, *arguments: str, stdin: bytes = b"") -> Outcome:
        """Run one that has to succeed."""
        outcome = self(*arguments, stdin=stdin)
        assert outcome.code == 0, outcome.err
        return outcome
