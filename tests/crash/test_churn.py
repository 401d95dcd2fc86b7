"""Everything at once while the server is killed: plain writers, producers, streams that come, fork and go.

What is retried is retried until it is answered. A plain append is not: unanswered, it may be there or not,
but never twice. `make torture` goes on for minutes.
"""

from __future__ import annotations

import asyncio
import json
import os
import time
from collections.abc import AsyncIterator, Callable
from dataclasses import dataclass, field
from itertools import pairwise
from pathlib import Path
from random import Random
from typing import Final

import httpx
import pytest

from support.ports import free_port
from support.server import ServerProcess
from support.sse_parser import parse_events

pytestmark = [pytest.mark.anyio, pytest.mark.crash]

SEED: Final = int(os.environ.get("TORTURE_SEED", "1"))
SECONDS: Final = float(os.environ.get("TORTURE_SECONDS", "4"))
WRITERS: Final = 4
CHURNERS: Final = 3
WIDTH: Final = 12
RETRY_S: Final = 0.02
TEXT: Final = {"Content-Type": "text/plain"}
UNANSWERED: Final = httpx.TransportError


@pytest.fixture
def anyio_backend() -> str:
    return "asyncio"


@dataclass
class Life:
    """A stream that a churner made: what must be in it now, or None if it must be gone."""

    path: str
    content: bytes | None = None
    closed: bool = False
    offsets: list[tuple[str, int]] = field(default_factory=list)
    gone: list[str] = field(default_factory=list)


@dataclass
class Run:
    """What has happened so far.

    Attributes:
        plain: by writer, the numbers of its messages that were acknowledged.
        produced: by text producer, how many messages were acknowledged.
        lives: by path, what churners made of it.
    """

    client: httpx.AsyncClient
    base: str
    plain: dict[int, list[int]] = field(default_factory=dict)
    produced: dict[int, int] = field(default_factory=dict)
    lives: dict[str, Life] = field(default_factory=dict)
    unanswered: int = 0
    kills: int = 0
    is_over: bool = False

    async def insist(self, method: str, path: str, **request: object) -> httpx.Response:
        """Repeat a request until it is answered."""
        while True:
            try:
                return await self.client.request(method, f"{self.base}/{path}", **request)  # type: ignore[arg-type]
            except UNANSWERED:
                self.unanswered += 1
                await asyncio.sleep(RETRY_S)

    async def turns(self) -> AsyncIterator[int]:
        """Numbers, until time is up."""
        number = 0
        while not self.is_over:
            yield number
            number += 1


async def write_plainly(run: Run, writer: int) -> None:
    run.plain[writer] = []
    async for number in run.turns():
        try:
            body = b"%03d:%07d;" % (writer, number)
            reply = await run.client.post(f"{run.base}/plain", content=body, headers=TEXT)
        except UNANSWERED:
            run.unanswered += 1
            await asyncio.sleep(RETRY_S)
        else:
            assert reply.status_code == 204
            run.plain[writer].append(number)


async def produce(run: Run, producer: int, chance: Random) -> None:
    """Batches of lines under producer headers."""
    run.produced[producer] = 0
    async for seq in run.turns():
        first, size = run.produced[producer], chance.choice([1, 1, 3, 20])
        body = b"".join(b"%03d:%07d;" % (producer, first + n) for n in range(size))
        claim = {"Producer-Id": f"p{producer}", "Producer-Epoch": "0", "Producer-Seq": str(seq)}
        reply = await run.insist("POST", "text", content=body, headers={**TEXT, **claim})
        assert reply.status_code in (200, 204)
        run.produced[producer] += size


async def churn(run: Run, churner: int, chance: Random) -> None:
    """Make streams, fork, close and delete them, over and over on the same few paths."""
    async for number in run.turns():
        life = run.lives.setdefault(f"churn-{churner}-{number % 3}", Life(f"churn-{churner}-{number % 3}"))
        if life.content is None:
            await make(run, life)
        await append(run, life, number)
        if chance.random() < 0.3:
            await fork(run, life, f"fork-{churner}-{number}", chance)
        if chance.random() < 0.3:
            await run.insist("POST", life.path, headers={"Stream-Closed": "true"})
            life.closed = True
        if life.closed or chance.random() < 0.3:
            await delete(run, life)


async def make(run: Run, life: Life) -> None:
    while (await run.insist("PUT", life.path, headers=TEXT, content=b"made;")).status_code == 409:
        await asyncio.sleep(RETRY_S)  # forks of its predecessor keep the path; they go as they are deleted
    life.content, life.closed, life.offsets = b"made;", False, []


async def append(run: Run, life: Life, number: int) -> None:
    claim = {"Producer-Id": f"{life.path}-{number}", "Producer-Epoch": "0", "Producer-Seq": "0"}
    body = b"%d;" % number
    reply = await run.insist("POST", life.path, headers={**TEXT, **claim}, content=body)
    assert reply.status_code in (200, 204), reply.text
    assert life.content is not None
    life.content += body
    life.offsets.append((reply.headers["stream-next-offset"], len(life.content)))


