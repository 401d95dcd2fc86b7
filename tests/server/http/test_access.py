"""Access control on the wire: who is refused what, and with which headers."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Mapping

import httpx
import pytest

from durafold_server import Grant, Identity, Server
from durafold_server.access import Operation

pytestmark = pytest.mark.anyio

TEXT = {"Content-Type": "text/plain"}
TOKENS = [
    "reader@r3ad=read",
    "writer@wr1te=write",
    "todos@t0dos=read,write:todos/",
    "root@adm1n=admin",
    "worker@w0rker=admin:__ds/subscriptions/mine",
]


def bearer(secret: str) -> dict[str, str]:
    return {"Authorization": f"Bearer {secret}"}


READER, WRITER, TODOS, ROOT, WORKER = (bearer(s) for s in ("r3ad", "wr1te", "t0dos", "adm1n", "w0rker"))


@pytest.fixture
async def guarded(anyio_backend: str) -> AsyncIterator[Server]:
    """A server that knows the tokens above and holds the stream `todos/a`."""
    async with Server(tokens=TOKENS, long_poll_timeout_s=0.1) as server:
        async with httpx.AsyncClient() as client:
            await client.put(f"{server.url}/todos/a", headers={**TEXT, **ROOT}, content=b"abc")
        yield server


@pytest.fixture
async def client(guarded: Server) -> AsyncIterator[httpx.AsyncClient]:
    async with httpx.AsyncClient(base_url=guarded.url, timeout=20) as client:
        yield client


REQUESTS = [
    ("GET", "todos/a"),
    ("GET", "todos/a?offset=-1&live=sse"),
    ("GET", "todos/a?offset=now&live=long-poll"),
    ("GET", "todos/a?offset=nonsense"),
    ("GET", "__registry__"),
    ("HEAD", "todos/a"),
    ("POST", "todos/a"),
    ("PUT", "todos/a"),
    ("PUT", "todos/new"),
    ("DELETE", "todos/a"),
    ("GET", "no/such/stream"),
    ("GET", "__ds/subscriptions/mine"),
    ("PUT", "__ds/subscriptions/mine"),
    ("POST", "__ds/subscriptions/mine/claim"),
    ("GET", "__ds/no/such/route"),
]


@pytest.mark.parametrize(("method", "path"), REQUESTS)
async def test_without_a_token_nothing_is_answered(client: httpx.AsyncClient, method: str, path: str) -> None:
    reply = await client.request(method, f"/{path}", headers=TEXT)

    assert reply.status_code == 401
    assert reply.headers["www-authenticate"] == 'Bearer realm="durafold"'
    assert reply.headers["cache-control"] == "no-store"
    assert reply.headers["access-control-allow-origin"] == "*"


@pytest.mark.parametrize("credentials", ["Bearer wrong", "Bearer", "Basic cjNhZDpyM2Fk", "r3ad"])
async def test_a_wrong_token_is_said_to_be_wrong(client: httpx.AsyncClient, credentials: str) -> None:
    reply = await client.get("/todos/a", headers={"Authorization": credentials})

    assert reply.status_code == 401
    assert reply.headers["www-authenticate"] == 'Bearer realm="durafold", error="invalid_token"'


@pytest.mark.parametrize(
    ("method", "path", "headers", "body", "reader", "writer"),
    [
        ("GET", "todos/a", {}, b"", 200, 403),
        ("GET", "todos/a?offset=now&live=long-poll", {}, b"", 204, 403),
        ("HEAD", "todos/a", {}, b"", 200, 403),
        ("POST", "todos/a", TEXT, b"d", 403, 204),
        ("POST", "todos/a", {"Stream-Closed": "true"}, b"", 403, 204),
        ("PUT", "todos/b", TEXT, b"", 403, 201),
        ("DELETE", "todos/a", {}, b"", 403, 204),
        ("PUT", "fork", {"Stream-Forked-From": "/v1/stream/todos/a"}, b"", 403, 403),
        ("GET", "__ds/subscriptions/mine", {}, b"", 403, 403),
    ],
)
async def test_a_scope_allows_its_operations_only(
    client: httpx.AsyncClient,
    method: str,
    path: str,
    headers: Mapping[str, str],
    body: bytes,
    reader: int,
    writer: int,
) -> None:
    refused = await client.request(method, f"/{path}", headers={**headers, **READER}, content=body)
    allowed = await client.request(method, f"/{path}", headers={**headers, **WRITER}, content=body)

    assert (refused.status_code, allowed.status_code) == (reader, writer)


async def test_a_refusal_names_the_operation(client: httpx.AsyncClient) -> None:
    reply = await client.post("/todos/a", headers={**TEXT, **READER}, content=b"d")

    assert reply.headers["www-authenticate"] == 'Bearer realm="durafold", error="insufficient_scope"'
    assert "`append`" in reply.text


@pytest.mark.parametrize(
    ("path", "status"),
    [
        ("todos/b", 201),
        ("todos/%62", 201),
        ("other", 403),
        ("todos", 403),
        ("todos%2Fb", 403),
        ("todos/../b", 400),
    ],
)
async def test_a_prefix_keeps_a_token_below_it(client: httpx.AsyncClient, path: str, status: int) -> None:
    port = client.base_url.port
    reader, writer = await asyncio.open_connection("127.0.0.1", port)  # httpx would tidy the path up
    writer.write(
        f"PUT /v1/stream/{path} HTTP/1.1\r\nhost: x\r\ncontent-length: 0\r\n"
        "authorization: Bearer t0dos\r\n\r\n".encode()
    )
    line = await reader.readline()
    writer.close()

    assert line.split()[1] == str(status).encode()


async def test_a_fork_needs_to_read_its_source(client: httpx.AsyncClient) -> None:
    await client.put("/secret", headers={**TEXT, **ROOT}, content=b"secret")

    foreign = await client.put("/todos/f", headers={**TODOS, "Stream-Forked-From": "/v1/stream/secret"})
    own = await client.put("/todos/f", headers={**TODOS, "Stream-Forked-From": "/v1/stream/todos/a"})

    assert (foreign.status_code, own.status_code) == (403, 201)


async def test_listing_needs_to_read_everything(client: httpx.AsyncClient) -> None:
    assert (await client.get("/__registry__", headers=TODOS)).status_code == 403
    assert (await client.get("/__registry__", headers=READER)).status_code == 200
    assert (await client.get("/", headers=TODOS)).status_code == 403
    assert (await client.get("/", headers=READER)).status_code == 200
    assert (await client.get("/")).status_code == 401


async def test_streams_below_a_tokens_prefix_can_be_listed(client: httpx.AsyncClient) -> None:
    below = await client.get("/", params={"prefix": "todos/"}, headers=TODOS)
    beside = await client.get("/", params={"prefix": "todo"}, headers=TODOS)

    assert (below.status_code, beside.status_code) == (200, 403)


async def test_preflights_are_open(client: httpx.AsyncClient) -> None:
    reply = await client.options("/todos/a", headers={"Origin": "https://app.example"})

    assert reply.status_code == 204
    assert "Authorization" in reply.headers["access-control-allow-headers"]
    assert "WWW-Authenticate" in reply.headers["access-control-expose-headers"]


# Caches


async def test_what_was_allowed_to_one_is_not_for_shared_caches(client: httpx.AsyncClient) -> None:
    page = await client.get("/todos/a", headers=READER)
    tail = await client.get(f"/todos/a?offset={page.headers['stream-next-offset']}", headers=READER)
    same = await client.get("/todos/a", headers={**READER, "If-None-Match": page.headers["etag"]})

    assert page.headers["cache-control"] == "private, max-age=60, stale-while-revalidate=300"
    assert tail.headers["cache-control"] == "private, no-cache"
    assert (same.status_code, same.headers["cache-control"]) == (304, page.headers["cache-control"])


async def test_events_are_not_for_shared_caches_either(client: httpx.AsyncClient) -> None:
    async with client.stream("GET", "/todos/a?offset=-1&live=sse", headers=READER) as reply:
        assert reply.headers["cache-control"] == "private, no-cache, no-transform"


# Subscriptions

PULL = {"type": "pull-wake", "streams": ["todos/a"], "wake_stream": "wakes", "lease_ttl_ms": 30000}


async def test_a_worker_may_be_confined_to_its_subscription(client: httpx.AsyncClient) -> None:
    await client.put("/wakes", headers={"Content-Type": "application/json", **ROOT})
    made = await client.put("/__ds/subscriptions/mine", headers=WORKER, json=PULL)
    shown = await client.get("/__ds/subscriptions/mine", headers=WORKER)
    other = await client.put("/__ds/subscriptions/other", headers=WORKER, json=PULL)
    read = await client.get("/todos/a", headers=WORKER)

    assert (made.status_code, shown.status_code) == (201, 200)
    assert (other.status_code, read.status_code) == (403, 403)


@pytest.mark.parametrize("resource", ["ack", "release"])
async def test_a_wake_is_acknowledged_with_its_own_token_only(
    client: httpx.AsyncClient, resource: str
) -> None:
    await client.put("/wakes", headers={"Content-Type": "application/json", **ROOT})
    await client.put("/__ds/subscriptions/mine", headers=ROOT, json=PULL)

    reply = await client.post(
        f"/__ds/subscriptions/mine/{resource}", headers=ROOT, json={"wake_id": "w_1", "generation": 1}
    )

    assert (reply.status_code, reply.json()["error"]["code"]) == (401, "TOKEN_INVALID")


# Hooks


async def ask(server: Server, method: str, path: str, **headers: str) -> int:
    async with httpx.AsyncClient(timeout=20) as client:
        return (await client.request(method, f"{server.url}/{path}", headers={**TEXT, **headers})).status_code


async def test_a_hook_is_asked_about_every_operation() -> None:
    asked: list[tuple[str | None, Operation, str]] = []

    def authorize(identity: Identity | None, operation: Operation, path: str) -> bool:
        asked.append((identity and identity.name, operation, path))
        return True

    async with (
        Server(authorize=authorize, authenticate=lambda headers: Identity(headers["x-user"])) as server,
        httpx.AsyncClient(base_url=server.url, headers={**TEXT, "X-User": "ada"}, timeout=20) as client,
    ):
        await client.put("/a")
        await client.put("/b", headers={"Stream-Forked-From": "/v1/stream/a"})
        await client.post("/%61", content=b"x")
        await client.get("/a")
        await client.head("/a")
        await client.post("/a", content=b"x", headers={"Stream-Closed": "true"})
        await client.delete("/a")
        await client.get("/__registry__")
        await client.get("/__ds/subscriptions/s")
        await client.post("/__ds/subscriptions/s/claim")
        await client.get(server.url.replace("/v1/stream", "/metrics"))

    assert asked == [
        ("ada", "create", "a"),
        ("ada", "create", "b"),
        ("ada", "fork", "a"),
        ("ada", "append", "a"),
        ("ada", "read", "a"),
        ("ada", "head", "a"),
        ("ada", "close", "a"),
        ("ada", "append", "a"),
        ("ada", "delete", "a"),
        ("ada", "list", "__registry__"),
        ("ada", "subscribe", "__ds/subscriptions/s"),
        ("ada", "claim", "__ds/subscriptions/s"),
        ("ada", "metrics", ""),
    ]


async def test_hooks_may_be_async() -> None:
    async def authenticate(headers: Mapping[str, str]) -> Identity | None:
        async with asyncio.timeout(20):  # which only works inside a task
            await asyncio.sleep(0)
        return Identity("ada") if headers.get("cookie") == "session=1" else None

    async def authorize(identity: Identity | None, operation: Operation, path: str) -> bool:
        await asyncio.sleep(0)
        return identity is not None and path.startswith(identity.name)

    async with Server(authenticate=authenticate, authorize=authorize) as server:
        assert await ask(server, "PUT", "ada/a", Cookie="session=1") == 201
        assert await ask(server, "PUT", "bob/a", Cookie="session=1") == 403
        assert await ask(server, "PUT", "ada/b") == 401


async def test_an_authenticated_identity_without_a_hook_needs_grants() -> None:
    def authenticate(headers: Mapping[str, str]) -> Identity | None:
        return Identity("ada", (Grant("write", "ada/"),))

    async with Server(authenticate=authenticate) as server:
        assert await ask(server, "PUT", "ada/a") == 201
        assert await ask(server, "GET", "ada/a") == 403


async def test_a_hook_may_let_everybody_read() -> None:
    async with Server(authorize=lambda _who, operation, _path: operation == "read") as server:
        assert await ask(server, "GET", "a") == 404
        assert await ask(server, "PUT", "a") == 401


async def test_a_hook_that_fails_lets_nobody_in_and_is_reported(caplog: pytest.LogCaptureFixture) -> None:
    def authorize(_identity: Identity | None, _operation: Operation, _path: str) -> bool:
        raise RuntimeError("the directory service is down")

    async with Server(authorize=authorize) as server:
        assert await ask(server, "PUT", "a") == 503

    assert "authorize failed" in caplog.text


async def test_a_hook_that_answers_nothing_lets_nobody_in() -> None:
    async with Server(authorize=lambda _who, _operation, _path: None) as server:  # type: ignore[arg-type, return-value]
        assert await ask(server, "PUT", "a") == 401


async def test_without_access_control_everybody_may_do_everything() -> None:
    async with Server() as server, httpx.AsyncClient() as client:
        await client.put(f"{server.url}/a", headers=TEXT, content=b"abc")
        page = await client.get(f"{server.url}/a")

    assert page.headers["cache-control"] == "public, max-age=60, stale-while-revalidate=300"
