"""A durable server is killed in the middle of everything, again and again: nothing is lost, nothing doubled.

Producers repeat a request under the same (id, epoch, seq) until it is acknowledged (PROTOCOL §5.2.1). Readers
resume from the last offset they were told.
"""

from __future__ import annotations

import asyncio
import json
import random
from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from itertools import pairwise
from pathlib import Path
from typing import Final, NamedTuple

import httpx
import pytest

from support.ports import free_port
from support.server import ServerProcess
from support.sse_parser import parse_events

pytestmark = [pytest.mark.anyio, pytest.mark.crash]

PRODUCERS: Final = 8
REQUESTS: Final = 40
KILLS: Final = 4
RETRY_S: Final = 0.02
JSON: Final = "application/json"
OCTETS: Final = "application/octet-stream"


@pytest.fixture
def anyio_backend() -> str:
    return "asyncio"


class Message(NamedTuple):
    """What a producer wrote, and as its how many-th."""

    producer: int
    number: int


@dataclass(frozen=True)
class Stream:
    """A stream, and how messages are written to it."""

    url: str
    content_type: str

    def encode(self, messages: Sequence[Message]) -> bytes:
        """A request body of one or more messages."""
        if self.content_type == JSON:
            objects = [{"p": message.producer, "n": message.number} for message in messages]
            return json.dumps(objects if len(objects) > 1 else objects[0]).encode()
        return b"".join(b"%02d:%06d;" % message for message in messages)

    def decode(self, body: bytes) -> list[Message]:
        """The messages of a page."""
        if self.content_type == JSON:
            return [Message(fields["p"], fields["n"]) for fields in json.loads(body)]
        return [Message(int(body[at : at + 2]), int(body[at + 3 : at + 9])) for at in range(0, len(body), 10)]


@dataclass
class Run:
    """What has happened so far."""

    acknowledged: list[tuple[Stream, tuple[Message, ...], str]] = field(default_factory=list)
    repeated: int = 0
    duplicates: int = 0
    news: asyncio.Event = field(default_factory=asyncio.Event)

    def acknowledge(self, stream: Stream, messages: tuple[Message, ...], reply: httpx.Response) -> None:
        self.acknowledged.append((stream, messages, reply.headers["stream-next-offset"]))
        self.duplicates += reply.status_code == 204
        self.news.set()

    async def until(self, acknowledged: int) -> None:
        while len(self.acknowledged) < acknowledged:
            self.news.clear()
            await self.news.wait()


async def insist(
    client: httpx.AsyncClient, run: Run, stream: Stream, body: bytes, headers: dict[str, str]
) -> httpx.Response:
    """Repeat an append until it is answered."""
    while True:
        try:
            reply = await client.post(stream.url, content=body, headers=headers)
        except httpx.TransportError:
            run.repeated += 1
            await asyncio.sleep(RETRY_S)
        else:
            return reply.raise_for_status()


async def produce(
    client: httpx.AsyncClient, run: Run, stream: Stream, producer: int, sizes: Sequence[int]
) -> None:
    """Write batches of these sizes, one after another."""
    number = 0
    for seq, size in enumerate(sizes):
        messages = tuple(Message(producer, number + n) for n in range(size))
        number += size
        headers = {
            "Content-Type": stream.content_type,
            "Producer-Id": f"producer-{producer}",
            "Producer-Epoch": "0",
            "Producer-Seq": str(seq),
        }
        reply = await insist(client, run, stream, stream.encode(messages), headers)
        run.acknowledge(stream, messages, reply)


async def read_once(
    client: httpx.AsyncClient, stream: Stream, offset: str
) -> tuple[list[Message], str, bool]:
    """Everything from an offset on, the offset after it, and whether the stream has ended."""
    messages: list[Message] = []
    while True:
        reply = (await client.get(stream.url, params={"offset": offset})).raise_for_status()
        messages += stream.decode(reply.content)
        offset = reply.headers["stream-next-offset"]
        if "stream-up-to-date" in reply.headers:
            return messages, offset, "stream-closed" in reply.headers