async def fork(run: Run, life: Life, path: str, chance: Random) -> None:
    offset, length = chance.choice(life.offsets)
    headers = {"Stream-Forked-From": f"/v1/stream/{life.path}", "Stream-Fork-Offset": offset}
    reply = await run.insist("PUT", path, headers=headers)
    assert reply.status_code in (200, 201), reply.text
    assert life.content is not None
    run.lives[path] = Life(path, life.content[:length])
    if chance.random() < 0.5:
        await append(run, run.lives[path], 0)
    await delete(run, run.lives[path])


async def delete(run: Run, life: Life) -> None:
    reply = await run.insist("DELETE", life.path)
    assert reply.status_code in (204, 404)
    life.gone += [offset for offset, _ in life.offsets]
    life.content = None


async def follow(run: Run) -> bytes:
    """Live through it all over SSE; what a control event has confirmed is never asked for again."""
    seen, offset = b"", "-1"
    while True:
        received = b""
        try:
            params = {"offset": offset, "live": "sse"}
            async with run.client.stream("GET", f"{run.base}/text", params=params) as response:
                async for chunk in response.aiter_raw():
                    received += chunk
        except UNANSWERED:
            await asyncio.sleep(RETRY_S)
        events = parse_events(received)
        for data, control in pairwise(events):
            if (data.name, control.name) == ("data", "control"):
                seen += data.data.encode()
        controls = [json.loads(event.data) for event in events if event.name == "control"]
        offset = controls[-1]["streamNextOffset"] if controls else offset
        if controls and controls[-1].get("streamClosed"):
            return seen


async def kill_again_and_again(server: ServerProcess, run: Run, chance: Random) -> None:
    deadline = time.monotonic() + SECONDS
    while time.monotonic() < deadline or run.kills < 3:
        await asyncio.sleep(chance.uniform(0.2, 1.5))
        await asyncio.to_thread(server.kill)
        await asyncio.to_thread(server.start)
        run.kills += 1
    run.is_over = True


async def content_of(run: Run, path: str, offset: str = "-1") -> bytes:
    content = b""
    while True:
        reply = (await run.insist("GET", path, params={"offset": offset})).raise_for_status()
        content, offset = content + reply.content, reply.headers["stream-next-offset"]
        if "stream-up-to-date" in reply.headers:
            return content


async def failures(run: Run) -> list[str]:
    """What of the churners' streams is not as it was acknowledged."""
    wrong: list[str] = []
    for life in run.lives.values():
        reply = await run.insist("GET", life.path)
        found = (reply.content, "stream-closed" in reply.headers) if reply.status_code == 200 else None
        if found != ((life.content, life.closed) if life.content is not None else None):
            wrong.append(f"{life.path}: {found}, not {life}")
        for offset in life.gone[-5:]:
            status = (await run.insist("GET", life.path, params={"offset": offset})).status_code
            wrong += [f"{life.path} at {offset}: {status}"] if status not in (404, 410) else []
        for offset, length in life.offsets if life.content is not None else ():
            rest = await content_of(run, life.path, offset)
            wrong += [f"{life.path} at {offset}: {rest!r}"] if rest != (life.content or b"")[length:] else []
    return wrong


def numbers_of(log: bytes, writer: int) -> list[int]:
    """A writer's messages, in order."""
    messages = [log[at : at + WIDTH] for at in range(0, len(log), WIDTH)]
    return [int(message[4:11]) for message in messages if message[:4] == b"%03d:" % writer]


async def test_nothing_acknowledged_is_lost_doubled_or_reordered(
    tmp_path: Path, record_property: Callable[[str, object], None]
) -> None:
    chance = Random(SEED)
    with ServerProcess(tmp_path / "data", port=free_port()) as server:
        limits = httpx.Limits(max_connections=100)
        async with httpx.AsyncClient(timeout=60, limits=limits) as client:
            run = Run(client, server.url)
            for path in ("plain", "text"):
                await run.insist("PUT", path, headers=TEXT)
            async with asyncio.TaskGroup() as readers:
                followed = readers.create_task(follow(run))
                async with asyncio.TaskGroup() as tasks:
                    tasks.create_task(kill_again_and_again(server, run, chance))
                    for number in range(WRITERS):
                        tasks.create_task(write_plainly(run, number))
                        tasks.create_task(produce(run, number, Random(chance.random())))
                    for number in range(CHURNERS):
                        tasks.create_task(churn(run, number, Random(chance.random())))
                await run.insist("POST", "text", headers={"Stream-Closed": "true"})
            await asyncio.to_thread(server.kill)
            await asyncio.to_thread(server.start)
            plain, text = await content_of(run, "plain"), await content_of(run, "text")
            wrong = await failures(run)

    assert wrong == []
    assert followed.result() == text
    assert [numbers_of(text, n) for n in range(WRITERS)] == [
        [*range(run.produced[n])] for n in range(WRITERS)
    ]
    there = [numbers_of(plain, n) for n in range(WRITERS)]
    assert [numbers == sorted(set(numbers)) for numbers in there] == [True] * WRITERS
    assert [set(run.plain[n]) - set(there[n]) for n in range(WRITERS)] == [set()] * WRITERS
    record_property(
        "summary",
        f"{run.kills + 1} kills, {sum(map(len, run.plain.values()))} plain and {sum(run.produced.values())} "
        f"produced messages, {len(run.lives)} streams: 0 lost, 0 doubled, 0 out of order; "
        f"{run.unanswered} requests unanswered",
    )
