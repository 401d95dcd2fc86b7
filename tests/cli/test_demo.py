"""`durafold demo` as a visitor uses it: start, look, kill the server, end. The app is the real one."""

from __future__ import annotations

import os
import re
import signal
import subprocess
import sys
from collections.abc import Generator, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Final
from urllib.request import Request, urlopen

import pytest

from durafold.cli.demo import ServerKeeper
from durafold.testing import ServerProcess
from support.ports import free_port
from support.windows import Window, require_chromium

DURAFOLD: Final = str(Path(sys.executable).with_name("durafold"))

pytestmark = [pytest.mark.demo, pytest.mark.timeout(300), pytest.mark.xdist_group("demo")]


@dataclass(frozen=True, slots=True)
class Place:
    """Where a demo keeps its pages, its data and its ports."""

    web_dir: Path
    data_dir: Path
    app_port: int
    stream_port: int


@dataclass(frozen=True, slots=True)
class RunningDemo:
    process: subprocess.Popen[str]
    place: Place
    server_pid: int

    @property
    def address(self) -> str:
        return f"http://127.0.0.1:{self.place.app_port}"

    @property
    def streams(self) -> str:
        return f"http://127.0.0.1:{self.place.stream_port}/v1/stream"

    @property
    def children(self) -> set[int]:
        """Process ids of the stream server and the app."""
        pid = self.process.pid
        return set(map(int, Path(f"/proc/{pid}/task/{pid}/children").read_text().split()))

    def read_line_with(self, text: str) -> str:
        """The next line that holds the text."""
        return read_line_with(self.process, text)

    def end(self, number: signal.Signals) -> int:
        self.process.send_signal(number)
        return self.process.wait()


@contextmanager
def demo(place: Place) -> Generator[RunningDemo]:
    ports = ["--port", str(place.app_port), "--stream-port", str(place.stream_port)]
    with subprocess.Popen(
        [DURAFOLD, "demo", "--data", str(place.data_dir), *ports],
        env={**os.environ, "REFLEX_WEB_WORKDIR": str(place.web_dir)},
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
    ) as process:
        try:
            server_pid = process_in(read_line_with(process, "Stream server: process"))
            yield RunningDemo(process, place, server_pid)
        finally:
            process.terminate()


def read_line_with(process: subprocess.Popen[str], text: str) -> str:
    assert process.stdout
    seen = []
    for line in process.stdout:
        seen.append(line)
        if text in line:
            return line
    raise AssertionError(f"the demo ended without saying {text!r}, but {seen}")


def process_in(line: str) -> int:
    match = re.search(r"process (\d+)", line)
    assert match
    return int(match[1])


@pytest.fixture(scope="module")
def built(tmp_path_factory: pytest.TempPathFactory) -> Place:
    """A place where the demo has run once, so that its pages are there."""
    root = tmp_path_factory.mktemp("demo")
    place = Place(root / "web", root / "data", free_port(), free_port())
    with demo(place) as first:
        first.read_line_with("Building the pages")
        first.read_line_with("The demo runs")
    return place


@pytest.fixture
def running(built: Place) -> Iterator[RunningDemo]:
    with demo(built) as again:
        again.read_line_with("The demo runs")
        yield again


def test_the_page_is_at_the_printed_address(built: Place) -> None:
    with demo(built) as again:
        line = again.read_line_with("The demo runs")

        assert line == f"The demo runs at {again.address} (Ctrl-C ends it)\n"
        with urlopen(again.address) as page:
            assert b"<title>durafold demo</title>" in page.read()


def test_the_page_counts_in_a_browser(running: RunningDemo) -> None:
    require_chromium()
    with Window(running.address) as window:
        expected = str(int(window.count) + 1)

        window.press("Increase")

        window.wait_for(lambda: (window.count, window.status) == (expected, "Live"))
        assert window.errors() == []


def test_the_second_start_does_not_build_the_pages_again(built: Place) -> None:
    with demo(built) as again:
        assert again.process.stdout
        assert again.process.stdout.readline().startswith("The demo runs at")


def test_a_killed_stream_server_comes_back_with_its_data(running: RunningDemo) -> None:
    stream = f"{running.streams}/kept"
    urlopen(Request(stream, b"data", {"Content-Type": "text/plain"}, method="PUT")).close()

    os.kill(running.server_pid, signal.SIGKILL)

    assert process_in(running.read_line_with("Started it again")) != running.server_pid
    with urlopen(stream) as answer:
        assert answer.read() == b"data"


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM, signal.SIGHUP])
def test_a_signal_ends_the_demo_and_all_its_processes(running: RunningDemo, number: signal.Signals) -> None:
    children = running.children

    assert running.end(number) == 0

    assert len(children) == 2
    assert [child for child in children if Path(f"/proc/{child}").exists()] == []


def test_a_signal_while_the_pages_are_built_ends_the_demo(built: Place, tmp_path: Path) -> None:
    unbuilt = Place(tmp_path / "web", tmp_path / "data", free_port(), free_port())
    with demo(unbuilt) as first:
        first.read_line_with("Building the pages")

        assert first.end(signal.SIGINT) == 0


def test_when_the_app_ends_the_demo_ends_and_says_so(running: RunningDemo) -> None:
    (app,) = running.children - {running.server_pid}

    os.kill(app, signal.SIGKILL)

    running.read_line_with("The app ended with exit code -9")
    assert running.process.wait() == 1


def test_a_server_that_cannot_start_is_reported_once_and_tried_again(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    with ServerProcess(tmp_path / "streams", port=free_port()) as server:
        keeper = ServerKeeper(server)
        server.kill()
        with ServerProcess(port=server.port) as someone_else:
            keeper.check()
            keeper.check()
            assert someone_else.is_running
        reported = capsys.readouterr().out

    assert reported.count("does not start again") == 1
    assert str(server.port) in reported
