"""`ChildProcess`: start a program, wait until it is ready, end it and all that it started.

This file knows process groups and log files, and nothing about what the programs do.
"""

from __future__ import annotations

import os
import signal
import subprocess
import time
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from types import TracebackType
from typing import BinaryIO, Final, Self, TypeVar

from durafold.errors import ConnectFailed

__all__ = ["ChildProcess"]

T = TypeVar("T")

_POLL_INTERVAL_S: Final = 0.01
_LAST_LINES: Final = 40


class ChildProcess:
    """One run of a program, in a process group of its own, with its output in a file.

    As a context manager it ends the program at exit.

    Args:
        name: what to call it in messages, such as `the stream server`.
        command: program and arguments.
        log: file that takes its stdout and stderr: it never fills up and outlives a kill. Not closed here.
        cwd: working directory; `None`: this process's.
        env: environment variables besides this process's own.
    """

    def __init__(
        self,
        name: str,
        command: Sequence[str],
        log: BinaryIO,
        *,
        cwd: Path | None = None,
        env: Mapping[str, str] | None = None,
    ) -> None:
        self.name = name
        self.command = tuple(command)
        self._log = log
        self._log_start = os.fstat(log.fileno()).st_size
        self._process = subprocess.Popen(  # noqa: S603 - no shell, and our callers choose the program
            self.command,
            stdin=subprocess.DEVNULL,
            stdout=log,
            stderr=subprocess.STDOUT,
            cwd=cwd,
            env={**os.environ, **(env or {})},
            start_new_session=True,
        )

    @property
    def pid(self) -> int:
        """Its process id, which is also the id of its process group."""
        return self._process.pid

    @property
    def exit_code(self) -> int | None:
        """Its exit code, negative if a signal ended it; `None` while it runs."""
        return self._process.poll()

    @property
    def output(self) -> str:
        """What it has written to stdout and stderr so far."""
        # `pread`: the file's own position belongs to the writing process.
        log = self._log.fileno()
        size = os.fstat(log).st_size - self._log_start
        return os.pread(log, size, self._log_start).decode(errors="replace")

    def last_words(self) -> str:
        """The end of its output, for an error message."""
        lines = self.output.splitlines()[-_LAST_LINES:]
        return "\n".join(["Its last words:", *lines]) if lines else "It said nothing"

    def check(self) -> None:
        """Make sure that it runs.

        Raises:
            ConnectFailed: it has ended; the message holds its last words.
        """
        if self.exit_code is not None:
            raise ConnectFailed(f"{self.name} ended with exit code {self.exit_code}. {self.last_words()}")

    def wait_until(self, ready: Callable[[], T | None], *, timeout_s: float) -> T:
        """Ask `ready` again and again until it answers.

        Args:
            ready: returns `None` for "not yet". What it raises ends the waiting.
            timeout_s: seconds to wait at most.

        Returns:
            What `ready` returned.

        Raises:
            ConnectFailed: the process ended first, or the time is over; the message holds its last
                words.
        """
        deadline = time.monotonic() + timeout_s
        while True:
            # Looked up before `ready` is asked: what a process says last is then not missed.
            exit_code = self.exit_code
            answer = ready()
            if answer is not None:
                return answer
            if exit_code is not None:
                self.check()
            if time.monotonic() > deadline:
                raise ConnectFailed(f"{self.name} was not ready after {timeout_s:g} s. {self.last_words()}")
            time.sleep(_POLL_INTERVAL_S)

    def end(self, how: signal.Signals = signal.SIGTERM, *, timeout_s: float = 10.0) -> int:
        """Send a signal to the process and all that it started, and wait until they are gone.

        Args:
            how: the signal. Whoever still lives after `timeout_s`, or once the process itself has ended, gets
                SIGKILL.
            timeout_s: seconds to wait before that.

        Returns:
            The exit code; a negative one is the number of the signal that ended the process.
        """
        if self._process.poll() is None:
            self._signal_group(how)
        try:
            return self._process.wait(timeout_s)
        except subprocess.TimeoutExpired:
            self._process.kill()
            return self._process.wait()
        finally:
            self._signal_group(signal.SIGKILL)

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, exc_type: type[BaseException] | None, exc: BaseException | None, tb: TracebackType | None
    ) -> None:
        self.end()

    def _signal_group(self, number: signal.Signals) -> None:
        try:
            os.killpg(self.pid, number)
        except ProcessLookupError:
            return
