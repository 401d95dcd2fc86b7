"""`Provider.connection`: how all streams are doing, in one word, as a value like any other."""

from __future__ import annotations

import itertools
from typing import Any

import anyio
import httpx
import pytest

from durafold import Connection, Provider, ProviderClosed, use_connection
from durafold.client import Backoff, ClientSettings, DurableStream
from durafold.errors import ConnectFailed, ServerUnavailable, StreamNotFound, TransportError, Unauthorized
from support.proxy import FaultProxy
from support.server import ServerProcess
from support.waiting import eventually
from support.watched import WatchedClient

pytestmark = pytest.mark.anyio

NOWHERE = "http://127.0.0.1:9"
IMPATIENT = ClientSettings(backoff=Backoff(first_s=0.01, max_s=0.05))


def provider(url: str, **options: Any) -> Provider:
    return Provider(url, settings=IMPATIENT, on_error=lambda error: None, **options)


async def test_without_streams_nothing_is_wrong() -> None:
    async with provider(NOWHERE) as party:
        assert party.connection.value == Connection("live")


async def test_it_is_connecting_until_the_stream_was_read(server: ServerProcess, key: str) -> None:
    async with provider(server.url) as party:
        party.server_state(0, key)
        at_first = party.connection.value

        await party.connection.ready()

        assert (at_first.status, at_first.key, at_first.reason) == ("connecting", key, None)
        assert party.connection.value == Connection("live")
        assert party.server_state(0, key).status == "live"


async def test_without_a_server_it_tells_the_reason_and_the_time_of_the_next_attempt() -> None:
    async with provider(NOWHERE, clock=lambda: 1000.0, close_timeout_s=0) as party:
        party.server_state(0, "k")

        await eventually(lambda: party.connection.value.reason)

        told = party.connection.value
        assert (told.status, told.key, type(told.reason)) == ("connecting", "k", ConnectFailed)
        assert told.next_attempt_at is not None
        assert 1000.0 <= told.next_attempt_at <= 1000.05


async def test_an_outage_is_logged_once_however_many_streams_and_attempts_there_are(
    caplog: pytest.LogCaptureFixture,
) -> None:
    async with provider(NOWHERE, clock=itertools.count(1000).__next__, close_timeout_s=0) as party:
        party.server_state(0, "j")
        party.server_state(0, "k")
        seen: list[Connection] = []
        party.connection.subscribe(lambda: seen.append(party.connection.value))

        await eventually(lambda: len(seen) >= 6)

    [told] = [record for record in caplog.records if record.name == "durafold"]
    assert told.levelname == "WARNING"
    assert "Waiting for the server" in told.getMessage()
    assert "Is the stream server running there?" in told.getMessage()


async def test_an_app_that_connects_before_it_listens_logs_nothing(
    caplog: pytest.LogCaptureFixture,
) -> None:
    async with provider(NOWHERE, clock=lambda: 1000.0, close_timeout_s=0) as party:
        party.server_state(0, "k")

        await eventually(lambda: party.connection.value.reason)

    assert [record for record in caplog.records if record.name == "durafold"] == []


async def test_every_attempt_that_fails_is_news() -> None:
    async with provider(NOWHERE, close_timeout_s=0) as party:
        party.server_state(0, "k")
        seen: list[Connection] = []
        party.connection.subscribe(lambda: seen.append(party.connection.value))

        await eventually(lambda: len(seen) >= 3)

        assert len(set(seen)) == len(seen)


async def test_r14_an_outage_is_told_with_its_reason_and_so_is_its_end(
    server: ServerProcess, key: str
) -> None:
    async with FaultProxy(server.url) as proxy, provider(proxy.url) as party:
        await party.server_state(0, key).ready()
        await eventually(lambda: party.connection.status == "live")
        seen: list[Connection] = []
        party.connection.subscribe(lambda: seen.append(party.connection.value))

        proxy.is_down = True
        await proxy.cut_all()
        await eventually(lambda: party.connection.value.next_attempt_at)
        in_the_outage = party.connection.value
        proxy.is_down = False
        await eventually(lambda: party.connection.status == "live")

        assert (in_the_outage.status, in_the_outage.key) == ("reconnecting", key)
        assert isinstance(in_the_outage.reason, TransportError | ServerUnavailable)
        assert (seen[0].status, seen[-1]) == ("reconnecting", Connection("live"))


