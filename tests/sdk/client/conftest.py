"""Streams on a real server, and settings that do not make tests wait."""

from __future__ import annotations

import socket
from collections.abc import AsyncIterator, Callable, Iterator
from typing import Any
from uuid import uuid4

import pytest

from durafold.client import Backoff, ClientSettings, DurableStream
from durafold.testing import ServerProcess

IMPATIENT = ClientSettings(backoff=Backoff(first_s=0.01, max_s=0.05))


@pytest.fixture
def settings() -> ClientSettings:
    """The usual settings with short pauses."""
    return IMPATIENT


@pytest.fixture
def url(server: ServerProcess) -> str:
    """The URL of a stream that does not exist yet."""
    return f"{server.url}/client/{uuid4().hex}"


@pytest.fixture
def dead_url() -> Iterator[str]:
    """A URL whose port is taken by somebody who does not listen."""
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        yield f"http://127.0.0.1:{taken.getsockname()[1]}/v1/stream/demo"


@pytest.fixture
async def connect(settings: ClientSettings) -> AsyncIterator[Callable[..., DurableStream]]:
    """Makes handles and closes them after the test."""
    handles = []

    def connect(url: str, **options: Any) -> DurableStream:
        handle = DurableStream(url, **{"settings": settings, **options})
        handles.append(handle)
        return handle

    yield connect
    for handle in handles:
        await handle.aclose()


@pytest.fixture
async def stream(url: str, connect: Callable[..., DurableStream]) -> DurableStream:
    """A new JSON stream."""
    handle = connect(url)
    await handle.create()
    return handle
