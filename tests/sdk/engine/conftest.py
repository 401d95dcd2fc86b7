"""What the tests of shared state have in common."""

from __future__ import annotations

import uuid

import pytest


@pytest.fixture
def key() -> str:
    """The key of a stream that no other test uses."""
    return f"engine/{uuid.uuid4().hex}"


@pytest.fixture
def errors() -> list[Exception]:
    """What was given to `on_error`."""
    return []
