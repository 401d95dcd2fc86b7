"""Waiting: for the server to have all, and for what another process has written."""

from __future__ import annotations

from collections.abc import AsyncIterator
from typing import Any

import anyio
import pytest

from durafold.errors import ConfigurationError, ProviderClosed
from durafold.testing import LocalServer

pytestmark = pytest.mark.anyio


@pytest.fixture
def anyio_backend() -> str:
    """The server inside the test runs on asyncio."""
    return "asyncio"


@pytest.fixture
async def server() -> AsyncIterator[LocalServer]:
    async with LocalServer() as server:
        yield server


async def test_who_waits_for_an_offset_reads_what_was_written_before_it(server: LocalServer) -> None:
    async with server.provider("ann") as ann, server.provider("ben") as ben:
        anns = ann.server_state(0, "count")
        await anns.increment(5)

        bens = await ben.server_state(0, "count").wait_for(anns.offset)

        assert bens.value == 5


async def test_an_offset_that_was_not_reached_yet_is_waited_for(server: LocalServer) -> None:
    async with server.provider("ann") as ann, server.provider("ben") as ben:
        anns, bens = ann.server_state(0, "count"), await ben.server_state(0, "count").ready()
        server.cut_off("ben")
        await anns.increment(5)

        async with anyio.create_task_group() as tasks:
            tasks.start_soon(bens.wait_for, anns.offset)
            await anyio.wait_all_tasks_blocked()
            assert bens.value == 0
            server.reconnect("ben")

        assert bens.value == 5


async def test_waiting_ends_with_the_provider(server: LocalServer) -> None:
    async with server.provider("ann") as ann, server.provider("ben") as ben:
        anns, bens = ann.server_state(0, "count"), await ben.server_state(0, "count").ready()
        server.cut_off("ben")
        await anns.increment()

        async with anyio.create_task_group() as tasks:
            tasks.start_soon(ben.aclose)
            with pytest.raises(ProviderClosed):
                await bens.wait_for(anns.offset)


@pytest.mark.parametrize("offset", ["a,b", "", "a b", "é", "x" * 257, "now", None, 5])
async def test_what_is_no_offset_is_not_waited_for(server: LocalServer, offset: Any) -> None:
    async with server.provider("ann") as ann:
        with pytest.raises(ConfigurationError, match="is no offset"), anyio.fail_after(5):
            await ann.server_state(0, "count").wait_for(offset)


@pytest.mark.parametrize("offset", ["a,b", "", None])
async def test_there_is_no_state_at_what_is_no_offset(server: LocalServer, offset: Any) -> None:
    async with server.provider("ann") as ann:
        with pytest.raises(ConfigurationError, match="is no offset"):
            await ann.server_state(0, "count").at(offset)


async def test_after_flush_the_server_has_everything(server: LocalServer) -> None:
    async with server.provider("ann") as ann, server.provider("ben") as ben:
        dispatched = [ann.server_state(0, key).increment() for key in ("a", "b")]

        await ann.flush()

        assert [(await ben.server_state(0, key).ready()).value for key in ("a", "b")] == [1, 1]
    assert len(dispatched) == 2
