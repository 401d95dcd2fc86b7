"""The Reflex demo app: where it is, and the commands that build its pages and serve them.

`reflex run --env prod` builds the pages at every start. Here the two steps are apart, so that pages which are
up to date are not built again: that makes every start but the first six times as fast.
"""

from __future__ import annotations

import hashlib
import os
import sys
from collections.abc import Iterator
from dataclasses import dataclass
from importlib.metadata import version
from pathlib import Path

import durafold
from durafold.cli.exits import CommandFailed

__all__ = ["DemoApp", "find_source"]

_SDK = Path(durafold.__file__).parent


@dataclass(frozen=True, slots=True)
class DemoApp:
    """The demo app on one port.

    Attributes:
        source: its directory.
        port: port of its pages, which are built for this port.
        stream_url: base URL of its streams.
        cache_dir: where it keeps its last state.
    """

    source: Path
    port: int
    stream_url: str
    cache_dir: Path

    @property
    def address(self) -> str:
        """Where to open it in a browser."""
        return f"http://127.0.0.1:{self.port}"

    @property
    def build_command(self) -> list[str]:
        """The command that builds the pages; run it in `source`."""
        return [sys.executable, "-m", "reflex", "export", "--frontend-only", "--no-zip", "--env", "prod"]

    @property
    def serve_command(self) -> list[str]:
        """The command that serves the pages and their WebSocket; run it in `source`."""
        app = f"{self.source.name}.{self.source.name}:app"
        # Granian is what Reflex itself serves apps with.
        options = ["--port", str(self.port), "--log-level", "warning", "--workers-kill-timeout", "3"]
        return [sys.executable, "-m", "granian", "--interface", "asgi", "--factory", *options, app]

    @property
    def environment(self) -> dict[str, str]:
        """Variables for both commands."""
        return {
            "STREAM_URL": self.stream_url,
            "DURAFOLD_CACHE_DIR": str(self.cache_dir.absolute()),
            "REFLEX_FRONTEND_PORT": str(self.port),
            "REFLEX_BACKEND_PORT": str(self.port),
            "REFLEX_TELEMETRY_ENABLED": "false",
            "REFLEX_CHECK_LATEST_VERSION": "false",
        }

    @property
    def serve_environment(self) -> dict[str, str]:
        """Variables for `serve_command`: what `reflex run --env prod` sets once it has built the pages."""
        return {
            **self.environment,
            "REFLEX_ENV_MODE": "prod",
            "__REFLEX_SKIP_COMPILE": "true",
            "__REFLEX_MOUNT_FRONTEND_COMPILED_APP": "true",
        }

    def is_built(self) -> bool:
        """Whether there are pages, made from what there is now."""
        return self._stamp.exists() and self._stamp.read_text() == self._made_from()

    def mark_built(self) -> None:
        """Remember what the pages were made from; call it after `build_command` succeeded."""
        self._stamp.write_text(self._made_from())

    @property
    def _stamp(self) -> Path:
        # Beside the pages: a build begins by removing both.
        web = os.environ.get("REFLEX_WEB_WORKDIR", ".web")
        return self.source / web / "build" / "made-from"

    def _made_from(self) -> str:
        digest = hashlib.sha256(f"reflex {version('reflex')}, port {self.port}".encode())
        for path in sorted(_sources(self.source)) + sorted(_SDK.rglob("*.py")):
            digest.update(f"\0{path}\0".encode())
            digest.update(path.read_bytes())
        return digest.hexdigest()


def find_source() -> Path:
    """The directory of the demo app.

    Raises:
        CommandFailed: this is an installed package, not a checkout of the source.
    """
    source = _SDK.parents[1] / "examples" / "reflex_demo"
    if not (source / "rxconfig.py").exists():
        raise CommandFailed(
            "The demo app is part of durafold's source, not of the installed package",
            hint="Get the source, and run `make demo` in it",
        )
    return source


def _sources(directory: Path) -> Iterator[Path]:
    """The files of a directory, without what is made there: hidden folders and compiled modules."""
    for path in directory.iterdir():
        if path.name.startswith(".") or path.name == "__pycache__":
            continue
        if path.is_dir():
            yield from _sources(path)
        else:
            yield path
