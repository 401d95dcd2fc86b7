"""Everything that a network and a server can do wrong, many times over: no gap, and nothing twice."""

from __future__ import annotations

import random
from collections.abc import Callable
from contextlib import suppress
from datetime import UTC, datetime
from typing import Any, ClassVar, Final

import anyio
import anyio.abc
import pytest

from durafold.client import Backoff, ClientSettings, DurableStream, IdempotentProducer, Transport
from durafold.client.exchange import Reply, Request
from durafold.errors import ConnectFailed, TransportError, TransportTimeout
from support.fake_server import Answer, FakeServer, Seen, page
from support.proxy import (
    Cut,
    Delay,
    Duplicate,
    Fault,
    FaultProxy,
    Garble,
    Ghost,
    LoseReply,
    Refuse,
    Stall,
    some_of,
)

pytestmark = pytest.mark.anyio

Connect = Callable[..., DurableStream]

HASTY: Final = ClientSettings(
    backoff=Backoff(first_s=0.001, max_s=0.004),
    connect_timeout_s=5,
    request_timeout_s=0.3,
    first_event_timeout_s=0.3,
)
FAULTS: Final[list[Fault]] = [
    Refuse(),
    LoseReply(),
    Cut(20),
    Cut(150),
    Garble(),
    Delay(0.005),
    Ghost(0.01),
    Duplicate(0.0),
    Duplicate(0.02),
]


class FaultyTransport(Transport):
    """Meets a fault at most requests, without the cost of breaking a connection for it."""

    def __init__(self, seed: int) -> None:
        super().__init__()
        self._rng = random.Random(seed)
        self.tasks: anyio.abc.TaskGroup  # for requests that arrive late
        self.fault_count = 0

    async def exchange(self, request: Request, *args: Any, **options: Any) -> Reply:
        faults = (self._refuse, self._lose_reply, self._ghost, self._duplicate, self._unavailable)
        if self._rng.random() < 0.2:
            return await super().exchange(request, *args, **options)
        self.fault_count += 1
        return await self._rng.choice(faults)(request, *args)

    async def _refuse(self, request: Request, *args: Any) -> Reply:
        raise ConnectFailed("refused")

    async def _lose_reply(self, request: Request, *args: Any) -> Reply:
        await super().exchange(request, *args)
        raise TransportError("the answer was lost")

    async def _ghost(self, request: Request, *args: Any) -> Reply:
        self.tasks.start_soon(self._send_late, request, *args)
        raise TransportTimeout("no answer, and the request arrives later")

    async def _duplicate(self, request: Request, *args: Any) -> Reply:
        self.tasks.start_soon(self._send_late, request, *args)
        return await super().exchange(request, *args)

    async def _unavailable(self, request: Request, *args: Any) -> Reply:
        status = self._rng.choice([408, 429, 500, 502, 503, 504])
        return Reply(status, {"retry-after": "0"}, b"later", datetime.now(UTC), request.url)

    async def _send_late(self, request: Request, *args: Any) -> None:
        await anyio.sleep(self._rng.random() * 0.02)
        with suppress(TransportError):  # nobody waits for its answer
            await super().exchange(request, *args)


@pytest.mark.parametrize("anyio_backend", ["asyncio"])  # the other loop has the next test
async def test_a_thousand_faults_neither_lose_nor_double_nor_reorder_a_message(stream: DurableStream) -> None:
    sent = 0

    async with FaultyTransport(1000) as transport, anyio.create_task_group() as transport.tasks:
        through = DurableStream(
            stream.url, content_type="application/json", settings=HASTY, transport=transport
        )
        async with IdempotentProducer(
            through, "tester", max_batch_bytes=30, max_buffered_bytes=200
        ) as producer:
            while transport.fault_count < 1000:
                await producer.append(sent)
                sent += 1
                await anyio.sleep(0)

    assert transport.fault_count >= 1000
    assert await stream.read_json() == list(range(sent))


