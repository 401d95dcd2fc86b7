"""The server inside Starlette, FastAPI and Reflex, which send mounted applications no lifespan events."""

from __future__ import annotations

import json
from collections.abc import AsyncIterator, Callable
from pathlib import Path
from typing import Any

import httpx
import pytest
from fastapi import FastAPI
from starlette.applications import Starlette
from starlette.middleware import Middleware
from starlette.middleware.cors import CORSMiddleware
from starlette.routing import Mount

from durafold_server import DurableStreamsApp, Identity, create_app

pytestmark = pytest.mark.anyio

TEXT = {"Content-Type": "text/plain"}
PAGE = "https://app.example"


def in_starlette(app: DurableStreamsApp) -> Any:
    return Starlette(routes=[Mount("/sync", app)])


def in_fastapi(app: DurableStreamsApp) -> Any:
    outer = FastAPI()
    outer.mount("/sync", app)
    return outer


def in_fastapi_twice(app: DurableStreamsApp) -> Any:
    outer, inner = FastAPI(), FastAPI()
    inner.mount("/sync", app)
    outer.mount("/", inner)
    return outer


def in_reflex(app: DurableStreamsApp) -> Any:
    reflex = pytest.importorskip("reflex", reason="needs: pip install 'durafold[reflex]'")
    registry = pytest.importorskip("reflex_base.registry")
    outer = Starlette(routes=[Mount("/sync", app)])
    with registry.RegistrationContext.ensure_context().fork():  # a process has one app, a context too
        return reflex.App(api_transformer=outer)()


@pytest.fixture(params=[in_starlette, in_fastapi, in_fastapi_twice, in_reflex])
def embed(
    request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> Callable[[DurableStreamsApp], Any]:
    """Mounts the server at `/sync` of some other application."""
    if request.param is in_reflex:
        reflex = pytest.importorskip("reflex", reason="needs: pip install 'durafold[reflex]'")
        monkeypatch.chdir(tmp_path)
        # Its pages are not the point, and building them takes a minute.
        monkeypatch.setattr(reflex.App, "_compile", lambda _self, **_options: None)
    embed: Callable[[DurableStreamsApp], Any] = request.param
    return embed


@pytest.fixture
async def client(embed: Callable[[DurableStreamsApp], Any]) -> AsyncIterator[httpx.AsyncClient]:
    app = create_app(cors=False)
    async with httpx.AsyncClient(
        transport=httpx.ASGITransport(embed(app)), base_url="http://host/sync"
    ) as client:
        yield client
    await app.aclose()


async def test_streams_live_below_the_mount(client: httpx.AsyncClient) -> None:
    made = await client.put("/v1/stream/a", headers=TEXT, content=b"abc")
    appended = await client.post("/v1/stream/a", headers=TEXT, content=b"d")

    assert (made.status_code, appended.status_code) == (201, 204)
    assert made.headers["location"] == "http://host/sync/v1/stream/a"
    assert (await client.get("/v1/stream/a")).content == b"abcd"


async def test_an_encoded_slash_is_not_a_slash(client: httpx.AsyncClient) -> None:
    made = await client.put("/v1/stream/a%2Fb", headers=TEXT, content=b"encoded")

    assert made.headers["location"] == "http://host/sync/v1/stream/a%2Fb"
    assert (await client.get("/v1/stream/a%2Fb")).content == b"encoded"
    assert (await client.get("/v1/stream/a/b")).status_code == 404


async def test_a_fork_names_its_source_as_clients_see_it(client: httpx.AsyncClient) -> None:
    await client.put("/v1/stream/a%2Fb", headers=TEXT, content=b"abc")

    forked = await client.put("/v1/stream/f", headers={"Stream-Forked-From": "/sync/v1/stream/a%2Fb"})

    assert forked.status_code == 201
    assert (await client.get("/v1/stream/f")).content == b"abc"


async def test_probes_live_below_the_mount_too(client: httpx.AsyncClient) -> None:
    replies = [await client.get(path) for path in ("/healthz", "/readyz", "/version", "/metrics")]

    assert [reply.status_code for reply in replies] == [200, 200, 200, 200]


async def test_subscriptions_name_the_mount(client: httpx.AsyncClient) -> None:
    await client.put("/v1/stream/wakes", headers={"Content-Type": "application/json"})
    made = await client.put(
        "/v1/stream/__ds/subscriptions/s",
        content=json.dumps({"type": "pull-wake", "streams": ["a"], "wake_stream": "wakes"}),
    )

    assert made.status_code == 201


async def test_a_closed_stream_is_followed_to_its_end(client: httpx.AsyncClient) -> None:
    await client.put("/v1/stream/a", headers={**TEXT, "Stream-Closed": "true"}, content=b"abc")

    reply = await client.get("/v1/stream/a", params={"offset": "-1", "live": "sse"})

    assert "data:abc" in reply.text.replace("data: ", "data:")
    assert '"streamClosed":true' in reply.text


async def test_cors_may_be_the_outer_applications() -> None:
    cors = Middleware(CORSMiddleware, allow_origins=[PAGE], allow_methods=["*"])
    outer = Starlette(routes=[Mount("/sync", create_app(cors=False))], middleware=[cors])
    async with httpx.AsyncClient(transport=httpx.ASGITransport(outer), base_url="http://host/sync") as client:
        made = await client.put("/v1/stream/a", headers={**TEXT, "Origin": PAGE})
        preflight = await client.options(
            "/v1/stream/a", headers={"Origin": PAGE, "Access-Control-Request-Method": "PUT"}
        )

    assert made.headers.get_list("access-control-allow-origin") == [PAGE]
    assert (preflight.status_code, preflight.headers["access-control-allow-origin"]) == (200, PAGE)


async def test_the_outer_applications_users_can_be_the_servers() -> None:
    app = create_app(
        authenticate=lambda headers: Identity(headers["x-user"]) if "x-user" in headers else None,
        authorize=lambda who, _operation, path: who is not None and path.startswith(f"{who.name}/"),
    )
    async with httpx.AsyncClient(
        transport=httpx.ASGITransport(in_fastapi(app)), base_url="http://host/sync"
    ) as client:
        own = await client.put("/v1/stream/ada/a", headers={**TEXT, "X-User": "ada"})
        foreign = await client.put("/v1/stream/bob/a", headers={**TEXT, "X-User": "ada"})
        unknown = await client.put("/v1/stream/ada/a", headers=TEXT)
    await app.aclose()

    assert [own.status_code, foreign.status_code, unknown.status_code] == [201, 403, 401]
