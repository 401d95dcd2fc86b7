"""Whose a producer is: on streams that are bound to reducers, of the identity that used its id first."""

from __future__ import annotations

import contextlib
import json
from collections.abc import AsyncIterator, Mapping
from pathlib import Path
from typing import Any

import httpx
import pytest

from durafold_server import Identity, Server
from durafold_server.store.memory import MemoryStore
from support.metrics import scrape

pytestmark = pytest.mark.anyio

ADA, BOB = {"Authorization": "Bearer a"}, {"Authorization": "Bearer b"}
TOKENS = ["ada@a=write", "bob@b=write", "root@r=admin"]


@contextlib.asynccontextmanager
async def served(**options: Any) -> AsyncIterator[httpx.AsyncClient]:
    """A client of a server that binds `stock/*`; the stream `stock/a` is there."""
    async with (
        Server(bindings=["stock/*=support.stock:stock"], metrics_open=True, **options) as server,
        httpx.AsyncClient(base_url=server.url, timeout=20) as client,
    ):
        await create(client, "/stock/a")
        yield client


@pytest.fixture
async def shop(anyio_backend: str) -> AsyncIterator[httpx.AsyncClient]:
    """A client of a server that knows two writers."""
    async with served(tokens=TOKENS) as client:
        yield client


async def create(client: httpx.AsyncClient, path: str) -> None:
    reply = await client.put(path, headers={"Content-Type": "application/json", **ADA})
    assert reply.status_code in (200, 201)


async def append(
    client: httpx.AsyncClient,
    path: str,
    who: Mapping[str, str],
    *,
    epoch: int = 0,
    seq: int = 0,
    client_id: str = "k3f9",
    **more: str,
) -> httpx.Response:
    """One action of a client, in that client's name."""
    headers = {"Producer-Id": client_id, "Producer-Epoch": str(epoch), "Producer-Seq": str(seq)}
    message = {
        "type": "action",
        "payload": {"type": "receive", "count": 1},
        "meta": {"id": f"{client_id}:{seq}"},
    }
    return await client.post(
        path,
        headers={"Content-Type": "application/json", **headers, **who, **more},
        content=json.dumps(message),
    )


async def log_of(client: httpx.AsyncClient, path: str) -> list[Any]:
    page = await client.get(path, headers={"Authorization": "Bearer r"})
    return [message["meta"]["id"] for message in page.json()]


async def test_another_identity_is_told_why_and_what_to_do(shop: httpx.AsyncClient) -> None:
    await append(shop, "/stock/a", ADA)

    reply = await append(shop, "/stock/a", BOB, seq=1)

    assert reply.status_code == 403
    assert reply.headers["content-type"] == "application/json"
    assert "producer-epoch" not in reply.headers
    assert reply.json() == {
        "error": "producer_taken",
        "reason": "producer 'k3f9' belongs to another identity, which used it first on this stream",
        "hint": "Nothing was appended. Take a fresh Producer-Id, and begin the ids of messages with it; "
        "or send the credentials of the identity that it belongs to.",
    }
    assert await log_of(shop, "/stock/a") == ["k3f9:0"]
    assert (await scrape(str(shop.base_url).rstrip("/")))[
        'durafold_errors_total{status="403",code="producer_taken"}'
    ] == 1


@pytest.mark.parametrize(("epoch", "seq"), [(1, 0), (0, 0), (0, 7)])
async def test_another_identity_neither_fences_nor_questions_a_producer(
    shop: httpx.AsyncClient, epoch: int, seq: int
) -> None:
    await append(shop, "/stock/a", ADA)

    taken = await append(shop, "/stock/a", BOB, epoch=epoch, seq=seq)
    closing = await append(shop, "/stock/a", BOB, epoch=epoch, seq=seq, **{"Stream-Closed": "true"})
    own = await append(shop, "/stock/a", ADA, seq=1)

    assert [taken.status_code, closing.status_code, own.status_code] == [403, 403, 200]
    assert await log_of(shop, "/stock/a") == ["k3f9:0", "k3f9:1"]


async def test_what_was_refused_makes_nobody_wait(shop: httpx.AsyncClient) -> None:
    await append(shop, "/stock/a", ADA)
    await append(shop, "/stock/a", BOB, seq=1)

    assert (await append(shop, "/stock/a", BOB, client_id="x7q2")).status_code == 200
    assert await log_of(shop, "/stock/a") == ["k3f9:0", "x7q2:0"]


async def test_a_refused_request_makes_nobody_an_owner(shop: httpx.AsyncClient) -> None:
    gap = await append(shop, "/stock/a", BOB, seq=5)

    assert (gap.status_code, (await append(shop, "/stock/a", ADA)).status_code) == (409, 200)


async def test_an_id_is_somebodys_on_one_stream_only(shop: httpx.AsyncClient) -> None:
    await create(shop, "/stock/b")
    await append(shop, "/stock/a", ADA)

    assert (await append(shop, "/stock/b", BOB)).status_code == 200


async def test_on_a_stream_that_is_not_bound_producers_are_nobodys(shop: httpx.AsyncClient) -> None:
    await create(shop, "/notes")
    await append(shop, "/notes", ADA)

    assert (await append(shop, "/notes", BOB, seq=1)).status_code == 200


async def test_an_owner_is_known_after_a_restart_by_name_and_not_by_token(tmp_path: Path) -> None:
    async with served(data=tmp_path, tokens=["ada@a=write", "bob@b=write"]) as client:
        await append(client, "/stock/a", ADA)

    async with served(data=tmp_path, tokens=["bob@a=write", "ada@b=write"]) as client:
        bob = await append(client, "/stock/a", ADA, seq=1)
        ada = await append(client, "/stock/a", BOB, seq=1)

    assert [bob.status_code, ada.status_code] == [403, 200]


async def test_where_nobody_is_known_any_more_an_id_is_for_everybody_until_somebody_is() -> None:
    store = MemoryStore()
    async with served(store=store, tokens=TOKENS) as client:
        await append(client, "/stock/a", ADA)
    async with served(store=store) as client:
        open_to_all = [
            await append(client, "/stock/a", {}, seq=1),
            await append(client, "/stock/a", {}, client_id="x7q2"),
        ]
    async with served(store=store, tokens=TOKENS) as client:
        adas = await append(client, "/stock/a", BOB, seq=2)
        nobodys = await append(client, "/stock/a", BOB, client_id="x7q2", seq=1)
        bobs_by_now = await append(client, "/stock/a", ADA, client_id="x7q2", seq=2)

    assert [reply.status_code for reply in open_to_all] == [200, 200]
    assert [reply.status_code for reply in (adas, nobodys, bobs_by_now)] == [403, 200, 403]


async def test_whom_a_hook_lets_in_without_knowing_them_owns_nothing_and_gets_nobodys_id() -> None:
    def authenticate(headers: Mapping[str, str]) -> Identity | None:
        name = headers.get("x-user")
        return Identity(json.loads(name)) if name is not None else None

    half_an_emoji = {"X-User": r'"\ud83d"'}  # nothing that could be stored as text
    async with served(authenticate=authenticate, authorize=lambda _who, _what, _path: True) as client:
        unknown = await append(client, "/stock/a", {})
        known = await append(client, "/stock/a", half_an_emoji, seq=1)
        again = await append(client, "/stock/a", {}, seq=2)

    assert [unknown.status_code, known.status_code, again.status_code] == [200, 200, 403]
