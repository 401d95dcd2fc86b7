"""`durafold demo`: a stream server and the Reflex demo app, as two child processes.

The server is there to be killed by the curious: it is started again at once, on the same data. When the app
ends, the demo ends.
"""

from __future__ import annotations

import signal
import socket
import threading
import time
import urllib.request
from collections.abc import Generator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import BinaryIO, Final

from durafold.cli.demo_app import DemoApp, find_source
from durafold.cli.exits import CommandFailed
from durafold.errors import ConnectFailed
from durafold.processes import ChildProcess
from durafold.testing import ServerProcess

__all__ = ["DemoSettings", "ServerKeeper", "run_demo"]

_BUILD_TIMEOUT_S: Final = 600.0
_START_TIMEOUT_S: Final = 60.0
_WATCH_INTERVAL_S: Final = 0.1
_FIRST_PAUSE_S: Final = 0.5
_LONGEST_PAUSE_S: Final = 10.0
_STOP_SIGNALS: Final = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)


@dataclass(frozen=True, slots=True)
class DemoSettings:
    """What `durafold demo` was asked for.

    Attributes:
        data_dir: directory of streams, caches and logs.
        app_port: port of the pages.
        stream_port: port of the stream server.
    """

    data_dir: Path
    app_port: int
    stream_port: int


def run_demo(settings: DemoSettings) -> int:
    """Run both programs until SIGINT, SIGTERM or SIGHUP, then end them.

    Returns:
        The exit code, 0.

    Raises:
        CommandFailed: a port is taken, the data directory cannot be used, or the app's source is not
            here; nothing was started.
        ConnectFailed: a program did not start, or the app ended; the message holds its last words.
    """
    source = find_source()
    _check_port(settings.stream_port, "--stream-port")
    _check_port(settings.app_port, "--port")
    _make_directory(settings.data_dir)
    server = ServerProcess(
        settings.data_dir / "streams",
        port=settings.stream_port,
        log_file=settings.data_dir / "stream-server.log",
    )
    with _stop_signals() as stop, server, (settings.data_dir / "app.log").open("ab+") as log:
        _say(f"Stream server: process {server.pid}. Kill it if you like: it comes back with all its data")
        app = DemoApp(source, settings.app_port, server.url, settings.data_dir / "app-cache")
        keeper = ServerKeeper(server)
        _build(app, keeper, stop, log)
        _serve(app, keeper, stop, log)
    return 0


def _build(app: DemoApp, keeper: ServerKeeper, stop: threading.Event, log: BinaryIO) -> None:
    if app.is_built():
        return
    _say("Building the pages")
    with ChildProcess("The build", app.build_command, log, cwd=app.source, env=app.environment) as build:

        def is_over() -> bool | None:
            keeper.check()
            return stop.is_set() or build.exit_code == 0 or None

        build.wait_until(is_over, timeout_s=_BUILD_TIMEOUT_S)
    if not stop.is_set():
        app.mark_built()


def _serve(app: DemoApp, keeper: ServerKeeper, stop: threading.Event, log: BinaryIO) -> None:
    if stop.is_set():
        return
    with ChildProcess("The app", app.serve_command, log, cwd=app.source, env=app.serve_environment) as server:

        def is_up() -> bool | None:
            keeper.check()
            return stop.is_set() or _answers(app.address) or None

        server.wait_until(is_up, timeout_s=_START_TIMEOUT_S)
        if not stop.is_set():
            _say(f"The demo runs at {app.address} (Ctrl-C ends it)")
        while not stop.wait(_WATCH_INTERVAL_S):
            keeper.check()
            server.check()


@dataclass(slots=True)
class ServerKeeper:
    """Starts the stream server again whenever it has ended."""

    server: ServerProcess
    _pause_s: float = 0.0
    _next_try_at: float = 0.0

    def check(self) -> None:
        """Look after the server; while it refuses to start, look less and less often."""
        if self.server.is_running or time.monotonic() < self._next_try_at:
            return
        try:
            self.server.start()
        except ConnectFailed as exc:
            self._wait_longer(exc)
        else:
            self._pause_s = 0.0
            _say(f"The stream server had ended. Started it again: process {self.server.pid}")

    def _wait_longer(self, reason: ConnectFailed) -> None:
        # Said once: whoever started a server on that port by hand wants to work with it, not to read this.
        if self._pause_s == 0.0:
            _say(f"The stream server has ended and does not start again; trying on. {reason}")
        self._pause_s = min(max(2 * self._pause_s, _FIRST_PAUSE_S), _LONGEST_PAUSE_S)
        self._next_try_at = time.monotonic() + self._pause_s


@contextmanager
def _stop_signals() -> Generator[threading.Event]:
    """An event that a signal to stop sets; the signals do nothing else meanwhile."""
    stop = threading.Event()
    before = {number: signal.signal(number, lambda *_: stop.set()) for number in _STOP_SIGNALS}
    try:
        yield stop
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)


def _check_port(port: int, option: str) -> None:
    with socket.socket() as probe:
        # As servers do: a port whose last connections are still closing is free.
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            probe.bind(("", port))
        except OSError as exc:
            raise CommandFailed(
                f"Port {port} cannot be used ({exc.strerror})",
                hint=f"End the program that uses it, or choose another: durafold demo {option} {port + 1}",
            ) from exc


def _make_directory(path: Path) -> None:
    try:
        path.mkdir(parents=True, exist_ok=True)
    except OSError as exc:
        raise CommandFailed(
            f"Cannot make the directory {path} ({exc.strerror})",
            hint="Choose another: durafold demo --data DIRECTORY",
        ) from exc


def _answers(url: str) -> bool:
    # Straight to this machine, whatever proxy the environment names.
    opener = urllib.request.build_opener(urllib.request.ProxyHandler({}))
    try:
        with opener.open(url, timeout=5):
            return True
    except OSError:
        return False


def _say(text: str) -> None:
    print(text, flush=True)
