"""The server as an ASGI application: mounted, without lifespan events, on a foreign web server."""

from __future__ import annotations

import asyncio
import contextlib
import socket
from collections.abc import AsyncIterator, Callable
from typing import Any

import httpx
import pytest
import uvicorn
from starlette.applications import Starlette
from starlette.routing import Mount

from durafold_server import DurableStreamsApp, create_app
from durafold_server.config import ServiceSettings
from durafold_server.store.base import StoreFailure, StreamStore
from durafold_server.store.memory import MemoryStore
from support.metrics import until_readers
from support.sse_parser import parse_events
from support.waiting import eventually

pytestmark = pytest.mark.anyio

TEXT = {"Content-Type": "text/plain"}
Message = dict[str, Any]


def calling(app: Any, **options: Any) -> httpx.AsyncClient:
    """A client of an application in this process; it sends no lifespan events."""
    return httpx.AsyncClient(transport=httpx.ASGITransport(app, **options), base_url="http://host")


@pytest.fixture
async def mounted(anyio_backend: str) -> AsyncIterator[httpx.AsyncClient]:
    """A client of an application with the server mounted below `/sync`."""
    app = create_app()
    async with calling(Starlette(routes=[Mount("/sync", app)])) as client:
        yield client
    await app.aclose()


@contextlib.asynccontextmanager
async def served_by_uvicorn(app: Any) -> AsyncIterator[str]:
    """The URL of a real server that runs the application."""
    server = uvicorn.Server(uvicorn.Config(app, log_level="warning", lifespan="off", ws="none"))
    with socket.create_server(("127.0.0.1", 0)) as listener:
        serving = asyncio.create_task(server._serve([listener]))
        await eventually(lambda: server.started)
        yield f"http://127.0.0.1:{listener.getsockname()[1]}"
        server.should_exit = True
        await serving


# Mounted


async def test_streams_are_below_the_mount(mounted: httpx.AsyncClient) -> None:
    made = await mounted.put("/sync/v1/stream/a", headers=TEXT, content=b"abc")

    assert made.status_code == 201
    assert made.headers["location"] == "http://host/sync/v1/stream/a"
    assert (await mounted.get("/sync/v1/stream/a")).content == b"abc"
    assert (await mounted.get("/v1/stream/a")).status_code == 404
    assert (await mounted.get("/sync/v1/streams")).status_code == 404


async def test_an_encoded_slash_stays_apart_from_a_slash_below_a_mount(mounted: httpx.AsyncClient) -> None:
    made = await mounted.put("/sync/v1/stream/a%2Fb", headers=TEXT, content=b"encoded")

    assert made.headers["location"] == "http://host/sync/v1/stream/a%2Fb"
    assert (await mounted.get("/sync/v1/stream/a/b")).status_code == 404
    assert (await mounted.get("/sync/v1/stream/a%2fb")).content == b"encoded"


async def test_a_forks_source_is_named_with_the_mount(mounted: httpx.AsyncClient) -> None:
    await mounted.put("/sync/v1/stream/a", headers=TEXT, content=b"abc")

    forked = await mounted.put("/sync/v1/stream/b", headers={"Stream-Forked-From": "/sync/v1/stream/a"})
    outside = await mounted.put("/sync/v1/stream/c", headers={"Stream-Forked-From": "/v1/stream/a"})

    assert forked.status_code == 201
    assert outside.status_code == 404
    assert (await mounted.get("/sync/v1/stream/b")).content == b"abc"


async def test_requests_at_the_same_time_open_one_store(anyio_backend: str) -> None:
    opened: list[StreamStore] = []

    async def open_store() -> StreamStore:
        await asyncio.sleep(0.01)
        opened.append(MemoryStore())
        return opened[-1]

    async with calling(DurableStreamsApp(open_store)) as client:
        replies = await asyncio.gather(*(client.put(f"/v1/stream/{n}") for n in range(10)))

    assert {reply.status_code for reply in replies} == {201}
    assert len(opened) == 1


async def test_a_store_that_cannot_be_opened_is_503_and_tried_again() -> None:
    failures = [StoreFailure("the disk is gone")]

    async def open_store() -> StreamStore:
        if failures:
            raise failures.pop()
        return MemoryStore()

    async with calling(DurableStreamsApp(open_store)) as client:
        assert (await client.put("/v1/stream/a")).status_code == 503
        assert (await client.put("/v1/stream/a")).status_code == 201


@pytest.mark.parametrize("prefix", ["/streams", "streams/", "/"])
async def test_the_prefix_can_be_chosen(prefix: str) -> None:
    async with calling(create_app(prefix=prefix)) as client:
        path = f"/{prefix.strip('/')}/a".replace("//", "/")

        assert (await client.put(path)).headers["location"] == f"http://host{path}"


async def test_cors_can_be_left_to_an_outer_layer() -> None:
    async with calling(create_app(cors=False)) as client:
        made = await client.put("/v1/stream/a")
        preflight = await client.options("/v1/stream/a")

    assert not [name for name in made.headers if name.startswith("access-control-")]
    assert made.headers["x-content-type-options"] == "nosniff"
    assert preflight.status_code == 405


async def test_head_has_no_body_and_no_wrong_length() -> None:
    async with calling(create_app()) as client:
        await client.put("/v1/stream/a", content=b"abc")
        reply = await client.head("/v1/stream/a")

    assert reply.content == b""
    assert reply.headers.get("content-length", "3") == "3"


async def test_a_body_over_the_limit_is_413() -> None:
    async with calling(create_app(settings=ServiceSettings(max_body_bytes=10))) as client:
        assert (await client.put("/v1/stream/a", content=b"x" * 11)).status_code == 413
        assert (await client.put("/v1/stream/a", content=b"x" * 10)).status_code == 201


