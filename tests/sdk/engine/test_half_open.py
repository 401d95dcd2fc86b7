"""R14, liveness: a connection that is open, and dead, is noticed."""

from __future__ import annotations

from typing import Any

import pytest

from durafold.client import Backoff, ClientSettings
from durafold.provider import Provider
from support.proxy import FaultProxy
from support.server import ServerProcess
from support.waiting import eventually

pytestmark = pytest.mark.anyio


@pytest.mark.parametrize("live", ["sse", "long-poll"])
async def test_r14_a_half_open_connection_is_noticed_and_what_was_missed_is_read(
    server: ServerProcess, key: str, live: Any
) -> None:
    attentive = ClientSettings(
        backoff=Backoff(first_s=0.01, max_s=0.1),
        connect_timeout_s=1.0,
        request_timeout_s=1.0,
        first_event_timeout_s=1.0,
        heartbeat_timeout_s=1.0,
        silence_timeout_s=1.0,
        long_poll_timeout_s=1.0,
    )
    async with (
        FaultProxy(server.url) as proxy,
        Provider(proxy.url, live=live, settings=attentive) as mine,
        Provider(server.url) as yours,
    ):
        ours, theirs = mine.server_state(0, key), yours.server_state(0, key)
        await ours.ready()
        await eventually(lambda: ours.status == "live")
        seen: list[str] = []
        ours.subscribe(lambda: seen.append(ours.status), progress=True)

        proxy.fall_silent()
        await theirs.increment()

        await eventually(lambda: ours.value == 1)
        assert "reconnecting" in seen
        assert proxy.silent_count >= 1


async def test_an_append_on_a_half_open_connection_is_sent_again_and_counts_once(
    server: ServerProcess, key: str
) -> None:
    attentive = ClientSettings(
        backoff=Backoff(first_s=0.01, max_s=0.1), request_timeout_s=0.5, silence_timeout_s=0.5
    )
    async with FaultProxy(server.url) as proxy, Provider(proxy.url, settings=attentive) as party:
        count = await party.server_state(0, key).ready()
        await count.increment()

        proxy.fall_silent()

        assert await count.increment() == 2
