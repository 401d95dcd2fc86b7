"""Readers wait at the tail when a stream ends, in every live mode: the last message comes before the end."""

from __future__ import annotations

import asyncio
import base64
import json
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from random import Random
from typing import Final, NamedTuple

import httpx
import pytest

from support.server import ServerProcess
from support.sse_parser import parse_events

pytestmark = [pytest.mark.anyio, pytest.mark.crash]

READERS: Final = 6
ROUNDS: Final = 4
MODES: Final = [
    ("long-poll", "text/plain"),
    ("long-poll", "application/json"),
    ("sse", "text/plain"),
    ("sse", "application/json"),
    ("sse", "application/octet-stream"),
]


@pytest.fixture
def anyio_backend() -> str:
    return "asyncio"


@pytest.fixture(scope="module")
def durable(tmp_path_factory: pytest.TempPathFactory) -> Iterator[ServerProcess]:
    """A durable server for the tests of this file."""
    with ServerProcess(tmp_path_factory.mktemp("endings") / "data") as process:
        yield process


class Ending(NamedTuple):
    """What a reader got, and how it ended: closed, or the status of the next request."""

    data: bytes
    closed: bool
    status: int


async def poll(client: httpx.AsyncClient, url: str) -> Ending:
    data, offset = b"", "-1"
    while True:
        reply = await client.get(url, params={"offset": offset, "live": "long-poll"})
        if reply.status_code not in (200, 204):
            return Ending(data, False, reply.status_code)
        data += plain(reply.content)
        offset = reply.headers["stream-next-offset"]
        if "stream-closed" in reply.headers:
            return Ending(data, True, reply.status_code)


async def listen(client: httpx.AsyncClient, url: str) -> Ending:
    """One connection to its end; what comes behind the end would show in the data."""
    params = {"offset": "-1", "live": "sse"}
    reply = await client.get(url, params=params)
    if reply.status_code != 200:
        return Ending(b"", False, reply.status_code)
    events = parse_events(reply.content)
    encoded = reply.headers.get("stream-sse-data-encoding") == "base64"
    parts = [event.data.encode() for event in events if event.name == "data"]
    data = b"".join(base64.b64decode(part) if encoded else plain(part) for part in parts)
    last = json.loads(events[-1].data)
    after = await client.get(url)
    return Ending(data, last.get("streamClosed", False), after.status_code)


def plain(body: bytes) -> bytes:
    """The text of a page: JSON messages are strings here."""
    return "".join(json.loads(body)).encode() if body.startswith(b"[") else body


def body_of(text: str, content_type: str) -> bytes:
    return json.dumps(text).encode() if content_type == "application/json" else text.encode()


async def append(client: httpx.AsyncClient, url: str, text: str, content_type: str, **more: str) -> None:
    headers = {"Content-Type": content_type, **more}
    reply = await client.post(url, content=body_of(text, content_type), headers=headers)
    assert reply.status_code == 204


async def end(client: httpx.AsyncClient, url: str, how: str, content_type: str) -> None:
    match how:
        case "append and close":
            await append(client, url, "last", content_type, **{"Stream-Closed": "true"})
        case "append, then close":
            await append(client, url, "last", content_type)
            await client.post(url, headers={"Stream-Closed": "true"})
        case _:
            await append(client, url, "last", content_type)
            await client.delete(url)


async def endings(server: ServerProcess, mode: str, content_type: str, how: str, seed: int) -> list[Ending]:
    """Readers in one mode, of a stream that ends in one way, soon after they began."""
    follow = poll if mode == "long-poll" else listen
    url = f"{server.url}/{mode}-{content_type.replace('/', '-')}-{how.replace(' ', '-')}-{seed}"
    async with httpx.AsyncClient(timeout=60, limits=httpx.Limits(max_connections=50)) as client:
        await client.put(url, headers={"Content-Type": content_type})
        await append(client, url, "first ", content_type)
        readers = [asyncio.create_task(follow(client, url)) for _ in range(READERS)]
        await asyncio.sleep(Random(seed).choice([0, 0.002, 0.02, 0.1]))
        await end(client, url, how, content_type)
        return await asyncio.gather(*readers)


@pytest.mark.parametrize("how", ["append and close", "append, then close"])
@pytest.mark.parametrize(("mode", "content_type"), MODES)
async def test_the_last_message_arrives_before_the_end(
    durable: ServerProcess, mode: str, content_type: str, how: str
) -> None:
    ended = [
        ending for seed in range(ROUNDS) for ending in await endings(durable, mode, content_type, how, seed)
    ]

    assert {(ending.data, ending.closed) for ending in ended} == {(b"first last", True)}


@pytest.mark.parametrize(("mode", "content_type"), MODES)
async def test_readers_of_a_deleted_stream_are_sent_away(
    durable: ServerProcess, mode: str, content_type: str
) -> None:
    ended = [e for seed in range(ROUNDS) for e in await endings(durable, mode, content_type, "delete", seed)]

    assert {(ending.closed, ending.status) for ending in ended} == {(False, 404)}
    assert {ending.data for ending in ended} <= {b"", b"first ", b"first last"}


@pytest.mark.parametrize(("mode", "content_type"), [MODES[0], MODES[3]])
async def test_readers_of_an_expired_stream_are_sent_away(
    durable: ServerProcess, mode: str, content_type: str
) -> None:
    follow = poll if mode == "long-poll" else listen
    url = f"{durable.url}/{mode}-expires"
    expires_at = (datetime.now(UTC) + timedelta(seconds=2)).isoformat()
    async with httpx.AsyncClient(timeout=60) as client:
        created = await client.put(
            url, headers={"Content-Type": content_type, "Stream-Expires-At": expires_at}
        )
        assert created.status_code == 201
        await append(client, url, "last", content_type)
        ended = await asyncio.gather(*(follow(client, url) for _ in range(READERS)))

    assert ended == [Ending(b"last", False, 404)] * READERS
