"""The server runs on asyncio only, so do its tests."""

from __future__ import annotations

import pytest


@pytest.fixture
def anyio_backend() -> str:
    """One event loop instead of both."""
    return "asyncio"
