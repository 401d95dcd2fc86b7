"""The routes below `/_ui`: files, policies, caching, and what leads nowhere."""

from __future__ import annotations

import json
import re
from collections.abc import AsyncIterator
from typing import Any

import httpx
import pytest
from starlette.applications import Starlette
from starlette.routing import Mount

from durafold_server import create_app
from durafold_server.config import InspectorSettings
from durafold_server.inspector.assets import load_assets
from support.server import ServerProcess
from support.server_sockets import converse, request_bytes

pytestmark = pytest.mark.anyio

JSON = {"Content-Type": "application/json"}


def calling(app: object) -> httpx.AsyncClient:
    return httpx.AsyncClient(transport=httpx.ASGITransport(app), base_url="http://host")  # type: ignore[arg-type]


# Files


async def test_the_page_is_html(inspector: httpx.AsyncClient) -> None:
    reply = await inspector.get("/_ui/")

    assert reply.status_code == 200
    assert reply.headers["content-type"] == "text/html; charset=utf-8"
    assert "<title>durafold inspector</title>" in reply.text


async def test_its_address_without_slash_leads_to_the_one_with(inspector: httpx.AsyncClient) -> None:
    reply = await inspector.get("/_ui")

    assert (reply.status_code, reply.headers["location"]) == (308, "_ui/")


async def test_every_file_that_the_page_and_its_modules_name_is_served() -> None:
    assets = load_assets()
    page = assets["index.html"].body.decode()
    named = set(re.findall(r'(?:href|src)="([^"]+)"', page))
    modules = {name: asset.body.decode() for name, asset in assets.items() if name.startswith("js/")}
    imported = {f"js/{name}" for body in modules.values() for name in re.findall(r'from "\./([^"]+)"', body)}

    assert named | imported <= assets.keys()
    assert modules.keys() == imported | {"js/main.js"}
    # All are asked for at once, not one import after the other.
    assert {name for name in named if name.startswith("js/")} == modules.keys()


@pytest.mark.parametrize(
    ("path", "content_type"),
    [
        ("js/main.js", "text/javascript; charset=utf-8"),
        ("css/base.css", "text/css; charset=utf-8"),
        ("logo.svg", "image/svg+xml"),
    ],
)
async def test_files_have_their_types(inspector: httpx.AsyncClient, path: str, content_type: str) -> None:
    reply = await inspector.get(f"/_ui/{path}")

    assert (reply.status_code, reply.headers["content-type"]) == (200, content_type)


async def test_head_tells_what_get_would(inspector: httpx.AsyncClient) -> None:
    reply = await inspector.head("/_ui/js/main.js")

    assert (reply.status_code, reply.content) == (200, b"")
    assert reply.headers["etag"] == (await inspector.get("/_ui/js/main.js")).headers["etag"]


async def test_files_are_asked_for_each_time_and_sent_once(inspector: httpx.AsyncClient) -> None:
    first = await inspector.get("/_ui/js/main.js")
    second = await inspector.get("/_ui/js/main.js", headers={"If-None-Match": first.headers["etag"]})

    assert first.headers["cache-control"] == "no-cache"
    assert (second.status_code, second.content) == (304, b"")


# Policies


async def test_the_page_runs_its_own_files_only(inspector: httpx.AsyncClient) -> None:
    policy = (await inspector.get("/_ui/")).headers.get_list("content-security-policy")

    assert len(policy) == 1
    assert set(policy[0].split("; ")) == {
        "default-src 'none'",
        "script-src 'self'",
        "style-src 'self'",
        "img-src 'self'",
        "connect-src 'self'",
        "base-uri 'none'",
        "form-action 'none'",
        "frame-ancestors 'none'",
        "require-trusted-types-for 'script'",
        "trusted-types 'none'",
    }


