"""Server processes of both kinds for wire tests, shared by all of them, and a stream name for each test."""

from __future__ import annotations

from collections.abc import AsyncIterator, Iterator
from uuid import uuid4

import httpx
import pytest

from support.server import ServerProcess
from support.server_stores import KINDS


@pytest.fixture(scope="session", params=KINDS)
def wire_server(
    request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[ServerProcess]:
    """A server with short long-polls, in memory and on disk; never stop it."""
    data_dir = None if request.param == "memory" else tmp_path_factory.mktemp("wire") / "data"
    with ServerProcess(data_dir, options=["--long-poll-timeout-s", "0.3"]) as server:
        yield server


@pytest.fixture(scope="session", params=KINDS)
def patient_server(
    request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[ServerProcess]:
    """The same with long-polls that wait longer than any test."""
    data_dir = None if request.param == "memory" else tmp_path_factory.mktemp("patient") / "data"
    with ServerProcess(data_dir, options=["--long-poll-timeout-s", "600"]) as server:
        yield server


@pytest.fixture
def url(wire_server: ServerProcess) -> str:
    """URL of a stream that no other test uses."""
    return f"{wire_server.url}/{uuid4()}"


@pytest.fixture
def patient_url(patient_server: ServerProcess) -> str:
    """The same on a server whose long-polls wait."""
    return f"{patient_server.url}/{uuid4()}"


@pytest.fixture(scope="session")
def client() -> Iterator[httpx.Client]:
    """A plain HTTP client."""
    with httpx.Client(timeout=20.0) as client:
        yield client


@pytest.fixture
async def async_client(anyio_backend: str) -> AsyncIterator[httpx.AsyncClient]:
    """A plain HTTP client for several requests at once."""
    async with httpx.AsyncClient(timeout=20.0) as client:
        yield client
