"""Blocking handles on a real server."""

from __future__ import annotations

from collections.abc import Iterator
from uuid import uuid4

import pytest

from durafold.blocking import ClientSettings, DurableStream, Provider, shared_portal
from durafold.client import Backoff
from durafold.testing import LocalServer, ServerProcess

IMPATIENT = ClientSettings(backoff=Backoff(first_s=0.01, max_s=0.05))


@pytest.fixture
def url(server: ServerProcess) -> str:
    """The URL of a stream that does not exist yet."""
    return f"{server.url}/blocking/{uuid4().hex}"


@pytest.fixture
def stream(url: str) -> Iterator[DurableStream]:
    """A new JSON stream."""
    with DurableStream(url, settings=IMPATIENT) as handle:
        handle.create()
        yield handle


@pytest.fixture
def key() -> str:
    """The key of a stream that no other test uses."""
    return f"blocking/{uuid4().hex}"


@pytest.fixture
def party(server: ServerProcess) -> Iterator[Provider]:
    """A provider, open."""
    with Provider(server.url, settings=IMPATIENT) as provider:
        yield provider


@pytest.fixture
def other(server: ServerProcess) -> Iterator[Provider]:
    """Another client."""
    provider = Provider(server.url, settings=IMPATIENT).start()
    yield provider
    provider.close()


@pytest.fixture
def local_server() -> Iterator[LocalServer]:
    """A server inside the test, for what goes wrong on the network."""
    with shared_portal().held(LocalServer()) as server:
        yield server
