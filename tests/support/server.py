"""Server processes for tests: see `durafold.testing.ServerProcess` for what can be done with them."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from durafold.testing import ServerProcess
from support.ports import free_port

__all__ = ["ServerProcess", "durable_server", "server"]


@pytest.fixture(scope="session")
def server() -> Iterator[ServerProcess]:
    """An in-memory server that all tests of a run share: use stream names of your own, and never stop it."""
    with ServerProcess() as process:
        yield process


@pytest.fixture
def durable_server(tmp_path: Path) -> Iterator[ServerProcess]:
    """A server with a durable store of its own, to kill and restart at will."""
    with ServerProcess(tmp_path / "streams", port=free_port()) as process:
        yield process
