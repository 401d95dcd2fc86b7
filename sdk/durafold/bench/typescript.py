"""The npm packages under measurement, in a Node process of their own, which stays, so that it gets warm."""

from __future__ import annotations

import json
import subprocess
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any, Final

import anyio
import anyio.abc
from anyio.streams.buffered import BufferedByteReceiveStream

__all__ = ["Node", "is_installed", "node"]

_PROGRAM: Final = Path(__file__).with_name("typescript.mjs")
_CLIENT: Final = Path("node_modules", "@durable-streams", "client", "package.json")
_STATE: Final = Path("node_modules", "@durable-streams", "state", "package.json")
_MAX_LINE_BYTES: Final = 64 * 1024


class Node:
    """Runs the commands of `typescript.mjs`, one at a time.

    Args:
        process: it.
        version: of the package @durable-streams/client.
        has_state: whether @durable-streams/state is there too.

    Attributes:
        name: what the table calls it.
        has_state: as given.
    """

    def __init__(self, process: anyio.abc.Process, version: str, *, has_state: bool) -> None:
        assert process.stdin is not None
        assert process.stdout is not None
        self.name = f"npm client {version}"
        self.has_state = has_state
        self._commands = process.stdin
        self._lines = BufferedByteReceiveStream(process.stdout)

    async def run(self, **command: object) -> Any:
        """The result of a command."""
        result = None
        async for line in self.lines(**command):
            result = line.get("result")
        return result

    async def lines(self, **command: object) -> AsyncIterator[dict[str, Any]]:
        """What a command says while it runs, and its result in the last line."""
        await self._commands.send(json.dumps(command).encode() + b"\n")
        done = False
        while not done:
            line = json.loads(await self._lines.receive_until(b"\n", _MAX_LINE_BYTES))
            done = "done" in line
            yield line


def is_installed(directory: Path) -> bool:
    """Whether npm has installed the client there."""
    return (directory / _CLIENT).is_file()


@asynccontextmanager
async def node(directory: Path | None) -> AsyncIterator[Node | None]:
    """A Node process with the packages of that directory; None without one."""
    if directory is None:
        yield None
        return
    version = json.loads((directory / _CLIENT).read_text())["version"]
    command = ["node", "--input-type=module", "--eval", _PROGRAM.read_text()]
    async with await anyio.open_process(command, cwd=directory, stderr=subprocess.DEVNULL) as process:
        try:
            yield Node(process, version, has_state=(directory / _STATE).is_file())
        finally:
            process.terminate()
