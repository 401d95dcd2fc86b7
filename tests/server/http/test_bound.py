"""Streams that are bound to a reducer, over the wire: verdicts, states, and who gets them."""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import httpx
import pytest

from durafold_server import Server
from durafold_server.config import ServiceSettings
from durafold_server.http.app import DurableStreamsApp
from durafold_server.store.memory import MemoryStore
from support.ports import free_port
from support.server import ServerProcess
from support.server_stores import ManualClock

pytestmark = pytest.mark.anyio

JSON = {"Content-Type": "application/json"}


@pytest.fixture
async def shop(anyio_backend: str) -> AsyncIterator[httpx.AsyncClient]:
    """A client of a server that binds `stock/**`; addresses are relative to the stream root."""
    async with (
        Server(reducers=["support.stock"]) as server,
        httpx.AsyncClient(base_url=server.url, timeout=20.0) as client,
    ):
        yield client


async def append(client: httpx.AsyncClient, path: str, *messages: Any, **headers: str) -> httpx.Response:
    named = {name.replace("_", "-"): value for name, value in headers.items()}
    return await client.post(path, headers={**JSON, **named}, content=json.dumps(list(messages)))


async def state(client: httpx.AsyncClient, path: str, **more: str) -> httpx.Response:
    return await client.get("/", params={"state": path, **more})


RECEIVE = {"type": "receive", "count": 3}
TAKE = {"type": "take", "count": 2}


async def test_a_refusal_says_why_which_message_and_what_to_do(shop: httpx.AsyncClient) -> None:
    await shop.put("/stock/a", headers=JSON)

    reply = await append(
        shop, "/stock/a", RECEIVE, {"type": "action", "payload": {"type": "take", "count": 4},
                                    "meta": {"id": "k3f9:1", "v": 1}},
        producer_id="k3f9", producer_epoch="0", producer_seq="0",
    )  # fmt: skip

    assert reply.status_code == 422
    assert reply.headers["content-type"] == "application/json"
    assert reply.headers["cache-control"] == "no-store"
    assert reply.json() == {
        "error": "action_refused",
        "verdict": "rejected",
        "reason": "only 3 left",
        "message": 1,
        "id": "k3f9:1",
        "reducer": "support.stock:stock",
        "version": "1",
        "hint": "Nothing was appended. Leave this message out, or send it again when the state allows it.",
    }
    assert (await shop.get("/stock/a", params={"offset": "-1"})).text == "[]"


async def test_a_bound_stream_must_be_json(shop: httpx.AsyncClient) -> None:
    reply = await shop.put("/stock/a", headers={"Content-Type": "text/plain"})

    assert reply.status_code == 422
    assert reply.json()["reason"] == "the stream is bound to a reducer, and so it must be application/json"


async def test_a_state_comes_with_the_offset_to_follow_from(shop: httpx.AsyncClient) -> None:
    await shop.put("/stock/a", headers=JSON, content=json.dumps([RECEIVE]))
    appended = await append(shop, "/stock/a", TAKE)

    reply = await state(shop, "stock/a")

    offset = appended.headers["stream-next-offset"]
    assert reply.status_code == 200
    assert reply.headers["stream-next-offset"] == offset
    assert reply.headers["stream-up-to-date"] == "true"
    assert reply.headers["content-type"] == "application/json"
    assert reply.headers["cache-control"] == "public, max-age=60, stale-while-revalidate=300"
    document = reply.json()
    assert len(document.pop("fingerprint")) == 32
    assert document == {
        "reducer": "support.stock:stock",
        "version": "1",
        "state": {"count": 1, "taken": 2},
        "offset": offset,
        "revision": 2,
        "position": 2,
        "seen": [],
        "closed": False,
        "fault_count": 0,
    }


async def test_a_state_that_is_known_is_not_sent_again(shop: httpx.AsyncClient) -> None:
    await shop.put("/stock/a", headers=JSON, content=json.dumps([RECEIVE]))
    first = await state(shop, "stock/a")

    again = await shop.get("/", params={"state": "stock/a"}, headers={"If-None-Match": first.headers["etag"]})
    await append(shop, "/stock/a", TAKE)
    changed = await shop.get(
        "/", params={"state": "stock/a"}, headers={"If-None-Match": first.headers["etag"]}
    )

    assert first.headers["etag"].startswith('"')
    assert (again.status_code, again.content) == (304, b"")
    assert (changed.status_code, changed.json()["state"]["count"]) == (200, 1)


async def test_head_tells_of_a_state_what_get_would(shop: httpx.AsyncClient) -> None:
    await shop.put("/stock/a", headers=JSON, content=json.dumps([RECEIVE]))
    whole = await state(shop, "stock/a")

    head = await shop.head("/", params={"state": "stock/a"})

    assert (head.status_code, head.content) == (200, b"")
    assert head.headers["etag"] == whole.headers["etag"]
    assert head.headers["stream-next-offset"] == whole.headers["stream-next-offset"]


