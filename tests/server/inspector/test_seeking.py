"""The last messages of a stream are found from its end."""

from __future__ import annotations

import json
from typing import Any

import httpx
import pytest

pytestmark = pytest.mark.anyio

JSON = {"Content-Type": "application/json"}


async def last(client: httpx.AsyncClient, name: str, count: int) -> Any:
    """The last messages, read from the offset that the inspector names."""
    reply = await client.get("/_ui/api/last", params={"stream": name, "count": str(count)})
    assert reply.status_code == 200, reply.text
    messages: list[Any] = []
    offset, up_to_date = reply.json()["offset"], False
    while not up_to_date:
        page = await client.get(f"/v1/stream/{name}", params={"offset": offset})
        messages += page.json()
        offset, up_to_date = page.headers["stream-next-offset"], "stream-up-to-date" in page.headers
    return messages


async def append_all(client: httpx.AsyncClient, name: str, messages: list[Any], batch: int) -> None:
    await client.put(f"/v1/stream/{name}", headers=JSON)
    for begin in range(0, len(messages), batch):
        body = json.dumps(messages[begin : begin + batch])
        (await client.post(f"/v1/stream/{name}", headers=JSON, content=body)).raise_for_status()


@pytest.mark.parametrize("count", [1, 3, 4, 100])
async def test_the_last_of_a_few(inspector: httpx.AsyncClient, count: int) -> None:
    await append_all(inspector, "few", [1, 2, 3, 4], 2)

    assert await last(inspector, "few", count) == [1, 2, 3, 4][-count:]


@pytest.mark.parametrize("count", [1, 700, 3000, 100_000])
async def test_the_last_of_more_than_a_window_holds(inspector: httpx.AsyncClient, count: int) -> None:
    messages = [{"n": n, "text": 'a "quoted", [bracketed] {text}, and, commas'} for n in range(4000)]
    await append_all(inspector, "many", messages, 500)

    assert await last(inspector, "many", count) == messages[-count:]


async def test_text_that_looks_like_messages_is_not_cut(inspector: httpx.AsyncClient) -> None:
    lure = ',{"n":1},{"n":2},' * 5000
    await append_all(inspector, "lure", [lure, lure, {"n": 3}], 1)

    assert await last(inspector, "lure", 2) == [lure, {"n": 3}]


async def test_an_empty_stream_has_no_last_message(inspector: httpx.AsyncClient) -> None:
    await append_all(inspector, "empty", [], 1)

    assert await last(inspector, "empty", 5) == []


async def test_a_fork_is_searched_down_to_where_it_branched_off(inspector: httpx.AsyncClient) -> None:
    await append_all(inspector, "source", [1, 2], 2)
    fork = {**JSON, "Stream-Forked-From": "/v1/stream/source"}
    await inspector.put("/v1/stream/branch", headers=fork, content=b"[3,4]")

    assert await last(inspector, "branch", 1) == [4]
    assert await last(inspector, "branch", 3) == [3, 4]


async def test_of_text_the_last_bytes_are_meant(inspector: httpx.AsyncClient) -> None:
    await inspector.put("/v1/stream/text", headers={"Content-Type": "text/plain"}, content=b"abcdef")
    reply = await inspector.get("/_ui/api/last", params={"stream": "text", "count": "2"})

    page = await inspector.get("/v1/stream/text", params={"offset": reply.json()["offset"]})

    assert page.content == b"ef"


@pytest.mark.parametrize("count", ["0", "-1", "x", "", "100001", "1e3", "99999999"])
async def test_a_count_is_a_number_of_messages(inspector: httpx.AsyncClient, count: str) -> None:
    await append_all(inspector, "counted", [1], 1)

    reply = await inspector.get("/_ui/api/last", params={"stream": "counted", "count": count})

    assert reply.status_code == 400
