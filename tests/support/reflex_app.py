"""`ReflexApp`: the demo app in a process of its own, so that a test can end and restart it.

Every app runs from a copy of its source: Reflex writes its lock files beside it, and two runs in one
directory would read each other's half-written ones.
"""

from __future__ import annotations

import shutil
import signal
import sys
import tempfile
import urllib.error
import urllib.request
from pathlib import Path
from types import TracebackType
from typing import Final, Self

from durafold.processes import ChildProcess
from support.ports import free_port

__all__ = ["DEMO_DIR", "ReflexApp"]

DEMO_DIR: Final = Path(__file__).parents[2] / "examples" / "reflex_demo"


class ReflexApp:
    """A run of the demo in production mode; a context manager that starts and ends it.

    Args:
        stream_url: base URL of the streams.
        directory: where the app runs, and keeps its last state.
        pages: build and serve the pages too, which takes a while; otherwise only what tabs connect to.
        source: another app than the demo.
        reloads: run it as developers do, so that it starts anew when its source changes.
    """

    def __init__(
        self,
        stream_url: str,
        directory: Path,
        *,
        pages: bool = False,
        source: Path = DEMO_DIR,
        reloads: bool = False,
    ) -> None:
        self._port = free_port()
        self._source = directory / source.name
        if not self._source.exists():
            made = shutil.ignore_patterns(".*", "__pycache__")
            shutil.copytree(source, self._source, ignore=made)
        self._env = {
            "STREAM_URL": stream_url,
            "DURAFOLD_CACHE_DIR": str(directory / "cache"),
            "REFLEX_CHECK_LATEST_VERSION": "false",
        }
        which = ["--frontend-port"] if pages else ["--backend-only", "--backend-port"]
        mode = "dev" if reloads else "prod"
        self._command = [sys.executable, "-m", "reflex", "run", "--env", mode, *which, str(self._port)]
        self._log = tempfile.TemporaryFile()  # noqa: SIM115 - closed by __exit__
        self._run: ChildProcess | None = None

    @property
    def url(self) -> str:
        """Address of the page, without a slash at its end."""
        return f"http://127.0.0.1:{self._port}"

    @property
    def pid(self) -> int:
        """Of the process that was started; the app's own is below it."""
        assert self._run is not None, "the app was never started"
        return self._run.pid

    @property
    def source(self) -> Path:
        """The copy of the app's source that runs."""
        return self._source

    @property
    def output(self) -> str:
        """What the app has written so far."""
        return self._run.output if self._run else ""

    def start(self) -> None:
        """Start the app and return once it answers. A first build installs packages and may take minutes."""
        run = self._run = ChildProcess(
            "The demo app", self._command, self._log, cwd=self._source, env=self._env
        )
        run.wait_until(self._answers, timeout_s=300)

    def stop(self) -> int:
        """End the app as a service manager would, and return its exit code."""
        assert self._run is not None, "the app was never started"
        return self._run.end(timeout_s=30)

    def kill(self) -> None:
        """End the app as a crash would."""
        assert self._run is not None, "the app was never started"
        self._run.end(signal.SIGKILL)

    def __enter__(self) -> Self:
        self.start()
        return self

    def __exit__(
        self, exc_type: type[BaseException] | None, exc: BaseException | None, tb: TracebackType | None
    ) -> None:
        self.stop()
        self._log.close()

    def _answers(self) -> bool | None:
        try:
            with urllib.request.urlopen(f"{self.url}/ping", timeout=5):
                return True
        except (urllib.error.URLError, TimeoutError, ConnectionError):
            return None
