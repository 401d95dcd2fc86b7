"""Streams of one event loop share their connections unless they are given others."""

from __future__ import annotations

import anyio
import pytest

from durafold.client import DurableStream
from durafold.client.transport import _SHARED, SharedTransport
from durafold.testing import ServerProcess

pytestmark = pytest.mark.anyio


def user_count() -> int:
    shared = _SHARED.get(None)
    return 0 if shared is None else shared.user_count


async def test_streams_share_one_client_which_closes_with_the_last(url: str) -> None:
    async with DurableStream(url) as one:
        await one.create()
        async with DurableStream(url) as other:
            await other.head()
            shared = _SHARED.get(None)

            assert user_count() == 2
            assert shared is not None
            assert len(shared.transport._own) == 1
        assert user_count() == 1
    assert _SHARED.get(None) is None
    assert shared.transport._own == {}


async def test_a_handle_that_made_no_request_holds_nothing(url: str) -> None:
    async with DurableStream(url):
        assert user_count() == 0


async def test_a_closed_handle_may_be_used_again(url: str) -> None:
    stream = DurableStream(url)
    await stream.create()
    await stream.aclose()
    await stream.aclose()
    await stream.head()

    assert user_count() == 1
    await stream.aclose()
    assert user_count() == 0


def test_a_handle_may_be_used_in_one_event_loop_after_the_other(server: ServerProcess) -> None:
    stream = DurableStream(f"{server.url}/several-loops")

    async def use() -> bool:
        try:
            return (await stream.create()).content_type == "application/json"
        finally:
            await stream.aclose()

    assert [anyio.run(use), anyio.run(use)] == [True, True]


async def test_giving_back_what_belongs_to_another_loop_does_nothing() -> None:
    await SharedTransport().aclose()

    assert user_count() == 0
