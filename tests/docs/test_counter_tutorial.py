"""The tutorial "A shared counter", followed with the files and command lines that it prints."""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Final

import pytest

pytest.importorskip("reflex", reason="the tutorial's page needs: pip install 'durafold[reflex]'")
pytest.importorskip("websockets", reason="these tests speak Reflex's protocol with: pip install websockets")

from durafold.testing import ServerProcess
from support.pages import Shell, files, write_files
from support.reflex_app import ReflexApp
from support.reflex_tab import ReflexTab

PAGE: Final = "tutorial/a-shared-counter.md"


@pytest.fixture
def directory(tmp_path: Path, durable_server: ServerProcess) -> Path:
    """The reader's directory."""
    directory = tmp_path / "shared-counter"
    directory.mkdir()
    write_files(PAGE, directory, server_url=durable_server.url)
    return directory


class Terminal:
    """Somebody in front of a running `counter.py`."""

    def __init__(self, process: subprocess.Popen[str]) -> None:
        assert process.stdin is not None
        assert process.stdout is not None
        self._stdin, self._stdout = process.stdin, process.stdout

    def type(self, line: str) -> None:
        self._stdin.write(f"{line}\n")
        self._stdin.flush()

    def read_until(self, wanted: str) -> None:
        """Fails by the test's time limit if it never comes."""
        next(line for line in iter(self._stdout.readline, "") if line.strip() == wanted)


@contextmanager
def terminal(directory: Path) -> Iterator[Terminal]:
    command = [sys.executable, "-u", "-W", "error", "counter.py"]
    with subprocess.Popen(
        command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True, cwd=directory
    ) as process:
        terminal = Terminal(process)
        yield terminal
        terminal.type("")
    assert process.returncode == 0


def count_to_seven(server: ServerProcess, directory: Path) -> None:
    with terminal(directory) as second, terminal(directory) as third:
        second.read_until("counter: 0")
        third.read_until("counter: 0")
        second.type("5")
        third.read_until("counter: 5")
        server.kill()
        second.type("2")
        second.read_until("counter: 7")
        server.start()
        third.read_until("counter: 7")


@pytest.mark.timeout(120)
def test_two_terminals_agree_and_the_shell_shows_what_was_done(
    durable_server: ServerProcess, directory: Path, shell: Shell
) -> None:
    count_to_seven(durable_server, directory)

    assert shell.differing(PAGE) == []


@pytest.mark.xdist_group("reflex_app")
def test_the_page_and_a_terminal_share_the_counter(
    durable_server: ServerProcess, directory: Path, tmp_path: Path
) -> None:
    with (
        ReflexApp(durable_server.url, tmp_path / "run", source=directory) as app,
        ReflexTab(app.url, "page") as tab,
        terminal(directory) as third,
    ):
        tab.wait_for(lambda: tab.shown["Counter.status"] == "live")

        tab.send("Counter.increment", by=1)

        third.read_until("counter: 1")


def test_the_page_has_all_files_that_it_tells_of() -> None:
    assert list(files(PAGE)) == ["counter.py", "rxconfig.py", "page.py"]
