"""Servers started for a run: in process groups of their own, on free ports, with data to throw away."""

from __future__ import annotations

import os
import signal
import socket
import subprocess
from collections.abc import Sequence
from pathlib import Path
from typing import Final

from durafold_server.bench.errors import BenchError

_STOP_TIMEOUT_S: Final = 10.0
_LAST_LINES: Final = 20


class ServerProcess:
    """A server started by a command.

    Args:
        name: names its files, and the server in messages.
        command: program and arguments; `{port}` stands for the port to listen on, `{data}` for a directory
            to keep streams in. A command without `{data}` is taken to keep them in memory.
        directory: for its log and its data.
    """

    def __init__(self, name: str, command: Sequence[str], directory: Path) -> None:
        self.name = name
        self.port = _free_port()
        keeps_data = any("{data}" in part for part in command)
        self.data_dir = directory / f"{name}-data" if keeps_data else None
        self.command = tuple(
            part.replace("{port}", str(self.port)).replace("{data}", str(self.data_dir)) for part in command
        )
        self._log = directory / f"{name}.log"
        self._process: subprocess.Popen[bytes] | None = None

    @property
    def pid(self) -> int:
        """Of the process that was started last; 0 before the first start."""
        return self._process.pid if self._process else 0

    def start(self) -> None:
        """Start the process; it needs a while until it answers.

        Raises:
            BenchError: the command cannot be run.
        """
        if self.data_dir is not None:
            self.data_dir.mkdir(mode=0o700, exist_ok=True)
        try:
            with self._log.open("wb") as log:
                self._process = subprocess.Popen(  # noqa: S603 - the user's own command
                    self.command,
                    stdin=subprocess.DEVNULL,
                    stdout=log,
                    stderr=subprocess.STDOUT,
                    start_new_session=True,
                )
        except OSError as exc:
            raise BenchError(f"cannot start {self.name}: {self.command[0]}: {exc.strerror}") from exc

    def obituary(self) -> str | None:
        """If it has ended by itself: its exit code and its last words."""
        if self._process is None or self._process.poll() is None:
            return None
        lines = self._log.read_text(errors="replace").splitlines()[-_LAST_LINES:]
        words = "\n".join(lines) or "it said nothing"
        return f"{self.name} ended with exit code {self._process.returncode}: {words}"

    def kill(self) -> None:
        """End it as a crash would."""
        self._end(signal.SIGKILL)

    def stop(self) -> None:
        """Ask it to end, and kill it if it does not. May be called twice, or before the first start."""
        self._end(signal.SIGTERM)

    def _end(self, how: signal.Signals) -> None:
        if self._process is None:
            return
        if self._process.poll() is None:
            os.killpg(self._process.pid, how)
            try:
                self._process.wait(_STOP_TIMEOUT_S)
            except subprocess.TimeoutExpired:
                self._process.kill()
        self._process.wait()
        # What it may have started itself.
        try:
            os.killpg(self._process.pid, signal.SIGKILL)
        except ProcessLookupError:
            return


def _free_port() -> int:
    with socket.create_server(("127.0.0.1", 0)) as probe:
        port: int = probe.getsockname()[1]
    return port