async def test_broken_connections_neither_lose_nor_double_nor_reorder_a_message(
    stream: DurableStream, connect: Connect
) -> None:
    rng = random.Random(60)
    sent = 0

    async with FaultProxy(stream.url, plan=some_of(rng, FAULTS, share=0.8)) as proxy:
        through = connect(proxy.url, content_type="application/json", settings=HASTY)
        async with IdempotentProducer(
            through, "tester", max_batch_bytes=30, max_buffered_bytes=200
        ) as producer:
            while proxy.fault_count < 60:
                await producer.append(sent)
                sent += 1
                await anyio.sleep(0.001)

    assert await stream.read_json() == list(range(sent))


@pytest.mark.parametrize("live", ["sse", "long-poll"])
async def test_readers_see_everything_once_while_both_sides_meet_faults(
    live: Any, stream: DurableStream, connect: Connect
) -> None:
    rng = random.Random(7)
    plan = some_of(rng, [*FAULTS, Cut(rng.randrange(1200)), Cut(rng.randrange(1200))], share=0.6)
    received: list[Any] = []

    async def write() -> None:
        async with IdempotentProducer(stream, "writer") as producer:
            for n in range(80):
                await producer.append(n)
                await anyio.sleep(0.001)
            await producer.close_stream()

    async with FaultProxy(stream.url, plan=plan) as proxy, anyio.create_task_group() as tasks:
        tasks.start_soon(write)
        with anyio.fail_after(60):
            async with connect(proxy.url, settings=HASTY).follow(live=live) as follower:
                received += [message async for message in follower.iter_json()]

    assert received == list(range(80))


async def test_a_stalled_request_of_a_producer_is_given_up_and_repeated(
    stream: DurableStream, connect: Connect
) -> None:
    async with FaultProxy(stream.url) as proxy:
        proxy.script(Stall())
        through = connect(proxy.url, content_type="application/json", settings=HASTY)
        async with IdempotentProducer(through, "tester") as producer:
            await (await producer.append(1))

    assert await stream.read_json() == [1]


async def test_a_server_that_is_slow_makes_the_producer_wait_instead_of_filling_memory(
    stream: DurableStream, connect: Connect
) -> None:
    most_bytes = 0
    async with FaultProxy(stream.url, plan=lambda: Delay(0.01)) as proxy:
        through = connect(proxy.url, content_type="application/json")
        async with IdempotentProducer(
            through, "tester", max_buffered_bytes=200, max_batch_bytes=50
        ) as producer:
            for _ in range(100):
                await producer.append("x" * 18)
                most_bytes = max(most_bytes, producer.pending_count * 20)

    assert most_bytes <= 200
    assert len(await stream.read_json()) == 100


class NotedBackoff(Backoff):
    """Notes how long it has clients wait."""

    waits: ClassVar[list[float]] = []

    def delay_s(self, attempt: int, random_fraction: float, retry_after_s: float | None = None) -> float:
        self.waits.append(super().delay_s(attempt, random_fraction, retry_after_s))
        return self.waits[-1]


@pytest.mark.parametrize("status", [429, 503])
async def test_a_retry_after_is_honoured_by_readers_and_those_told_the_same_spread_out(
    status: int, connect: Connect
) -> None:
    came_at: list[float] = []
    told = Answer(status, {"Retry-After": "1"}, (b"later",), length=5)

    def answer(seen: Seen) -> Answer:
        came_at.append(anyio.current_time())
        return told if len(came_at) <= 8 else page(next_offset="0001", closed=True)

    patient = ClientSettings(backoff=NotedBackoff(first_s=0.2, max_s=0.4))
    NotedBackoff.waits.clear()
    async with FakeServer(otherwise=answer) as server, anyio.create_task_group() as tasks:
        for _ in range(8):
            follower = connect(f"{server.url}/demo", settings=patient).follow()
            tasks.start_soon(anext, follower)

    first, second = came_at[:8], came_at[8:16]
    assert min(second) - min(first) >= 1
    assert len({round(wait_s, 3) for wait_s in NotedBackoff.waits}) > 3