async def follow_by_events(client: httpx.AsyncClient, stream: Stream) -> list[Message]:
    """Follow over SSE to the end of the stream, resuming from the last control event."""
    seen: list[Message] = []
    offset = "-1"
    while True:
        received = b""
        try:
            params = {"offset": offset, "live": "sse"}
            async with client.stream("GET", stream.url, params=params) as response:
                async for chunk in response.aiter_raw():
                    received += chunk
        except httpx.TransportError:
            await asyncio.sleep(RETRY_S)
        events = parse_events(received)
        # Data counts once its control event is here; what came without it will come again.
        for data, control in pairwise(events):
            if (data.name, control.name) == ("data", "control"):
                seen += stream.decode(data.data.encode())
        controls = [json.loads(event.data) for event in events if event.name == "control"]
        offset = controls[-1]["streamNextOffset"] if controls else offset
        if controls and controls[-1].get("streamClosed"):
            return seen


async def follow_by_polls(client: httpx.AsyncClient, stream: Stream) -> list[Message]:
    """Follow with long-polls to the end of the stream."""
    seen: list[Message] = []
    offset = "-1"
    while True:
        try:
            reply = await client.get(stream.url, params={"offset": offset, "live": "long-poll"})
        except httpx.TransportError:
            await asyncio.sleep(RETRY_S)
            continue
        reply.raise_for_status()
        seen += stream.decode(reply.content) if reply.status_code == 200 else []
        offset = reply.headers["stream-next-offset"]
        if "stream-closed" in reply.headers:
            return seen