async def test_an_earlier_state_can_be_asked_for_by_its_offset(shop: httpx.AsyncClient) -> None:
    created = await shop.put("/stock/a", headers=JSON, content=json.dumps([RECEIVE]))
    await append(shop, "/stock/a", TAKE)
    await append(shop, "/stock/a", RECEIVE)
    offset = created.headers["stream-next-offset"]

    beginning = await state(shop, "stock/a", at="-1")
    earlier = await state(shop, "stock/a", at=offset)

    assert beginning.json()["state"] == {"count": 0, "taken": 0}
    assert earlier.json()["state"] == {"count": 3, "taken": 0}
    assert earlier.json()["offset"] == earlier.headers["stream-next-offset"] == offset
    assert "stream-up-to-date" not in earlier.headers


@pytest.mark.parametrize(
    ("query", "status"),
    [
        ("state=", 400),
        ("state=stock/a&state=stock/b", 400),
        ("state=stock/a&at=", 400),
        ("state=stock/a&at=x", 400),
        ("state=stock/a&at=0000000000000001_0000000000000001", 410),
        ("state=stock/..", 400),
        ("state=stock/nowhere", 404),
        ("state=elsewhere", 404),
    ],
)
async def test_a_state_that_cannot_be_had(shop: httpx.AsyncClient, query: str, status: int) -> None:
    await shop.put("/stock/a", headers=JSON)

    assert (await shop.get(f"/?{query}")).status_code == status


async def test_an_offset_inside_a_message_is_none(shop: httpx.AsyncClient) -> None:
    created = await shop.put("/stock/a", headers=JSON, content=json.dumps([RECEIVE, RECEIVE]))
    origin, _, position = created.headers["stream-next-offset"].partition("_")

    reply = await state(shop, "stock/a", at=f"{origin}_{int(position) - 1:016}")

    assert reply.status_code == 400


async def test_the_last_state_says_that_the_stream_is_closed(shop: httpx.AsyncClient) -> None:
    await shop.put("/stock/a", headers=JSON, content=json.dumps([RECEIVE]))
    before = await state(shop, "stock/a")
    await shop.post("/stock/a", headers={"Stream-Closed": "true"})

    reply = await state(shop, "stock/a")

    assert reply.headers["stream-closed"] == "true"
    assert reply.json()["closed"] is True
    assert reply.headers["etag"] != before.headers["etag"]


async def test_to_ask_for_a_state_is_to_read_the_stream() -> None:
    clock = ManualClock()
    store = MemoryStore(clock)
    app = DurableStreamsApp(
        lambda: _given(store),
        settings=ServiceSettings(bindings=("stock/*=support.stock:stock",)),
        clock=clock,
    )
    async with (
        app,
        httpx.AsyncClient(transport=httpx.ASGITransport(app), base_url="http://host/v1/stream") as client,
    ):
        await client.put("/stock/a", headers={**JSON, "Stream-TTL": "10"})
        clock.now_us += 8_000_000
        renewed = await state(client, "stock/a")
        clock.now_us += 8_000_000
        asked = await client.head("/", params={"state": "stock/a"})
        clock.now_us += 8_000_000
        late = await state(client, "stock/a")

    assert [renewed.status_code, asked.status_code, late.status_code] == [200, 200, 404]


async def _given(store: MemoryStore) -> MemoryStore:
    return store


async def test_a_name_that_is_encoded_is_written_as_the_registry_writes_it(shop: httpx.AsyncClient) -> None:
    await shop.put("/stock/red%2Fgreen", headers=JSON, content=json.dumps([RECEIVE]))

    reply = await shop.get("/?state=stock/red%252Fgreen")

    assert reply.json()["state"] == {"count": 3, "taken": 0}


async def test_a_listing_is_no_state(shop: httpx.AsyncClient) -> None:
    await shop.put("/stock/a", headers=JSON)

    listed = await shop.get("/", params={"prefix": "stock/"})

    assert [stream["path"] for stream in listed.json()["streams"]] == ["stock/a"]


async def test_a_server_without_bindings_has_no_states() -> None:
    async with Server() as server, httpx.AsyncClient(base_url=server.url) as client:
        reply = await state(client, "stock/a")

    assert reply.status_code == 404
    assert "--bind" in reply.text


async def test_a_state_after_what_could_not_be_folded_is_not_cached() -> None:
    store = MemoryStore()
    async with Server(store=store) as server, httpx.AsyncClient(base_url=server.url) as client:
        await client.put("/stock/a", headers=JSON, content=json.dumps([{"type": "novelty"}, RECEIVE]))
    async with (
        Server(store=store, bindings=["stock/*=support.stock:stock"]) as server,
        httpx.AsyncClient(base_url=server.url) as client,
    ):
        reply = await state(client, "stock/a")

    assert reply.json()["state"] == {"count": 3, "taken": 0}
    assert reply.json()["fault_count"] == 1
    assert reply.headers["cache-control"] == "no-store"
    assert "etag" not in reply.headers