async def test_a_path_without_its_raw_form_is_understood() -> None:
    sent: list[Message] = []
    scope = {"type": "http", "method": "GET", "path": "/v1/stream/é", "headers": [], "query_string": b""}

    await create_app()(scope, _no_body(), _collecting(sent))

    assert sent[0]["status"] == 404


async def test_the_application_can_be_opened_and_closed_by_hand() -> None:
    async with create_app() as app, calling(app) as client:
        assert (await client.put("/v1/stream/a")).status_code == 201
    await app.aclose()


# Lifespan and websockets


async def test_lifespan_events_open_and_close_the_store() -> None:
    sent: list[Message] = []
    events = iter([{"type": "lifespan.startup"}, {"type": "lifespan.shutdown"}])

    async def receive() -> Message:
        return next(events)

    await create_app()({"type": "lifespan"}, receive, _collecting(sent))

    assert [message["type"] for message in sent] == [
        "lifespan.startup.complete",
        "lifespan.shutdown.complete",
    ]


async def test_a_store_that_cannot_be_opened_fails_the_startup() -> None:
    sent: list[Message] = []

    async def open_store() -> StreamStore:
        raise StoreFailure("the disk is gone")

    async def receive() -> Message:
        return {"type": "lifespan.startup"}

    await DurableStreamsApp(open_store)({"type": "lifespan"}, receive, _collecting(sent))

    assert sent == [{"type": "lifespan.startup.failed", "message": "the disk is gone"}]


async def test_a_websocket_is_turned_away() -> None:
    sent: list[Message] = []

    async def receive() -> Message:
        return {"type": "websocket.connect"}

    await create_app()({"type": "websocket"}, receive, _collecting(sent))

    assert [message["type"] for message in sent] == ["websocket.close"]


# Live reads


async def test_events_arrive_and_end_with_the_stream() -> None:
    async with served_by_uvicorn(create_app()) as origin, httpx.AsyncClient(timeout=20) as client:
        url = f"{origin}/v1/stream/a"
        await client.put(url, headers=TEXT, content=b"abc")
        async with client.stream("GET", url, params={"offset": "-1", "live": "sse"}) as response:
            chunks = response.aiter_raw()
            received = await anext(chunks)
            await client.post(url, headers={**TEXT, "Stream-Closed": "true"}, content=b"last")
            async for chunk in chunks:
                received += chunk

    assert [event.data for event in parse_events(received) if event.name == "data"] == ["abc", "last"]
    assert '"streamClosed":true' in parse_events(received)[-1].data


async def test_a_long_poll_is_woken() -> None:
    async with served_by_uvicorn(create_app()) as origin, httpx.AsyncClient(timeout=20) as client:
        url = f"{origin}/v1/stream/a"
        await client.put(url, headers=TEXT)
        polling = asyncio.create_task(client.get(url, params={"offset": "now", "live": "long-poll"}))
        await until_readers(origin, long_poll=1)
        await client.post(url, headers=TEXT, content=b"abc")

        assert (await polling).content == b"abc"


async def test_stopping_the_application_lets_the_web_server_end() -> None:
    app = create_app()
    async with served_by_uvicorn(app) as origin, httpx.AsyncClient(timeout=20) as client:
        url = f"{origin}/v1/stream/a"
        await client.put(url, headers=TEXT)
        live = [
            asyncio.create_task(client.get(url, params={"offset": "-1", "live": mode}))
            for mode in ("sse", "long-poll") * 5
        ]
        await until_readers(origin, sse=5, long_poll=5)
        app.stop()

        assert {(await reply).status_code for reply in live} == {200, 204}


@pytest.mark.parametrize("mode", ["sse", "long-poll"])
async def test_readers_that_leave_leave_no_task_behind(mode: str) -> None:
    async with create_app() as app:
        async with calling(app) as client:
            await client.put("/v1/stream/a", headers=TEXT)
        service = await app.service()
        before = asyncio.all_tasks()
        left = asyncio.Event()
        readers = [asyncio.create_task(_read_until(app, mode, left)) for _ in range(20)]
        await until_readers("http://host", httpx.ASGITransport(app), **{mode.replace("-", "_"): 20})

        left.set()

        await asyncio.gather(*readers)
        assert len(service.readers) == 0
        await eventually(lambda: asyncio.all_tasks() == before)  # the ticker looks up once a second


async def test_a_reader_whose_request_is_cancelled_leaves_nothing_behind() -> None:
    async with create_app() as app:
        async with calling(app) as client:
            await client.put("/v1/stream/a", headers=TEXT)
        service = await app.service()
        reading = asyncio.create_task(_read_until(app, "sse", asyncio.Event()))
        await eventually(lambda: len(service.readers) == 1)

        reading.cancel()
        with contextlib.suppress(asyncio.CancelledError):
            await reading

        await eventually(lambda: len(service.readers) == 0)


async def _read_until(app: DurableStreamsApp, mode: str, left: asyncio.Event) -> None:
    """A live read by a client that leaves when told."""
    first = True

    async def receive() -> Message:
        nonlocal first
        if first:
            first = False
            return {"type": "http.request", "body": b"", "more_body": False}
        await left.wait()
        return {"type": "http.disconnect"}

    query = f"offset=-1&live={mode}".encode()
    scope = {"type": "http", "method": "GET", "path": "/v1/stream/a", "headers": [], "query_string": query}
    await app(scope, receive, _collecting([]))


def _no_body() -> Callable[[], Any]:
    async def receive() -> Message:
        return {"type": "http.request", "body": b"", "more_body": False}

    return receive


def _collecting(sent: list[Message]) -> Callable[[Any], Any]:
    async def send(message: Message) -> None:
        sent.append(message)

    return send
