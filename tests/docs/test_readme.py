"""The README's programs run as they are printed there; only the server's address is another one."""

from __future__ import annotations

import re
import subprocess
import sys
from pathlib import Path
from typing import IO, Final

import pytest

from durafold.testing import ServerProcess
from support.pages import Shell

README: Final = Path(__file__).parents[2] / "README.md"
PROGRAMS: Final = re.findall(r"^```python\n(.*?)^```", README.read_text(), re.MULTILINE | re.DOTALL)


def program(index: int, server: ServerProcess, directory: Path) -> list[str]:
    """The command that runs one of the README's programs against a server of the test's own."""
    file = directory / f"program{index}.py"
    file.write_text(PROGRAMS[index].replace("http://127.0.0.1:4437", server.url))
    return [sys.executable, "-u", "-W", "error", str(file)]


def started(command: list[str]) -> subprocess.Popen[str]:
    return subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)


def read_until(output: IO[str] | None, wanted: str) -> str:
    """Lines up to the one that is wanted; fails by the test's time limit if it never comes."""
    assert output is not None
    return next(line for line in iter(output.readline, "") if line.strip() == wanted)


def type_in(terminal: subprocess.Popen[str], line: str) -> None:
    assert terminal.stdin is not None
    terminal.stdin.write(f"{line}\n")
    terminal.stdin.flush()


@pytest.mark.timeout(60)
def test_the_counter_is_the_same_in_two_terminals(durable_server: ServerProcess, tmp_path: Path) -> None:
    command = program(0, durable_server, tmp_path)

    with started(command) as one, started(command) as other:
        read_until(other.stdout, "counter: 0")
        type_in(one, "5")
        read_until(other.stdout, "counter: 5")
        durable_server.kill()
        durable_server.start()
        type_in(other, "-2")
        seen = read_until(one.stdout, "counter: 3")
        type_in(one, "")
        type_in(other, "")

    assert (seen, one.returncode, other.returncode) == ("counter: 3\n", 0, 0)


def test_the_shopping_list_shows_milk_before_it_was_sent(server: ServerProcess, tmp_path: Path) -> None:
    command = program(1, server, tmp_path)

    done = subprocess.run(command, capture_output=True, text=True, timeout=30, check=False)

    assert (done.stdout, done.stderr, done.returncode) == ("['milk']\n", "", 0)


def test_the_shell_shows_what_the_counter_went_through(shell: Shell) -> None:
    create = "durafold create my-counter --type application/json"
    dispatch, replay = re.findall(
        r"^(durafold (?:dispatch|replay) my-counter .*?) +#", README.read_text(), re.MULTILINE
    )

    shown = [shell.run(line) for line in (create, dispatch, replay)]

    assert "Confirmed 1 op on my-counter" in shown[1]
    assert "state: 0 → 5" in shown[2]


def test_every_program_of_the_readme_is_tested() -> None:
    assert len(PROGRAMS) == 2


def test_the_counter_takes_about_fifteen_lines() -> None:
    assert len([line for line in PROGRAMS[0].splitlines() if line.strip()]) <= 15
