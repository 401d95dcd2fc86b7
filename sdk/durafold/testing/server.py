"""`ServerProcess`: a durafold server in a process of its own, so that a test can kill it for real.

It does not import the server: `python -m durafold_server` and the line it prints are all that the two share.
"""

from __future__ import annotations

import re
import signal
import sys
import tempfile
from collections.abc import Sequence
from pathlib import Path
from types import TracebackType
from typing import BinaryIO, Final, Self
from urllib.parse import urlsplit

import anyio.to_thread

from durafold.errors import ConfigurationError
from durafold.processes import ChildProcess

__all__ = ["ServerProcess"]

_LISTENING: Final = re.compile(r"^durafold: listening on (?P<url>[^\s,]+)", re.MULTILINE)


class ServerProcess:
    """A durafold server in its own process, on a free port of 127.0.0.1.

    It is a context manager, synchronous and asynchronous alike:

        with ServerProcess(tmp_path) as server:
            httpx.put(f"{server.url}/demo").raise_for_status()
            server.kill()  # like a power cut: SIGKILL
            server.restart()  # same port, same data
            assert httpx.head(f"{server.url}/demo").status_code == 200

    The methods block for as long as the process takes (some tenths of a second). Asynchronous code that must
    not wait for them runs them with `anyio.to_thread.run_sync(server.restart)`.

    Args:
        data_dir: directory of the durable store. `None`: streams live in memory and end with the process.
        port: port to listen on. 0: a free one, chosen at the first start and kept by `restart`.
        options: more command-line options of the server, such as `["--long-poll-timeout-s", "0.5"]`.
        start_timeout_s: seconds that a start may take.
        stop_timeout_s: seconds that `terminate`, `restart` and `close` wait before they kill.
        log_file: file that takes the server's output, after what it holds already. `None`: a temporary one.
    """

    def __init__(
        self,
        data_dir: Path | None = None,
        *,
        port: int = 0,
        options: Sequence[str] = (),
        start_timeout_s: float = 30.0,
        stop_timeout_s: float = 10.0,
        log_file: Path | None = None,
    ) -> None:
        self.data_dir = data_dir
        self._port = port
        self._options = tuple(options)
        self._start_timeout_s = start_timeout_s
        self._stop_timeout_s = stop_timeout_s
        self._log_file = log_file
        self._log: BinaryIO | None = None
        self._last_run: ChildProcess | None = None
        self._url = ""

    @property
    def url(self) -> str:
        """Base URL of the streams, such as `http://127.0.0.1:40123/v1/stream`: no slash at its end.

        Raises:
            ConfigurationError: the server was never started.
        """
        self._run()
        return self._url

    @property
    def port(self) -> int:
        """The port it listens on, or listened on before it ended; 0 before the first start."""
        return self._port

    @property
    def pid(self) -> int:
        """Process id of the running or last process.

        Raises:
            ConfigurationError: the server was never started.
        """
        return self._run().pid

    @property
    def is_running(self) -> bool:
        """Whether the process lives."""
        return self._last_run is not None and self._last_run.exit_code is None

    @property
    def output(self) -> str:
        """What the running or last process has written to stdout and stderr so far.

        Raises:
            ConfigurationError: the server was never started.
        """
        return self._run().output

    @property
    def command(self) -> list[str]:
        """The command line that `start` runs."""
        where = ["--memory"] if self.data_dir is None else ["--data", str(self.data_dir)]
        return [sys.executable, "-m", "durafold_server", "--port", str(self._port), *where, *self._options]

    def start(self) -> None:
        """Start the process and return once it listens.

        Raises:
            ConfigurationError: it is running already.
            ConnectFailed: it ended, or did not listen in time; the message holds its last words.
        """
        if self.is_running:
            raise ConfigurationError("The server is running already", hint="Call restart() to start it anew")
        run = self._last_run = ChildProcess("The stream server", self.command, self._open_log())
        try:
            listening = run.wait_until(lambda: _LISTENING.search(run.output), timeout_s=self._start_timeout_s)
        except BaseException:
            run.end(signal.SIGKILL)
            raise
        self._url = listening["url"]
        self._port = urlsplit(self._url).port or 0

    def kill(self) -> None:
        """End the process with SIGKILL, as a crash would; nothing happens if it has ended already.

        Raises:
            ConfigurationError: the server was never started.
        """
        self._run().end(signal.SIGKILL)

    def terminate(self) -> int:
        """Ask the process to end (SIGTERM), kill it after `stop_timeout_s`, and return its exit code.

        Returns:
            The exit code; a negative one is the number of the signal that ended it.

        Raises:
            ConfigurationError: the server was never started.
        """
        return self._run().end(timeout_s=self._stop_timeout_s)

    def restart(self) -> None:
        """End the process if it still runs (SIGTERM) and start it on the same port with the same data.

        Raises:
            ConfigurationError: the server was never started.
            ConnectFailed: it did not come back; the message holds its last words.
        """
        self.terminate()
        self.start()

    def close(self) -> None:
        """End the process if it still runs, and close its log: `output` is gone then. May be called twice."""
        if self._last_run is not None:
            self.terminate()
        if self._log is not None:
            self._log.close()
            self._log = None

    def __enter__(self) -> Self:
        try:
            self.start()
        except BaseException:
            self.close()
            raise
        return self

    def __exit__(
        self, exc_type: type[BaseException] | None, exc: BaseException | None, tb: TracebackType | None
    ) -> None:
        self.close()

    async def __aenter__(self) -> Self:
        return await anyio.to_thread.run_sync(self.__enter__)

    async def __aexit__(
        self, exc_type: type[BaseException] | None, exc: BaseException | None, tb: TracebackType | None
    ) -> None:
        with anyio.CancelScope(shield=True):
            await anyio.to_thread.run_sync(self.close)

    def _open_log(self) -> BinaryIO:
        if self._log is None:
            self._log = self._log_file.open("ab+") if self._log_file else tempfile.TemporaryFile()  # noqa: SIM115
        return self._log

    def _run(self) -> ChildProcess:
        if self._last_run is None:
            raise ConfigurationError(
                "The server was never started", hint="Use `with ServerProcess() as server:`"
            )
        return self._last_run
