"""What operators ask: health, readiness, version, metrics."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack
from importlib.metadata import version as installed_version
from pathlib import Path

import httpx
import pytest

from durafold_server import Server, create_app
from durafold_server.http import probes
from durafold_server.store.base import StoreFailure, StoreFull
from durafold_server.store.memory import MemoryStore
from support.metrics import readers, scrape, until_readers, until_scraped

pytestmark = pytest.mark.anyio

TEXT = {"Content-Type": "text/plain"}
JSON = {"Content-Type": "application/json"}


@pytest.fixture
async def server(anyio_backend: str) -> AsyncIterator[Server]:
    async with Server(long_poll_timeout_s=20) as server:
        yield server


@pytest.fixture
async def client(server: Server) -> AsyncIterator[httpx.AsyncClient]:
    async with httpx.AsyncClient(base_url=server.url, timeout=20) as client:
        yield client


def root(server: Server) -> str:
    return server.url.removesuffix("/v1/stream")


async def get(url: str, **headers: str) -> httpx.Response:
    async with httpx.AsyncClient(timeout=20) as client:
        return await client.get(url, headers=headers)


# Health and readiness


@pytest.mark.parametrize("path", ["/healthz", "/health", "/readyz"])
async def test_a_server_that_serves_says_ok(server: Server, path: str) -> None:
    reply = await get(root(server) + path)

    assert (reply.status_code, reply.text) == (200, "ok\n")
    assert reply.headers["cache-control"] == "no-store"


async def test_readiness_is_a_write_that_succeeded(tmp_path: Path) -> None:
    async with Server(data=tmp_path) as server:
        before = (await scrape(server.url))["durafold_commits_total"]
        reply = await get(f"{root(server)}/readyz")

        assert (reply.status_code, reply.text) == (200, "ok\n")
        assert (await scrape(server.url))["durafold_commits_total"] > before


@pytest.mark.parametrize(
    ("failure", "reason"),
    [
        (StoreFull("no space left on /secret/place"), "the storage is full\n"),
        (StoreFailure("/secret/place is gone"), "the storage failed; the server's log says why\n"),
    ],
)
async def test_a_store_that_cannot_be_written_is_not_ready_but_alive(failure: Exception, reason: str) -> None:
    class Broken(MemoryStore):
        async def put_record(self, key: str, value: bytes | None) -> None:
            if key == "ready":
                raise failure
            await super().put_record(key, value)

    async with Server(store=Broken()) as server:
        ready, alive = await get(f"{root(server)}/readyz"), await get(f"{root(server)}/healthz")

    assert (ready.status_code, ready.text, alive.status_code) == (503, reason, 200)


async def test_many_questions_at_once_are_one_write(server: Server, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(probes, "_READY_FOR_S", 600)  # however long it takes to ask ten times
    store = (await server.service()).store
    writes: list[str] = []

    async def put_record(key: str, value: bytes | None) -> None:
        writes.append(key)
        await asyncio.sleep(0.01)

    store.put_record = put_record  # type: ignore[method-assign]
    replies = await asyncio.gather(*(get(f"{root(server)}/readyz") for _ in range(10)))

    assert {reply.status_code for reply in replies} == {200}
    assert writes == ["ready"]


async def test_the_version_is_that_of_the_package(server: Server) -> None:
    reply = await get(f"{root(server)}/version")

    assert reply.headers["content-type"] == "application/json"
    assert reply.json() == {"name": "durafold", "version": installed_version("durafold")}


@pytest.mark.parametrize("method", ["POST", "PUT", "DELETE"])
async def test_probes_can_only_be_read(server: Server, method: str) -> None:
    async with httpx.AsyncClient() as client:
        assert (await client.request(method, f"{root(server)}/healthz")).status_code == 404


async def test_head_answers_like_get_without_a_body(server: Server) -> None:
    async with httpx.AsyncClient() as client:
        reply = await client.head(f"{root(server)}/readyz")

    assert (reply.status_code, reply.content) == (200, b"")


# Metrics


async def test_metrics_are_prometheus_text(server: Server) -> None:
    reply = await get(f"{root(server)}/metrics")

    assert reply.headers["content-type"] == "text/plain; version=0.0.4; charset=utf-8"
    assert f'durafold_info{{version="{installed_version("durafold")}"}} 1' in reply.text.splitlines()


async def test_appends_messages_and_bytes_are_counted(server: Server, client: httpx.AsyncClient) -> None:
    await client.put("/a", headers=JSON)
    producer = {"Producer-Id": "p", "Producer-Epoch": "0", "Producer-Seq": "0"}
    for _ in range(2):  # the second is a duplicate
        await client.post("/a", headers={**JSON, **producer}, content=b'[1, 2, "x"]')
    await client.post("/a", headers=JSON, content=b"4")
    page = await client.get("/a")

    counted = await scrape(server.url)
    assert counted["durafold_appends_total"] == 3
    assert counted["durafold_append_seconds_count"] == 3
    assert counted["durafold_messages_total"] == 4
    assert counted["durafold_received_bytes_total"] == 11 + 11 + 1
    assert counted["durafold_sent_bytes_total"] == len(page.content)
    assert counted["durafold_read_seconds_count"] == 1
    assert counted["durafold_streams"] >= 1
    assert counted['durafold_requests_total{operation="create"}'] == 1


async def test_refusals_are_counted_by_status_and_condition(
    server: Server, client: httpx.AsyncClient
) -> None:
    await client.get("/nothing-here")
    await client.get("/nothing-here")
    await client.get("/nothing-here?live=x&offset=-1")

    counted = await scrape(server.url)
    assert counted['durafold_errors_total{status="404",code="not_found"}'] == 2
    assert counted['durafold_errors_total{status="400",code="invalid_request"}'] == 1


async def test_commits_and_the_operations_in_them_are_counted(tmp_path: Path) -> None:
    async with (
        Server(data=tmp_path) as server,
        httpx.AsyncClient(base_url=server.url, timeout=20) as client,
    ):
        await client.put("/a", headers=TEXT)
        before = await scrape(server.url)
        await asyncio.gather(*(client.post("/a", headers=TEXT, content=b"x") for _ in range(50)))
        after = await scrape(server.url)

    operations = after["durafold_commit_operations_sum"] - before["durafold_commit_operations_sum"]
    assert operations >= 50  # the store's own housekeeping may join in
    assert 1 <= after["durafold_commits_total"] - before["durafold_commits_total"] <= operations


async def test_readers_are_counted_by_mode_and_gone_when_they_left(
    server: Server, client: httpx.AsyncClient
) -> None:
    await client.put("/a", headers=TEXT)
    async with AsyncExitStack() as stack:
        clients = [await stack.enter_async_context(httpx.AsyncClient(timeout=20)) for _ in range(3)]
        for reader in clients:
            await stack.enter_async_context(
                reader.stream("GET", f"{server.url}/a", params={"offset": "-1", "live": "sse"})
            )
        async with httpx.AsyncClient(timeout=20) as poller:
            waiting = asyncio.create_task(
                poller.get(f"{server.url}/a", params={"offset": "-1", "live": "long-poll"})
            )
            await until_readers(server.url, sse=3, long_poll=1)
            counted = await scrape(server.url)
            waiting.cancel()
            await asyncio.wait([waiting])

    assert (readers(counted, "sse"), readers(counted, "long-poll")) == (3, 1)
    assert counted["durafold_connections"] >= 4
    await until_scraped(
        server.url,
        lambda counted: (
            readers(counted, "sse") == 0
            and readers(counted, "long-poll") == 0
            and counted["durafold_connections"] <= 2  # the scraper's own, and the client's idle one
        ),
    )


async def test_metrics_want_admin_where_access_is_controlled() -> None:
    async with Server(tokens=["reader@r3ad=read", "root@adm1n=admin", "part@p4rt=admin:a/"]) as server:
        url = f"{root(server)}/metrics"
        replies = [
            await get(url),
            await get(url, Authorization="Bearer r3ad"),
            await get(url, Authorization="Bearer p4rt"),
            await get(url, Authorization="Bearer adm1n"),
        ]
        open_to_all = [await get(root(server) + path) for path in ("/healthz", "/readyz", "/version")]

    assert [reply.status_code for reply in replies] == [401, 403, 403, 200]
    assert {reply.status_code for reply in open_to_all} == {200}


async def test_metrics_can_be_opened() -> None:
    async with Server(tokens=["root@adm1n=admin"], metrics_open=True) as server:
        assert (await get(f"{root(server)}/metrics")).status_code == 200
        assert (await get(f"{server.url}/a")).status_code == 401


async def test_a_server_that_stops_is_not_ready() -> None:
    async with create_app() as app:
        app.stop()
        async with httpx.AsyncClient(transport=httpx.ASGITransport(app), base_url="http://host") as client:
            reply = await client.get("/readyz")

    assert (reply.status_code, reply.text) == (503, "the server is stopping\n")


async def test_what_the_parser_refuses_is_counted_too(server: Server) -> None:
    port = int(root(server).rpartition(":")[2])
    reader, writer = await asyncio.open_connection("127.0.0.1", port)
    writer.write(b"nonsense\r\n\r\n")
    assert (await reader.read()).startswith(b"HTTP/1.1 400")
    writer.close()

    assert (await scrape(server.url))['durafold_errors_total{status="400",code="connection"}'] == 1
