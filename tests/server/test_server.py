"""`Server`: a whole server in the test's own process."""

from __future__ import annotations

import asyncio
import contextlib
from pathlib import Path

import httpx
import pytest

from durafold_server import Server, ServerError, ServeSettings, create_app
from durafold_server.config import ServiceSettings
from durafold_server.settings import InvalidSetting
from durafold_server.store.base import StoreFailure
from durafold_server.store.memory import MemoryStore
from support.ports import free_port
from support.waiting import PATIENCE_S, eventually

pytestmark = pytest.mark.anyio

TEXT = {"Content-Type": "text/plain"}


async def test_it_serves_at_its_url_in_memory(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    async with Server() as server, httpx.AsyncClient() as client:
        made = await client.put(f"{server.url}/a", headers=TEXT, content=b"abc")

        assert made.headers["location"] == f"{server.url}/a"
        assert (await client.get(f"{server.url}/a")).content == b"abc"
    assert list(tmp_path.iterdir()) == []


async def test_it_keeps_data_where_it_is_told(tmp_path: Path) -> None:
    async with Server(data=tmp_path / "data") as server, httpx.AsyncClient() as client:
        await client.put(f"{server.url}/a", headers=TEXT, content=b"abc")
    async with Server(data=str(tmp_path / "data")) as server, httpx.AsyncClient() as client:
        assert (await client.get(f"{server.url}/a")).content == b"abc"


async def test_it_takes_all_settings_of_serve() -> None:
    settings = ServeSettings(port=0, memory=True, service=ServiceSettings(long_poll_timeout_s=0.05))
    async with Server(settings, prefix="/streams", max_body_bytes=3) as server, httpx.AsyncClient() as client:
        assert server.url.endswith("/streams")
        assert (await client.put(f"{server.url}/a", content=b"abcd")).status_code == 413
        await client.put(f"{server.url}/a", content=b"abc")
        assert (await client.get(f"{server.url}/a?offset=now&live=long-poll")).status_code == 204


@pytest.mark.parametrize("option", [{"prot": 1}, {"port": "x"}, {"webhooks": "all"}, {"tokens": ["s"]}])
async def test_an_option_that_makes_no_sense_is_refused(option: dict[str, object]) -> None:
    with pytest.raises(InvalidSetting):
        Server(**option)  # type: ignore[arg-type]


async def test_the_service_is_at_hand_without_http() -> None:
    async with Server(store=MemoryStore()) as server, httpx.AsyncClient() as client:
        await client.put(f"{server.url}/a", headers=TEXT, content=b"abc")

        assert (await (await server.service()).head("a")).tail == 3


async def test_a_server_that_was_not_started_has_no_url() -> None:
    with pytest.raises(ServerError, match="async with"):
        _ = Server().url


async def test_a_port_that_is_taken_is_said() -> None:
    async with Server() as server:
        port = int(server.url.removesuffix("/v1/stream").rpartition(":")[2])
        with pytest.raises(ServerError, match=f"cannot listen on 127.0.0.1:{port}"):
            await Server(port=port).start()


async def test_a_store_that_cannot_be_opened_frees_the_port(tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    port = free_port()

    with pytest.raises(StoreFailure):
        await Server(port=port, data=tmp_path / "file").start()

    async with Server(port=port) as server:
        assert f":{port}/" in server.url


@pytest.mark.parametrize("host", ["0.0.0.0", "", "192.0.2.1"])
async def test_a_public_address_without_access_control_is_refused(host: str) -> None:
    with pytest.raises(ServerError, match="reachable from other machines") as refusal:
        await Server(host=host).start()

    assert "--tokens-file" in str(refusal.value)
    assert "--insecure" in str(refusal.value)


@pytest.mark.parametrize("options", [{"tokens": ["app@s=read"]}, {"insecure": True}])
async def test_a_public_address_is_fine_with_tokens_or_when_insisted_on(options: dict[str, object]) -> None:
    async with Server(host="0.0.0.0", **options) as server:  # type: ignore[arg-type]
        assert server.url.startswith("http://0.0.0.0:")


async def test_a_public_address_is_fine_with_an_authorizer() -> None:
    async with Server(host="0.0.0.0", authorize=lambda _who, _operation, _path: False) as server:
        assert server.url


async def test_a_tokens_file_is_read_at_the_start(tmp_path: Path) -> None:
    (tmp_path / "tokens").write_text("app@s=read\n")
    async with Server(tokens_file=tmp_path / "tokens") as server, httpx.AsyncClient() as client:
        known = await client.get(f"{server.url}/a", headers={"Authorization": "Bearer s"})
        unknown = await client.get(f"{server.url}/a")

    assert (known.status_code, unknown.status_code) == (404, 401)


async def test_stopping_ends_live_readers_and_may_be_repeated() -> None:
    server = Server()
    await server.start()
    async with httpx.AsyncClient(timeout=20) as client:
        await client.put(f"{server.url}/a", headers=TEXT)
        async with client.stream("GET", f"{server.url}/a?offset=-1&live=sse") as reply:
            chunks = reply.aiter_raw()
            await anext(chunks)
            await server.stop()
            rest = [chunk async for chunk in chunks]
    await server.stop()

    assert rest == []


async def test_nothing_of_it_is_left_on_the_loop() -> None:
    before = asyncio.all_tasks()
    async with Server() as server, httpx.AsyncClient() as client:
        await client.put(f"{server.url}/a", headers=TEXT)
    await eventually(lambda: asyncio.all_tasks() == before)


# Limits


async def test_connections_beyond_the_limit_are_turned_away() -> None:
    async with Server(max_connections=2) as server:
        port = int(server.url.removesuffix("/v1/stream").rpartition(":")[2])
        held = [await asyncio.open_connection("127.0.0.1", port) for _ in range(2)]
        await asked(*held[1])  # both are taken in
        reader, writer = await asyncio.open_connection("127.0.0.1", port)
        refusal = await reader.read()
        held[0][1].close()
        await until_let_in(port)
        for _, open_one in [*held, (reader, writer)]:
            open_one.close()

    assert refusal.startswith(b"HTTP/1.1 503 Service Unavailable\r\n")
    assert b"\r\nretry-after: 1\r\n" in refusal
    assert b"\r\nconnection: close\r\n" in refusal


async def asked(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> bytes:
    """The status line of the answer to a request."""
    writer.write(b"GET /healthz HTTP/1.1\r\nhost: x\r\n\r\n")
    return await reader.readline()


async def until_let_in(port: int) -> None:
    """Try until a connection is served."""
    async with asyncio.timeout(PATIENCE_S):
        while True:
            reader, writer = await asyncio.open_connection("127.0.0.1", port)
            line = b""
            with contextlib.suppress(ConnectionError):
                line = await asked(reader, writer)
            writer.close()
            if b" 200 " in line:
                return
            await asyncio.sleep(0.01)


async def test_a_head_that_does_not_come_to_an_end_is_cut_though_an_idle_connection_may_stay() -> None:
    async with Server(header_timeout_s=0.2, idle_timeout_s=60) as server:
        port = int(server.url.removesuffix("/v1/stream").rpartition(":")[2])
        idle = await asyncio.open_connection("127.0.0.1", port)
        slow = await asyncio.open_connection("127.0.0.1", port)
        slow[1].write(b"GET /healthz HTTP/1.1\r\nx: ")

        async with asyncio.timeout(PATIENCE_S):
            assert await slow[0].read() == b""
        assert await asked(*idle) == b"HTTP/1.1 200 OK\r\n"
        idle[1].close()
        slow[1].close()


async def test_paths_and_json_have_their_limits() -> None:
    async with (
        Server(max_path_chars=5, max_json_depth=2) as server,
        httpx.AsyncClient(base_url=server.url, headers={"Content-Type": "application/json"}) as client,
    ):
        paths = [(await client.put(f"/{path}")).status_code for path in ("abcde", "abcdef")]
        nested = [
            (await client.post("/abcde", content=body)).status_code for body in (b"[[[1]]]", b"[[[[1]]]]")
        ]
        created = [
            (await client.put(f"/{name}", content=body)).status_code
            for name, body in (("x", b"[[[1]]]"), ("y", b"[[[[1]]]]"))
        ]

    assert (paths, nested, created) == ([201, 414], [204, 400], [201, 400])


# Embedding without a socket of its own


async def test_an_application_takes_tokens_and_hooks_as_well() -> None:
    app = create_app(tokens=["app@s=read"])
    async with httpx.AsyncClient(transport=httpx.ASGITransport(app), base_url="http://host") as client:
        known = await client.get("/v1/stream/a", headers={"Authorization": "Bearer s"})
        unknown = await client.get("/v1/stream/a")
    await app.aclose()

    assert (known.status_code, unknown.status_code) == (404, 401)
