"""The server with its inspector, in this process."""

from __future__ import annotations

from collections.abc import AsyncIterator

import httpx
import pytest

from durafold_server import create_app
from durafold_server.config import InspectorSettings, ServiceSettings


@pytest.fixture
async def inspector(anyio_backend: str) -> AsyncIterator[httpx.AsyncClient]:
    """A client of a server that knows the todo reducer, with pages small enough to need several."""
    app = create_app(
        settings=ServiceSettings(max_page_bytes=4096),
        inspector=InspectorSettings(reducers=("support.todos:todo_reducer",)),
    )
    async with httpx.AsyncClient(transport=httpx.ASGITransport(app), base_url="http://host") as client:
        yield client
    await app.aclose()
