"""Pages of the documentation as programs: what their code blocks hold, to be run as a reader would."""

from __future__ import annotations

import re
import subprocess
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from support.command_line import CommandLine

__all__ = ["DOCS", "Example", "Shell", "blocks", "examples", "files", "write_files"]

DOCS: Final = Path(__file__).parents[2] / "docs"


def blocks(page: str, language: str) -> list[str]:
    """The code blocks of a page in one language, titled or not."""
    return re.findall(rf"^```{language}(?: [^\n]*)?\n(.*?)^```", _text(page), re.MULTILINE | re.DOTALL)


def files(page: str) -> dict[str, str]:
    """The files that a page has its reader save: its titled code blocks, by title; a later one replaces."""
    found = re.findall(r"^```\w+ title=\"([^\"]+)\"\n(.*?)^```", _text(page), re.MULTILINE | re.DOTALL)
    return dict(found)


def write_files(page: str, directory: Path, *, server_url: str = "") -> None:
    """Save them all; with another server than the page's, if one is given."""
    for name, text in files(page).items():
        file = directory / name
        file.parent.mkdir(parents=True, exist_ok=True)
        file.write_text(text.replace("http://127.0.0.1:4437", server_url) if server_url else text)


def _text(page: str) -> str:
    return (DOCS / page).read_text()


@dataclass(frozen=True)
class Example:
    """A command line and what the page says it prints; `…` stands for anything, as a line for any lines."""

    command: str
    printed: str

    def is_like(self, printed: str) -> bool:
        pattern = "".join(map(_line_pattern, self.printed.splitlines(keepends=True)))
        return re.fullmatch(pattern, printed) is not None


def _line_pattern(line: str) -> str:
    return r"(?:.*\n)*" if line == "…\n" else ".*".join(map(re.escape, line.split("…")))


def examples(page: str) -> list[Example]:
    """The command lines that a page shows with what they print."""
    shown = [re.split(r"^\$ ", block, flags=re.MULTILINE)[1:] for block in blocks(page, "console")]
    return [Example(*example.split("\n", 1)) for block in shown for example in block]


class Shell:
    """Runs the examples' kind of command lines, `durafold` itself within this process."""

    def __init__(self, durafold: CommandLine) -> None:
        self._durafold = durafold
        self._last_code = 0

    def run(self, line: str) -> str:
        """What a command line prints; `durafold` is this one, and `$?` the code that its last run gave."""
        before, pipe, command = line.rpartition(" | ")
        command = command.replace("$?", str(self._last_code))
        fed = subprocess.run(before, shell=True, capture_output=True, check=True).stdout if pipe else b""
        if not command.startswith("durafold "):
            ended = subprocess.run(command, shell=True, capture_output=True, text=True)
            return ended.stdout + ended.stderr
        words = subprocess.run(
            f"printf '%s\\0' {command}", shell=True, capture_output=True, text=True, check=True
        )
        outcome = self._durafold(*words.stdout.split("\0")[1:-1], stdin=fed)
        self._last_code = outcome.code
        return outcome.out + outcome.err

    def differing(self, page: str) -> list[tuple[Example, str]]:
        """Run all examples of a page in order; those that print something else, with what they print."""
        printed = [(example, self.run(example.command)) for example in examples(page)]
        return [pair for pair in printed if not pair[0].is_like(pair[1])]
