"""A durable server is killed while streams come and go: its registry and its streams always agree."""

from __future__ import annotations

import asyncio
import random
from pathlib import Path
from typing import Any, Final

import httpx
import pytest

from support.ports import free_port
from support.registry import fold
from support.server import ServerProcess

pytestmark = [pytest.mark.anyio, pytest.mark.crash]

CHURNERS: Final = 8
KILLS: Final = 3
CHANGES_PER_KILL: Final = 100
TEXT: Final = {"Content-Type": "text/plain"}


@pytest.fixture
def anyio_backend() -> str:
    return "asyncio"


class Churn:
    """Clients that create, fork, close and delete streams of their own, whatever becomes of the server."""

    def __init__(self, client: httpx.AsyncClient, root: str, seed: int) -> None:
        self._client = client
        self._root = root
        self._chance = random.Random(seed)
        self.changes = 0
        self.cut_off = 0

    async def run(self, name: str, killed: asyncio.Event) -> None:
        """Go on until the server is killed."""
        while not killed.is_set():
            try:
                reply = await self._change(f"{self._root}/{name}-{self._chance.randrange(4)}")
            except httpx.TransportError:
                self.cut_off += 1
                await killed.wait()
            else:
                self.changes += reply.status_code in (201, 204)

    async def until(self, changes: int) -> None:
        """Wait for so many changes."""
        while self.changes < changes:
            await asyncio.sleep(0.005)

    async def _change(self, url: str) -> httpx.Response:
        match self._chance.randrange(5):
            case 0 | 1:
                return await self._client.put(url, headers=TEXT, content=b"x")
            case 2:
                path = httpx.URL(url).path
                return await self._client.put(f"{url}-fork", headers={"Stream-Forked-From": path})
            case 3:
                return await self._client.post(url, headers={"Stream-Closed": "true"})
            case _:
                suffix = self._chance.choice(["", "-fork"])
                return await self._client.delete(url + suffix)


async def told(client: httpx.AsyncClient, root: str) -> dict[str, Any]:
    """The streams that the registry leaves, folded page by page."""
    messages: list[dict[str, Any]] = []
    offset = "-1"
    while True:
        reply = await client.get(f"{root}/__registry__", params={"offset": offset})
        messages += reply.raise_for_status().json()
        offset = reply.headers["stream-next-offset"]
        if "stream-up-to-date" in reply.headers:
            return fold(messages)


async def listed(client: httpx.AsyncClient, root: str) -> dict[str, bool]:
    """The streams that there are, and whether they are closed."""
    page = (await client.get(f"{root}/", params={"limit": "1000"})).raise_for_status().json()
    assert page["next"] is None
    return {stream["path"]: stream["closed"] for stream in page["streams"]}


async def test_the_registry_agrees_with_the_streams_after_every_kill(tmp_path: Path) -> None:
    agreed: list[tuple[dict[str, bool], dict[str, bool]]] = []
    async with httpx.AsyncClient(timeout=20) as client:
        with ServerProcess(tmp_path / "data", port=free_port()) as server:
            churn = Churn(client, server.url, seed=3)
            for kill in range(1, KILLS + 1):
                killed = asyncio.Event()
                async with asyncio.TaskGroup() as tasks:
                    for number in range(CHURNERS):
                        tasks.create_task(churn.run(f"s{number}", killed))
                    await churn.until(kill * CHANGES_PER_KILL)
                    await asyncio.to_thread(server.kill)
                    killed.set()
                await asyncio.to_thread(server.start)
                streams = await told(client, server.url)
                closed = {path: value.get("closed", False) for path, value in streams.items()}
                agreed.append((closed, await listed(client, server.url)))

    assert len(agreed) == KILLS
    assert [told_ for told_, _ in agreed] == [listed_ for _, listed_ in agreed]
    assert min(len(streams) for _, streams in agreed) > 5
    assert churn.cut_off > 0