async def test_a_stream_that_is_refused_is_a_failure_of_all(server: ServerProcess, key: str) -> None:
    def refuse(request: httpx.Request) -> httpx.Response | None:
        return httpx.Response(401) if request.url.path.endswith("secret") else None

    async with WatchedClient() as watched, provider(server.url, transport=watched.transport) as party:
        watched.intercept = refuse
        await party.server_state(0, key).ready()
        party.server_state(0, f"{key}/secret")

        with pytest.raises(Unauthorized):
            await party.connection.ready()

        told = party.connection.value
        assert (told.status, told.key, type(told.reason)) == ("failed", f"{key}/secret", Unauthorized)
        assert isinstance(party.connection.error, Unauthorized)


async def test_a_stream_that_does_not_exist_is_tried_again(server: ServerProcess, key: str) -> None:
    async with provider(server.url, create=False) as party:
        party.server_state(0, key)
        await eventually(lambda: party.connection.status == "failed")
        reason = party.connection.value.reason

        await DurableStream(f"{server.url}/{key}").create(content_type="application/json")
        await eventually(lambda: party.connection.status == "live")

        assert isinstance(reason, StreamNotFound)
        assert party.connection.value == Connection("live")


async def test_messages_that_could_not_be_folded_show_in_it(server: ServerProcess, key: str) -> None:
    stream = DurableStream(f"{server.url}/{key}", content_type="application/json")
    await stream.create(body={"type": "op", "payload": ["no such operation"], "meta": {"id": "x:1"}})
    async with provider(server.url) as party:
        await party.server_state(0, key).ready()

        assert (party.connection.status, party.connection.value.key) == ("degraded", key)
        await party.connection.ready()


async def test_a_stream_that_was_closed_or_given_up_does_not_count(server: ServerProcess, key: str) -> None:
    async with provider(server.url) as party:
        ended = await party.server_state(0, f"{key}/ended").ready()
        await DurableStream(f"{server.url}/{key}/ended").close()
        await eventually(lambda: ended.status == "closed")
        when_closed = party.connection.value

        other = party.server_state(0, f"{key}/other")
        while_connecting = party.connection.status
        other.close()

        assert when_closed == party.connection.value == Connection("live")
        assert while_connecting == "connecting"


async def test_who_follows_it_learns_in_the_end_that_the_provider_was_closed(
    server: ServerProcess, key: str
) -> None:
    seen: list[str] = []

    async def follow(party: Provider) -> None:
        async for connection in party.connection:
            seen.append(connection.status)

    async with anyio.create_task_group() as tasks, provider(server.url) as party:
        tasks.start_soon(follow, party)
        await anyio.wait_all_tasks_blocked()
        await party.server_state(0, key).ready()
        await anyio.wait_all_tasks_blocked()

    assert (seen[0], seen[-2:]) == ("live", ["live", "closed"])
    with pytest.raises(ProviderClosed):
        await party.connection.ready()


async def test_who_subscribes_is_told_of_later_changes_only(server: ServerProcess, key: str) -> None:
    async with provider(server.url) as party:
        handle = await party.server_state(0, key).ready()
        await eventually(lambda: handle.status == "live")
        told: list[Connection] = []
        party.connection.subscribe(lambda: told.append(party.connection.value))

        await handle.increment()

        assert told == []


async def test_its_hook_gives_the_value() -> None:
    async with provider(NOWHERE, close_timeout_s=0) as party:
        party.server_state(0, "k")

        assert use_connection() == party.connection.value == Connection("connecting", "k")