async def kill_now_and_then(server: ServerProcess, run: Run, chance: random.Random) -> None:
    """Kill and start the server while the appends go on."""
    total = 2 * PRODUCERS * REQUESTS
    for acknowledged in sorted(chance.sample(range(total // 20, total * 9 // 10), KILLS)):
        await run.until(acknowledged)
        await asyncio.sleep(chance.uniform(0, 0.01))
        await asyncio.to_thread(server.kill)
        await asyncio.to_thread(server.start)


@pytest.mark.parametrize("seed", [1, 2])
async def test_every_acknowledged_message_is_there_exactly_once_and_in_order(
    tmp_path: Path, seed: int, record_property: Callable[[str, object], None]
) -> None:
    chance = random.Random(seed)
    run = Run()
    limits = httpx.Limits(max_connections=100)
    with ServerProcess(tmp_path / "data", port=free_port()) as server:
        streams = [Stream(f"{server.url}/json", JSON), Stream(f"{server.url}/octets", OCTETS)]
        async with httpx.AsyncClient(timeout=20, limits=limits) as client:
            for stream in streams:
                (
                    await client.put(stream.url, headers={"Content-Type": stream.content_type})
                ).raise_for_status()
            async with asyncio.TaskGroup() as tasks:
                by_events = tasks.create_task(follow_by_events(client, streams[0]))
                by_polls = tasks.create_task(follow_by_polls(client, streams[1]))
                async with asyncio.TaskGroup() as writers:
                    writers.create_task(kill_now_and_then(server, run, chance))
                    for stream in streams:
                        for producer in range(PRODUCERS):
                            sizes = chance.choices([1, 1, 1, 2, 7, 50], k=REQUESTS)
                            writers.create_task(produce(client, run, stream, producer, sizes))
                for stream in streams:
                    (await client.post(stream.url, headers={"Stream-Closed": "true"})).raise_for_status()

            await asyncio.to_thread(server.kill)
            await asyncio.to_thread(server.start)
            logs = [await read_once(client, stream, "-1") for stream in streams]
            rests = [
                (messages, (await read_once(client, stream, offset))[0], logs[streams.index(stream)][0])
                for stream, messages, offset in chance.sample(run.acknowledged, 60)
            ]

    for stream, (log, _, closed) in zip(streams, logs, strict=True):
        acknowledged = [m for of, messages, _ in run.acknowledged if of is stream for m in messages]
        assert Counter(log) == Counter(acknowledged)
        assert closed
        for producer in range(PRODUCERS):
            numbers = [message.number for message in log if message.producer == producer]
            assert numbers == list(range(len(numbers)))
    assert by_events.result() == logs[0][0]
    assert by_polls.result() == logs[1][0]
    for messages, rest, log in rests:
        assert log[len(log) - len(rest) :] == rest
        assert set(messages) <= set(log[: len(log) - len(rest)])
    assert run.repeated > 0
    record_property(
        "summary",
        f"{KILLS + 1} kills, {len(run.acknowledged)} appends of {len(logs[0][0] + logs[1][0])} messages: "
        f"0 lost, 0 doubled; {run.repeated} requests repeated, {run.duplicates} of them were known already",
    )


@pytest.mark.parametrize("with_data", [True, False])
async def test_a_stream_that_was_closed_stays_closed(durable_server: ServerProcess, with_data: bool) -> None:
    url = f"{durable_server.url}/closed"
    headers = {"Content-Type": "text/plain", "Producer-Id": "p", "Producer-Epoch": "3", "Producer-Seq": "0"}
    closing = {**headers, "Stream-Closed": "true"}
    body = b"last" if with_data else b""
    async with httpx.AsyncClient() as client:
        await client.put(url, headers={"Content-Type": "text/plain"}, content=b"first ")
        closed = (await client.post(url, headers=closing, content=body)).raise_for_status()
        await asyncio.to_thread(durable_server.kill)
        await asyncio.to_thread(durable_server.start)

        again = await client.post(url, headers=closing, content=body)
        refused = await client.post(url, headers={**headers, "Producer-Seq": "1"}, content=b"more")
        read = await client.get(url)

    assert (again.status_code, again.headers["stream-closed"]) == (204, "true")
    assert again.headers["stream-next-offset"] == closed.headers["stream-next-offset"]
    assert (refused.status_code, refused.headers["stream-closed"]) == (409, "true")
    assert (read.content, read.headers["stream-closed"]) == (b"first " + body, "true")


async def test_what_was_deleted_stays_deleted_and_its_offsets_stay_gone(
    durable_server: ServerProcess,
) -> None:
    url = f"{durable_server.url}/deleted"
    async with httpx.AsyncClient() as client:
        old = (await client.put(url, content=b"abc")).headers["stream-next-offset"]
        (await client.delete(url)).raise_for_status()
        await asyncio.to_thread(durable_server.kill)
        await asyncio.to_thread(durable_server.start)

        assert (await client.get(url)).status_code == 404
        assert (await client.put(url, content=b"defghi")).status_code == 201
        assert (await client.get(url, params={"offset": old})).status_code == 410


async def test_writer_state_of_every_kind_survives(durable_server: ServerProcess) -> None:
    url = f"{durable_server.url}/state"
    text = {"Content-Type": "text/plain"}
    headers = {**text, "Producer-Id": "p", "Producer-Epoch": "2", "Producer-Seq": "0", "Stream-Seq": "b"}
    async with httpx.AsyncClient() as client:
        await client.put(url, headers={**text, "Stream-TTL": "600"})
        await client.put(f"{url}-fork", headers={"Stream-Forked-From": "/v1/stream/state"})
        (await client.post(url, headers=headers, content=b"x")).raise_for_status()
        (await client.delete(url)).raise_for_status()
        await client.put(f"{url}-2", headers=text)
        (await client.post(f"{url}-2", headers=headers, content=b"x")).raise_for_status()
        await asyncio.to_thread(durable_server.kill)
        await asyncio.to_thread(durable_server.start)

        statuses = [
            (await client.get(url)).status_code,
            (await client.get(f"{url}-fork")).status_code,
            (await client.post(f"{url}-2", headers=headers, content=b"x")).status_code,
            (
                await client.post(f"{url}-2", headers={**headers, "Producer-Epoch": "1"}, content=b"x")
            ).status_code,
            (await client.post(f"{url}-2", headers={**text, "Stream-Seq": "a"}, content=b"x")).status_code,
            (await client.delete(f"{url}-fork")).status_code,
            (await client.get(url)).status_code,
        ]

    assert statuses == [410, 200, 204, 403, 409, 204, 404]
