"""The access log, and headers that depend on the request."""

from __future__ import annotations

import asyncio
import json
import re
from collections.abc import AsyncIterator, Callable
from typing import Any

import httpx
import pytest

from durafold_server import Server, create_app
from durafold_server.http.access_log import request_id
from support.waiting import PATIENCE_S

pytestmark = pytest.mark.anyio

TEXT = {"Content-Type": "text/plain"}
A, B = "https://a.example", "https://b.example"


async def logged(capsys: pytest.CaptureFixture[str], count: int) -> list[str]:
    """The log's lines, once there are that many."""
    lines: list[str] = []
    async with asyncio.timeout(PATIENCE_S):
        while len(lines) < count:
            lines += capsys.readouterr().err.splitlines()
            await asyncio.sleep(0.005)
    return lines


async def test_a_request_is_one_line_of_json(capsys: pytest.CaptureFixture[str]) -> None:
    async with Server(access_log="json", tokens=["app@s=admin"]) as server, httpx.AsyncClient() as client:
        headers = {**TEXT, "Authorization": "Bearer s", "X-Request-Id": "req-1"}
        await client.put(f"{server.url}/a", headers=headers)
        reply = await client.get(f"{server.url}/nothing?offset=-1", headers=headers)
        lines: list[dict[str, Any]] = [json.loads(line) for line in await logged(capsys, 2)]

    assert re.fullmatch(r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d\.\d{3}Z", lines[0].pop("time"))
    assert lines[0].pop("duration_ms") > 0
    assert lines[0] == {
        "method": "PUT",
        "path": "/v1/stream/a",
        "status": 201,
        "bytes": 0,
        "identity": "app",
        "request_id": "req-1",
    }
    assert (lines[1]["status"], lines[1]["bytes"]) == (404, len(reply.content))
    assert reply.headers["x-request-id"] == "req-1"


async def test_a_request_is_one_line_of_text(capsys: pytest.CaptureFixture[str]) -> None:
    async with Server(access_log="text") as server, httpx.AsyncClient() as client:
        reply = await client.put(f"{server.url}/a%20b", headers=TEXT)
        [line] = await logged(capsys, 1)

    time, method, path, status, size, took_ms, identity, name = line.split(" ")
    assert (method, path, status, size, identity) == ("PUT", "/v1/stream/a%20b", "201", "0", "-")
    assert time.endswith("Z")
    assert float(took_ms) > 0
    assert name == reply.headers["x-request-id"]


async def test_it_tells_whose_state_is_read_and_nothing_else_of_a_query(
    capsys: pytest.CaptureFixture[str],
) -> None:
    async with (
        Server(access_log="json", bindings=["stock/**=support.stock:stock"], tokens=["a@s=read"]) as server,
        httpx.AsyncClient(base_url=server.url) as client,
    ):
        targets = [
            "/?token=s3cr3t&state=stock/%61%26b&at=-1",
            "/?state=stock/red%252Fgreen",
            "/?state=../s3cr3t",
            "/?state=a&state=s3cr3t",
            "/?prefix=s3cr3t",
            "/stock/a?state=s3cr3t",
        ]
        _ = [await client.get(target, headers={"Authorization": "Bearer s"}) for target in targets]
        await client.head("/?state=stock/a")
        lines = [json.loads(line) for line in await logged(capsys, 7)]

    assert [(line["path"], line["status"]) for line in lines] == [
        ("/v1/stream/?state=stock/a%26b", 404),
        ("/v1/stream/?state=stock/red%252Fgreen", 404),
        ("/v1/stream/", 400),
        ("/v1/stream/", 400),
        ("/v1/stream/", 200),
        ("/v1/stream/stock/a", 404),
        ("/v1/stream/?state=stock/a", 401),
    ]


async def test_a_live_reader_has_its_line_when_it_leaves(capsys: pytest.CaptureFixture[str]) -> None:
    async with Server(access_log="json") as server, httpx.AsyncClient() as client:
        await client.put(f"{server.url}/a", headers=TEXT, content=b"abc")
        async with client.stream("GET", f"{server.url}/a?offset=-1&live=sse") as reply:
            received = await anext(reply.aiter_raw())
            assert [json.loads(line)["method"] for line in await logged(capsys, 1)] == ["PUT"]
        [line] = await logged(capsys, 1)

    assert json.loads(line)["status"] == 200
    assert json.loads(line)["bytes"] >= len(received)


async def test_a_stream_that_ends_ends_its_readers_line(capsys: pytest.CaptureFixture[str]) -> None:
    async with Server(access_log="json") as server, httpx.AsyncClient() as client:
        await client.put(f"{server.url}/a", headers={**TEXT, "Stream-Closed": "true"}, content=b"abc")
        reply = await client.get(f"{server.url}/a?offset=-1&live=sse")
        lines = await logged(capsys, 2)

    assert json.loads(lines[1])["bytes"] == len(reply.content)


async def test_no_line_can_be_forged(capsys: pytest.CaptureFixture[str]) -> None:
    scope = {"type": "http", "method": "GET", "path": "/a\nb é", "query_string": b"", "headers": []}

    async def receive() -> dict[str, Any]:
        return {"type": "http.request", "body": b"", "more_body": False}

    async def send(_message: Any) -> None:
        pass

    await create_app(access_log="text")(scope, receive, send)

    [line] = capsys.readouterr().err.splitlines()
    assert line.split(" ")[2] == "/a%0Ab%20%C3%A9"
    assert len(line.split(" ")) == 8


async def test_it_is_off_unless_asked_for(capsys: pytest.CaptureFixture[str]) -> None:
    async with Server() as server, httpx.AsyncClient() as client:
        reply = await client.put(f"{server.url}/a", headers=TEXT)

    assert "x-request-id" not in reply.headers
    assert capsys.readouterr().err == ""


@pytest.mark.parametrize("given", [None, "", "a b", "x" * 129, "é", "a\nb"])
def test_a_strange_request_id_is_replaced(given: str | None) -> None:
    assert re.fullmatch(r"[0-9a-f]{16}", request_id(given))


# CORS


@pytest.fixture
async def choosy(anyio_backend: str) -> AsyncIterator[Callable[[str | None], Any]]:
    """Asks a server that lets two origins in, as a page of some origin."""
    async with Server(cors_origins=[A, f"{B}/"]) as server, httpx.AsyncClient() as client:

        async def ask(origin: str | None, method: str = "GET") -> httpx.Headers:
            headers = {} if origin is None else {"Origin": origin}
            return (await client.request(method, f"{server.url}/a", headers=headers)).headers

        yield ask


@pytest.mark.parametrize("origin", [A, B])
@pytest.mark.parametrize("method", ["GET", "OPTIONS"])
async def test_pages_of_allowed_origins_may_read(
    choosy: Callable[..., Any], origin: str, method: str
) -> None:
    headers = await choosy(origin, method)

    assert headers["access-control-allow-origin"] == origin
    assert headers["vary"] == "origin"


@pytest.mark.parametrize("origin", [None, "https://evil.example", "null", f"{A}.evil.example"])
async def test_pages_of_others_may_not(choosy: Callable[..., Any], origin: str | None) -> None:
    headers = await choosy(origin)

    assert "access-control-allow-origin" not in headers
    assert headers["vary"] == "origin"


async def test_cors_can_be_switched_off() -> None:
    async with Server(cors=False) as server, httpx.AsyncClient() as client:
        headers = (await client.get(f"{server.url}/a", headers={"Origin": A})).headers

    assert not [name for name in headers if name.startswith("access-control-")]
