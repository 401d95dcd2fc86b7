"""The routes below `/_ui`: files, policies, caching, and what leads nowhere."""

from __future__ import annotations

import json
import re

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
