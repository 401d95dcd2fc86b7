"""A real server without room: it says so, keeps what it has acknowledged, and goes on when there is some."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Iterator
from pathlib import Path

import httpx
import pytest

from support.full_disk import VARIABLE
from support.server import ServerProcess

pytestmark = [pytest.mark.anyio, pytest.mark.crash]

TEXT = {"Content-Type": "text/plain"}
MUCH = b"x" * 100_000


@pytest.fixture
def anyio_backend() -> str:
    return "asyncio"


@pytest.fixture
def no_room(tmp_path: Path) -> Path:
    """While this file exists, the server's disk is full."""
    return tmp_path / "no-room"


@pytest.fixture
def server(tmp_path: Path, no_room: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[ServerProcess]:
    monkeypatch.setenv("PYTHONPATH", str(Path(__file__).parents[1]))
    monkeypatch.setenv(VARIABLE, str(no_room))
    with ServerProcess(tmp_path / "data", options=["--reducers", "support.full_disk"]) as server:
        yield server


@pytest.fixture
async def client(server: ServerProcess) -> AsyncIterator[httpx.AsyncClient]:
    """A client of the server, which holds the stream `s`."""
    async with httpx.AsyncClient(base_url=server.url, headers=TEXT, timeout=60) as client:
        await client.put("/s", content=b"kept ")
        yield client


async def append(client: httpx.AsyncClient, data: bytes, **headers: str) -> httpx.Response:
    named = {name.replace("_", "-"): value for name, value in headers.items()}
    return await client.post("/s", content=data, headers=named)


async def append_once_there_is_room(client: httpx.AsyncClient, data: bytes, **headers: str) -> httpx.Response:
    async with asyncio.timeout(60):
        while (reply := await append(client, data, **headers)).status_code == 507:
            await asyncio.sleep(0.05)
    return reply


async def test_a_full_disk_stops_writes_and_not_reads_until_there_is_room(
    server: ServerProcess, client: httpx.AsyncClient, no_room: Path
) -> None:
    no_room.touch()
    refused = [await append(client, MUCH), await client.put("/t", content=MUCH), await append(client, MUCH)]
    page = await client.get("/s")
    missing = await client.get("/t")
    tail = {"offset": page.headers["stream-next-offset"], "live": "long-poll"}
    waiting = asyncio.ensure_future(client.get("/s", params=tail))

    no_room.unlink()
    await append_once_there_is_room(client, MUCH)

    assert [reply.status_code for reply in refused] == [507, 507, 507]
    assert refused[0].text.startswith("The server's disk is full; nothing was stored.")
    assert (page.content, page.headers["stream-up-to-date"]) == (b"kept ", "true")
    assert missing.status_code == 404
    assert (await waiting).content == MUCH
    assert (await client.get("/s")).content == b"kept " + MUCH
    assert "storage full" in server.output
    assert "Traceback" not in server.output


async def test_what_a_full_disk_refused_is_sent_again_under_the_same_number(
    client: httpx.AsyncClient, no_room: Path
) -> None:
    claim = {"producer_id": "p", "producer_epoch": "0"}
    await append(client, b"and ", **claim, producer_seq="0")

    no_room.touch()
    refused = await append(client, MUCH, **claim, producer_seq="1")
    no_room.unlink()
    accepted = await append_once_there_is_room(client, MUCH, **claim, producer_seq="1")
    repeated = await append(client, MUCH, **claim, producer_seq="1")

    assert [refused.status_code, accepted.status_code, repeated.status_code] == [507, 200, 204]
    assert (await client.get("/s")).content == b"kept and " + MUCH


async def test_what_was_acknowledged_survives_a_kill_while_the_disk_is_full(
    server: ServerProcess, client: httpx.AsyncClient, no_room: Path
) -> None:
    no_room.touch()
    refused = await append(client, MUCH)
    server.kill()
    await asyncio.to_thread(server.restart)
    page = await client.get("/s")
    still_refused = await append(client, MUCH)
    no_room.unlink()
    await append_once_there_is_room(client, b"more")

    assert [refused.status_code, still_refused.status_code] == [507, 507]
    assert page.content == b"kept "
    assert (await client.get("/s")).content == b"kept more"
