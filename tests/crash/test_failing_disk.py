"""A real server whose files cannot grow: it refuses writes, serves reads, and goes on by itself."""

from __future__ import annotations

import asyncio
import resource
from pathlib import Path

import httpx
import pytest

from support.server import ServerProcess

pytestmark = [pytest.mark.anyio, pytest.mark.crash]


@pytest.fixture
def anyio_backend() -> str:
    return "asyncio"


async def test_a_disk_that_fails_stops_writes_and_not_reads_until_it_works(tmp_path: Path) -> None:
    with ServerProcess(tmp_path / "data") as server:
        url, headers = f"{server.url}/s", {"Content-Type": "text/plain"}
        unlimited = resource.prlimit(server.pid, resource.RLIMIT_FSIZE)
        async with httpx.AsyncClient(timeout=60) as client:
            await client.put(url, headers=headers, content=b"kept ")
            size = (tmp_path / "data" / "streams.db-wal").stat().st_size
            resource.prlimit(server.pid, resource.RLIMIT_FSIZE, (size, unlimited[1]))

            refused = [await client.post(url, headers=headers, content=b"x" * 50_000) for _ in range(2)]
            read = await client.get(url)

            resource.prlimit(server.pid, resource.RLIMIT_FSIZE, unlimited)
            while (await client.post(url, headers=headers, content=b"more")).status_code == 503:
                await asyncio.sleep(0.05)
            after = await client.get(url)

    assert [reply.status_code for reply in refused] == [503, 503]
    assert "disk failed" in refused[1].text
    assert read.content == b"kept "
    assert after.content == b"kept more"
