"""Blocking handles of streams on a real server."""

from __future__ import annotations

from collections.abc import Iterator
from uuid import uuid4

import pytest

from durafold.blocking import ClientSettings, DurableStream
from durafold.client import Backoff
from durafold.testing import ServerProcess

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