@pytest.mark.parametrize("path", ["/_ui/", "/_ui/js/main.js", "/_ui/config.json", "/_ui/api/reducers"])
async def test_no_other_site_may_use_it(inspector: httpx.AsyncClient, path: str) -> None:
    headers = (await inspector.get(path)).headers

    assert headers["x-content-type-options"] == "nosniff"
    assert headers["cross-origin-resource-policy"] == "same-origin"
    assert headers["referrer-policy"] == "no-referrer"
    assert not [name for name in headers if name.startswith("access-control-")]


async def test_streams_keep_their_own_policy(inspector: httpx.AsyncClient) -> None:
    reply = await inspector.put("/v1/stream/a")

    assert reply.headers.get_list("content-security-policy") == ["sandbox; default-src 'none'"]
    assert reply.headers["cross-origin-resource-policy"] == "cross-origin"


def test_the_real_server_sends_the_pages_policy_alone(server: ServerProcess) -> None:
    answer = converse(server.port, request_bytes("GET", "/_ui/"), "GET")[0]

    assert answer.status == 200
    assert answer.headers["content-security-policy"].startswith("default-src 'none'; script-src 'self'")
    assert "access-control-allow-origin" not in answer.headers
    assert "date" in answer.headers


# What leads nowhere


@pytest.mark.parametrize(
    "target",
    [
        "/_ui/../pages.py",
        "/_ui/js/../../pages.py",
        "/_ui/js/%2e%2e/%2e%2e/pages.py",
        "/_ui/..%2fpages.py",
        "/_ui//etc/passwd",
        "/_ui/js",
        "/_ui/js/",
        "/_ui/index.html/",
        "/_ui/pages.py",
        "/_ui/api/",
        "/_uix",
    ],
)
def test_no_path_leads_out_of_the_page(server: ServerProcess, target: str) -> None:
    assert converse(server.port, request_bytes("GET", target), "GET")[0].status == 404


@pytest.mark.parametrize(
    ("method", "path", "allowed"),
    [
        ("POST", "/_ui/", "GET, HEAD"),
        ("DELETE", "/_ui/js/main.js", "GET, HEAD"),
        ("GET", "/_ui/api/fold", "POST"),
    ],
)
async def test_a_wrong_method_is_told_the_right_one(
    inspector: httpx.AsyncClient, method: str, path: str, allowed: str
) -> None:
    reply = await inspector.request(method, path)

    assert (reply.status_code, reply.headers["allow"]) == (405, allowed)


# Where it is


async def test_it_can_be_switched_off() -> None:
    async with calling(create_app(inspector=InspectorSettings(enabled=False))) as client:
        assert (await client.get("/_ui/")).status_code == 404
        assert (await client.get("/_ui/config.json")).status_code == 404


def test_it_can_be_switched_off_by_a_flag() -> None:
    with ServerProcess(options=["--no-inspector"]) as server:
        assert converse(server.port, request_bytes("GET", "/_ui/"), "GET")[0].status == 404


async def test_it_knows_where_the_streams_are(inspector: httpx.AsyncClient) -> None:
    assert (await inspector.get("/_ui/config.json")).json()["root"] == "/v1/stream"


async def test_a_mounted_server_has_it_below_the_mount() -> None:
    app = create_app(prefix="/streams")
    async with calling(Starlette(routes=[Mount("/sync", app)])) as client:
        assert (await client.get("/sync/_ui/")).status_code == 200
        assert (await client.get("/sync/_ui/config.json")).json()["root"] == "/sync/streams"


# Facts of a stream


async def test_a_streams_facts_are_enough_to_make_offsets(inspector: httpx.AsyncClient) -> None:
    await inspector.put("/v1/stream/facts", headers=JSON, content=b"[1,2,3]")
    forked = {"Stream-Forked-From": "/v1/stream/facts"}
    made = await inspector.put("/v1/stream/fork", headers=forked, content=b"[4]")

    facts = (await inspector.get("/_ui/api/stream", params={"stream": "fork"})).json()

    (inherited, own) = facts["segments"]
    assert (facts["start"], facts["tail"], facts["forked_from"]) == (0, 8, "facts")
    assert facts["next_offset"] == made.headers["stream-next-offset"] == f"{own['origin']:016d}_{8:016d}"
    assert facts["forked_at"] == f"{inherited['origin']:016d}_{6:016d}"


