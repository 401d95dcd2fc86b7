"""The examples of "How to use the command line" do what they show, in their order."""

from __future__ import annotations

import re
import subprocess
from dataclasses import dataclass
from pathlib import Path
from typing import Final

import pytest

from durafold.testing import ServerProcess
from support.command_line import CommandLine

PAGE: Final = Path(__file__).parents[2] / "docs" / "how-to" / "use-the-command-line.md"


@dataclass(frozen=True)
class Example:
    """A command line and what the page says it prints; `…` stands for anything."""

    command: str
    printed: str

    def is_like(self, printed: str) -> bool:
        pattern = ".*".join(map(re.escape, self.printed.split("…")))
        return re.fullmatch(pattern, printed) is not None


def examples() -> list[Example]:
    blocks = re.findall(r"^```console\n(.*?)^```", PAGE.read_text(), re.MULTILINE | re.DOTALL)
    shown = [re.split(r"^\$ ", block, flags=re.MULTILINE)[1:] for block in blocks]
    return [Example(*example.split("\n", 1)) for block in shown for example in block]


class Shell:
    """Runs the examples' kind of command lines, `durafold` itself within this process."""

    def __init__(self, durafold: CommandLine) -> None:
        self._durafold = durafold
        self._last_code = 0

    def run(self, line: str) -> str:
        before, pipe, command = line.rpartition(" | ")
        command = command.replace("$?", str(self._last_code))
        fed = subprocess.run(before, shell=True, capture_output=True, check=True).stdout if pipe else b""
        if not command.startswith("durafold "):
            return subprocess.run(command, shell=True, capture_output=True, text=True, check=True).stdout
        words = subprocess.run(
            f"printf '%s\\0' {command}", shell=True, capture_output=True, text=True, check=True
        )
        outcome = self._durafold(*words.stdout.split("\0")[1:-1], stdin=fed)
        self._last_code = outcome.code
        return outcome.out + outcome.err


@pytest.fixture
def shell(
    durable_server: ServerProcess,
    tmp_path: Path,
    capsysbinary: pytest.CaptureFixture[bytes],
    monkeypatch: pytest.MonkeyPatch,
) -> Shell:
    monkeypatch.chdir(tmp_path)
    return Shell(CommandLine(durable_server.url, tmp_path, capsysbinary, monkeypatch))


def test_every_example_prints_what_the_page_shows(shell: Shell) -> None:
    printed = [(example, shell.run(example.command)) for example in examples()]

    assert [pair for pair in printed if not pair[0].is_like(pair[1])] == []


def test_there_are_examples() -> None:
    assert len(examples()) > 20