async def test_a_state_is_for_those_who_may_read_the_stream() -> None:
    tokens = ["reader=read:stock/", "writer=write", "other=read:other/"]
    async with (
        Server(bindings=["stock/*=support.stock:stock"], tokens=tokens) as server,
        httpx.AsyncClient(base_url=server.url) as client,
    ):
        await client.put("/stock/a", headers={"Authorization": "Bearer writer"} | JSON)

        async def asked_by(**headers: str) -> httpx.Response:
            return await client.get("/", params={"state": "stock/a"}, headers=headers)

        nobody = await asked_by()
        allowed = await asked_by(authorization="Bearer reader")
        writer = await asked_by(authorization="Bearer writer")
        other = await asked_by(authorization="Bearer other")

    assert allowed.status_code == 200
    assert allowed.headers["cache-control"] == "private, max-age=60, stale-while-revalidate=300"
    assert [nobody.status_code, writer.status_code, other.status_code] == [401, 403, 403]


async def test_verdicts_and_states_are_counted(shop: httpx.AsyncClient) -> None:
    await shop.put("/stock/a", headers=JSON)
    await append(shop, "/stock/a", RECEIVE, TAKE)
    await append(shop, "/stock/a", TAKE)
    await state(shop, "stock/a")

    lines = (await shop.get(f"{str(shop.base_url).removesuffix('/v1/stream/')}/metrics")).text.splitlines()

    assert "durafold_accepted_actions_total 2" in lines
    assert 'durafold_refused_actions_total{verdict="rejected"} 1' in lines
    assert 'durafold_errors_total{status="422",code="action_refused"} 1' in lines
    assert 'durafold_requests_total{operation="state"} 1' in lines
    assert "durafold_states 1" in lines


async def test_clients_that_race_for_the_last_ones_never_get_more_than_there_are(
    shop: httpx.AsyncClient,
) -> None:
    await shop.put("/stock/a", headers=JSON, content=json.dumps([{"type": "receive", "count": 60}]))
    take = {"type": "take", "count": 1}

    async def client() -> list[int]:
        return [(await append(shop, "/stock/a", take)).status_code for _ in range(4)]

    answers = [status for part in await asyncio.gather(*(client() for _ in range(20))) for status in part]

    log = (await shop.get("/stock/a", params={"offset": "-1"})).json()
    reply = await state(shop, "stock/a")
    assert (answers.count(204), answers.count(422)) == (60, 20)
    assert log[1:] == [take] * 60
    assert reply.json()["state"] == {"count": 0, "taken": 60}


async def test_a_server_that_was_killed_judges_by_all_that_it_has_acknowledged(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("PYTHONPATH", str(Path(__file__).parents[2]))
    process = ServerProcess(
        tmp_path / "streams", port=free_port(), options=["--bind", "stock/*=support.stock:stock"]
    )
    async with process as server, httpx.AsyncClient(base_url=server.url, timeout=20.0) as client:
        await client.put("/stock/a", headers=JSON, content=json.dumps([{"type": "receive", "count": 1000}]))
        bulk = [{"type": "take", "count": 1, "note": "x" * 700}] * 200
        first = await append(client, "/stock/a", *bulk)
        under_way = [asyncio.ensure_future(append(client, "/stock/a", *bulk)) for _ in range(3)]
        await asyncio.wait(under_way, return_when=asyncio.FIRST_COMPLETED)
        server.kill()
        ended = await asyncio.gather(*under_way, return_exceptions=True)
        await asyncio.to_thread(server.restart)

        log = (await client.get("/stock/a", params={"offset": "-1"})).json()
        reply = await state(client, "stock/a")
        left = reply.json()["state"]["count"]
        too_much = await append(client, "/stock/a", {"type": "take", "count": left + 1})
        all_of_it = await append(client, "/stock/a", {"type": "take", "count": left})

    acknowledged = sum(isinstance(one, httpx.Response) for one in ended) + 1
    taken = sum(message["count"] for message in log if message["type"] == "take")
    assert first.status_code == 204
    assert taken >= 200 * acknowledged
    assert reply.json()["state"] == {"count": 1000 - taken, "taken": taken}
    assert (too_much.status_code, all_of_it.status_code) == (422, 204)


async def test_a_reducer_that_never_returns_costs_one_append_and_does_not_keep_the_server_from_ending(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setenv("PYTHONPATH", str(Path(__file__).parents[2]))
    options = ["--bind", "stock/*=support.stock:stock", "--reducer-timeout-s", "2"]
    async with (
        ServerProcess(options=options) as server,
        httpx.AsyncClient(base_url=server.url, timeout=20.0) as client,
    ):
        await client.put("/stock/a", headers=JSON, content=json.dumps([{"type": "receive", "count": 1}]))
        stuck = await append(client, "/stock/a", {"type": "wait"})
        again = await append(client, "/stock/a", {"type": "wait"})
        other = await append(client, "/stock/a", {"type": "take", "count": 1})
        metrics = (await client.get(server.url.replace("/v1/stream", "/metrics"))).text
        exit_code = await asyncio.to_thread(server.terminate)

    assert (stuck.status_code, again.status_code, other.status_code) == (503, 503, 204)
    assert {stuck.headers["retry-after"], again.headers["retry-after"]} == {"1", "5"}
    assert 'durafold_reducer_overdue{reducer="support.stock:stock"} 1' in metrics
    assert exit_code == 0