async def test_facts_of_no_stream_are_404(inspector: httpx.AsyncClient) -> None:
    assert (await inspector.get("/_ui/api/stream", params={"stream": "none"})).status_code == 404


@pytest.mark.parametrize("query", ["", "?stream=", "?stream=a&stream=b", "?stream=../x"])
async def test_facts_need_one_good_name(inspector: httpx.AsyncClient, query: str) -> None:
    assert (await inspector.get(f"/_ui/api/stream{query}")).status_code == 400


async def test_registered_reducers_are_listed(inspector: httpx.AsyncClient) -> None:
    reply = await inspector.get("/_ui/api/reducers")

    assert json.loads(reply.content) == [
        {"name": "support.todos:todo_reducer", "version": "1", "initial": {"items": []}}
    ]


# Access


@pytest.fixture
async def guarded(anyio_backend: str) -> AsyncIterator[httpx.AsyncClient]:
    """A client of a server where `mine` may be read with `r34d`, and everything done with `4ll`."""
    app = create_app(
        tokens=["r34d=read:mine", "4ll=admin"],
        inspector=InspectorSettings(reducers=("support.todos:todo_reducer",)),
    )
    async with calling(app) as client:
        for name in ("mine", "yours"):
            made = await client.put(f"/v1/stream/{name}", headers={**JSON, **bearer("4ll")}, content=b"[]")
            assert made.status_code == 201
        yield client
    await app.aclose()


def bearer(token: str) -> dict[str, str]:
    return {"Authorization": f"Bearer {token}"}


def fold_of(name: str) -> dict[str, Any]:
    return {"json": {"stream": name, "reducer": "support.todos:todo_reducer"}}


async def test_the_page_itself_is_for_everybody(guarded: httpx.AsyncClient) -> None:
    assert (await guarded.get("/_ui/")).status_code == 200
    assert (await guarded.get("/_ui/config.json")).status_code == 200


@pytest.mark.parametrize(("token", "status"), [("4ll", 200), ("r34d", 403), ("wrong", 401)])
async def test_what_it_tells_of_a_stream_needs_the_right_to_read_it(
    guarded: httpx.AsyncClient, token: str, status: int
) -> None:
    headers = bearer(token)
    facts = await guarded.get("/_ui/api/stream?stream=yours", headers=headers)
    last = await guarded.get("/_ui/api/last?stream=yours&count=1", headers=headers)
    state = await guarded.post("/_ui/api/fold", headers=headers, **fold_of("yours"))

    assert (facts.status_code, last.status_code, state.status_code) == (status, status, status)


async def test_a_right_to_one_stream_is_enough_for_it(guarded: httpx.AsyncClient) -> None:
    headers = bearer("r34d")

    assert (await guarded.get("/_ui/api/stream?stream=mine", headers=headers)).status_code == 200
    assert (await guarded.post("/_ui/api/fold", headers=headers, **fold_of("mine"))).status_code == 200


async def test_without_a_token_nothing_of_streams_is_told(guarded: httpx.AsyncClient) -> None:
    assert (await guarded.get("/_ui/api/stream?stream=mine")).status_code == 401
    assert (await guarded.get("/_ui/api/reducers")).status_code == 401
    assert (await guarded.post("/_ui/api/fold", **fold_of("mine"))).status_code == 401


async def test_whether_a_stream_exists_is_told_to_its_readers_only(guarded: httpx.AsyncClient) -> None:
    headers = bearer("r34d")

    assert (await guarded.get("/_ui/api/stream?stream=theirs", headers=headers)).status_code == 403
    assert (await guarded.get("/_ui/api/stream?stream=mine2", headers=headers)).status_code == 404
