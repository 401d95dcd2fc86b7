"""One connection: keep-alive, pipelining, framing, limits, and clients that misbehave."""

from __future__ import annotations

import asyncio
import contextlib
import gc
import socket
from collections.abc import AsyncIterator
from uuid import uuid4

import httpx
import pytest

from durafold_server.config import ConnectionLimits, ServiceSettings
from durafold_server.http.handler import Handler
from durafold_server.http.live import EventReader
from durafold_server.http.wire import Connection, WireServer
from durafold_server.store.base import StreamStore
from durafold_server.store.memory import MemoryStore
from support.server import ServerProcess
from support.server_sockets import connected, converse, request_bytes, rest_of
from support.waiting import PATIENCE_S, eventually

MIB = 1024 * 1024
TEXT = {"Content-Type": "text/plain"}
KEEP = b" HTTP/1.1\r\nhost: x\r\n"


@pytest.fixture
def path(client: httpx.Client, url: str) -> bytes:
    """Path of a text stream that holds `abc`."""
    client.put(url, headers=TEXT, content=b"abc")
    return httpx.URL(url).raw_path


def post(path: bytes, body: bytes, headers: bytes = b"") -> bytes:
    """An append that keeps the connection."""
    length = b"content-length: %d\r\n" % len(body)
    return b"POST " + path + KEEP + b"content-type: text/plain\r\n" + length + headers + b"\r\n" + body


# Requests one after another


def test_a_connection_serves_one_request_after_another(wire_server: ServerProcess, path: bytes) -> None:
    sent = post(path, b"d") + b"HEAD " + path + KEEP + b"\r\n" + b"GET " + path + KEEP + b"\r\n"

    answers = converse(wire_server.port, sent, "POST", "HEAD", "GET")

    assert [answer.status for answer in answers] == [204, 200, 200]
    assert answers[2].body == b"abcd"


def test_many_pipelined_requests_are_answered_in_order(wire_server: ServerProcess, path: bytes) -> None:
    sent = b"".join(post(path, b"%03d" % n) for n in range(100)) + b"GET " + path + KEEP + b"\r\n"

    answers = converse(wire_server.port, sent, *["POST"] * 100, "GET")

    assert [answer.status for answer in answers] == [204] * 100 + [200]
    assert answers[-1].body == b"abc" + b"".join(b"%03d" % n for n in range(100))


def test_a_request_behind_a_live_read_waits_its_turn(wire_server: ServerProcess, path: bytes) -> None:
    poll = b"GET " + path + b"?offset=now&live=long-poll" + KEEP + b"\r\n"

    answers = converse(wire_server.port, poll + b"HEAD " + path + KEEP + b"\r\n", "GET", "HEAD")

    assert [answer.status for answer in answers] == [204, 200]


def test_a_refused_request_leaves_the_connection_usable(wire_server: ServerProcess, path: bytes) -> None:
    refused = post(b"/v1/stream/%zz", b"x" * MIB) + post(path, b"x" * MIB, b"stream-seq:\r\n")

    answers = converse(wire_server.port, refused + b"GET " + path + KEEP + b"\r\n", "POST", "POST", "GET")

    assert [answer.status for answer in answers] == [400, 400, 200]
    assert answers[2].body == b"abc"


@pytest.mark.parametrize("count", [1, 3, 20])
def test_valid_requests_before_garbage_get_their_answers(
    wire_server: ServerProcess, path: bytes, count: int
) -> None:
    sent = post(path, b"d") * count + b"\x00garbage\r\n\r\n"

    answers = converse(wire_server.port, sent, *["POST"] * count)

    assert [answer.status for answer in answers] == [204] * count


def test_a_request_that_closes_gets_its_answer_whatever_follows(
    wire_server: ServerProcess, path: bytes
) -> None:
    closing = post(path, b"d", b"connection: close\r\n")

    answers = [
        converse(wire_server.port, closing + rest, "POST")[0]
        for rest in (b"", b"\r\n", b"GET / HTTP/1.1\r\n")
    ]

    assert [answer.status for answer in answers] == [204, 204, 204]
    assert {answer.headers["connection"] for answer in answers} == {"close"}


def test_nothing_is_done_that_was_asked_after_a_request_that_closes(
    client: httpx.Client, url: str, wire_server: ServerProcess, path: bytes
) -> None:
    with connected(wire_server.port) as connection:
        connection.sendall(post(path, b"d", b"connection: close\r\n") + post(path, b"e") * 20)
        received = rest_of(connection)

    assert received.count(b"HTTP/1.1 ") == 1
    assert client.get(url).text == "abcd"


def test_garbage_does_not_get_into_an_event_stream(
    client: httpx.Client, url: str, wire_server: ServerProcess, path: bytes
) -> None:
    with connected(wire_server.port) as connection:
        connection.sendall(b"GET " + path + b"?offset=-1&live=sse" + KEEP + b"\r\n")
        received = connection.recv(65536)
        connection.sendall(b"\x00garbage\r\n\r\n")
        client.post(url, headers={**TEXT, "Stream-Closed": "true"}, content=b"d")
        with contextlib.suppress(ConnectionError):
            while data := connection.recv(65536):
                received += data

    assert received.count(b"HTTP/1.1") == 1


class Sink(asyncio.Transport):
    """A client that takes whatever is written, into a list of its own unless it is given one."""

    def __init__(self, written: list[bytes] | None = None) -> None:
        super().__init__({"sockname": ("127.0.0.1", 1)})
        self.written: list[bytes] = [] if written is None else written

    def write(self, data: bytes | bytearray | memoryview) -> None:
        self.written.append(bytes(data))

    def is_closing(self) -> bool:
        return False

    def pause_reading(self) -> None:
        pass

    def resume_reading(self) -> None:
        pass

    def close(self) -> None:
        pass

    def abort(self) -> None:
        pass


@pytest.mark.anyio
async def test_a_connection_that_pipelines_lets_others_have_their_turn() -> None:
    sink = Sink()
    async with served() as running:
        connection = Connection(running.server)
        connection.connection_made(sink)

        connection.data_received(b"GET /healthz HTTP/1.1\r\nhost: x\r\n\r\n" * 20)

        await asyncio.sleep(0)
        assert len(sink.written) == 1
        await asyncio.sleep(0)
        assert len(sink.written) == 2
        await eventually(lambda: len(sink.written) == 20)


@pytest.mark.anyio
@pytest.mark.parametrize("method", [b"PUT", b"POST"])
async def test_small_requests_are_answered_while_a_large_body_is_checked(method: bytes) -> None:
    written: list[bytes] = []  # in the order in which the two were answered
    body = b"[" + b"1," * 200_000 + b"1]"
    head = b" /v1/stream/s" + KEEP + b"content-type: application/json\r\ncontent-length: %d\r\n\r\n"
    async with served() as running:
        connection, beside = Connection(running.server), Connection(running.server)
        connection.connection_made(Sink(written))
        beside.connection_made(Sink(written))

        connection.data_received(method + head % len(body) + body)
        beside.data_received(b"GET /healthz HTTP/1.1\r\nhost: x\r\n\r\n")
        await eventually(lambda: len(written) == 2)

        assert written[0].startswith(b"HTTP/1.1 200")
        assert written[1].startswith({b"PUT": b"HTTP/1.1 201", b"POST": b"HTTP/1.1 404"}[method])


# Framing


def test_trailers_are_no_headers(
    client: httpx.Client, url: str, wire_server: ServerProcess, path: bytes
) -> None:
    head = b"POST " + path + KEEP + b"content-type: text/plain\r\ntransfer-encoding: chunked\r\n"
    trailers = b"stream-closed: true\r\nproducer-id: p\r\nx-last: 1\r\n"

    (answer,) = converse(wire_server.port, head + b"\r\n1\r\nd\r\n0\r\n" + trailers + b"\r\n", "POST")

    assert answer.status == 204
    assert "stream-closed" not in client.head(url).headers


def test_a_body_in_many_small_chunks_is_whole(wire_server: ServerProcess, path: bytes) -> None:
    head = b"POST " + path + KEEP + b"content-type: text/plain\r\ntransfer-encoding: chunked\r\n\r\n"

    answers = converse(
        wire_server.port,
        head + b"1\r\nx\r\n" * 10_000 + b"0\r\n\r\n" + b"GET " + path + KEEP + b"\r\n",
        "POST",
        "GET",
    )

    assert [answer.status for answer in answers] == [204, 200]
    assert answers[1].body == b"abc" + b"x" * 10_000


def test_a_request_may_arrive_byte_by_byte(wire_server: ServerProcess, path: bytes) -> None:
    with connected(wire_server.port) as connection:
        for byte in request_bytes("POST", path, "content-type: text/plain\r\n", b"d"):
            connection.sendall(bytes([byte]))

        assert connection.recv(100).startswith(b"HTTP/1.1 204 No Content\r\n")


def test_a_client_that_asks_first_is_told_to_go_on(wire_server: ServerProcess, path: bytes) -> None:
    sent = post(path, b"d", b"expect: 100-continue\r\n")
    with connected(wire_server.port) as connection:
        connection.sendall(sent[:-1])
        assert connection.recv(100) == b"HTTP/1.1 100 Continue\r\n\r\n"
        connection.sendall(sent[-1:])
        assert connection.recv(100).startswith(b"HTTP/1.1 204 ")


def test_http_1_0_is_answered_and_closed(wire_server: ServerProcess, path: bytes) -> None:
    with connected(wire_server.port) as connection:
        connection.sendall(b"GET " + path + b" HTTP/1.0\r\n\r\n")
        received = b"".join(iter(lambda: connection.recv(65536), b""))

    assert received.startswith(b"HTTP/1.1 200 OK\r\n")
    assert received.endswith(b"\r\n\r\nabc")


def test_http_1_0_gets_an_event_stream_without_chunks(wire_server: ServerProcess, path: bytes) -> None:
    closing = request_bytes("POST", path, "stream-closed: true\r\n")
    converse(wire_server.port, closing, "POST")
    with connected(wire_server.port) as connection:
        connection.sendall(b"GET " + path + b"?offset=-1&live=sse HTTP/1.0\r\n\r\n")
        received = b"".join(iter(lambda: connection.recv(65536), b""))

    head, _, body = received.partition(b"\r\n\r\n")
    assert b"transfer-encoding" not in head
    assert body.startswith(b"event: data\ndata:abc\n\nevent: control\ndata:{")


def test_a_target_in_absolute_form_names_the_same_stream(wire_server: ServerProcess, path: bytes) -> None:
    (answer,) = converse(wire_server.port, request_bytes("GET", b"http://localhost" + path), "GET")

    assert (answer.status, answer.body) == (200, b"abc")


def test_an_offer_to_upgrade_is_ignored(wire_server: ServerProcess, path: bytes) -> None:
    sent = b"GET " + path + KEEP + b"connection: upgrade\r\nupgrade: h2c\r\n\r\n"

    (answer,) = converse(wire_server.port, sent, "GET")

    assert (answer.status, answer.body) == (200, b"abc")


@pytest.mark.parametrize("count", [1, 3, 20])
def test_a_client_that_has_nothing_more_to_say_still_gets_its_answers(
    wire_server: ServerProcess, path: bytes, count: int
) -> None:
    with connected(wire_server.port) as connection:
        connection.sendall(post(path, b"d") * count)
        connection.shutdown(socket.SHUT_WR)

        assert rest_of(connection).count(b"HTTP/1.1 204 No Content\r\n") == count


# Limits


def test_a_body_of_the_greatest_size_is_taken(client: httpx.Client, url: str, path: bytes) -> None:
    assert client.post(url, headers=TEXT, content=bytes(4 * MIB)).status_code == 204


@pytest.mark.parametrize("size", [4 * MIB + 1, 10 * MIB])
@pytest.mark.parametrize("method", ["POST", "PUT"])
def test_a_greater_body_is_413_and_the_connection_goes_on(
    wire_server: ServerProcess, path: bytes, method: str, size: int
) -> None:
    head = method.encode() + b" " + path + KEEP + b"content-type: text/plain\r\n"
    sent = head + b"content-length: %d\r\n\r\n" % size + bytes(size)

    answers = converse(wire_server.port, sent + b"GET " + path + KEEP + b"\r\n", method, "GET")

    assert [answer.status for answer in answers] == [413, 200]
    assert answers[1].body == b"abc"


def test_a_chunked_body_is_limited_too(client: httpx.Client, url: str, path: bytes) -> None:
    reply = client.post(url, headers=TEXT, content=iter([bytes(MIB)] * 6))

    assert reply.status_code == 413
    assert client.get(url).content == b"abc"


@pytest.mark.parametrize(
    "sent",
    [
        b"GET /" + b"a" * 70_000 + KEEP + b"\r\n",
        b"GET / HTTP/1.1\r\nx: " + b"a" * 70_000 + b"\r\n\r\n",
        b"GET / HTTP/1.1\r\n" + b"x: y\r\n" * 20_000 + b"\r\n",
        b"GET / HTTP/1.1\r\n" + b"x" * 70_000 + b": y\r\n\r\n",
    ],
)
def test_a_head_that_is_too_large_is_431(wire_server: ServerProcess, sent: bytes) -> None:
    (answer,) = converse(wire_server.port, sent, "GET")

    assert answer.status == 431
    assert answer.headers["connection"] == "close"


@pytest.mark.parametrize("begun", [b"GET / HTTP/1.1\r\nx: ", b"GET / HTTP/1.1\r\n", b"GET /"])
def test_a_head_without_an_end_is_cut_off_soon(wire_server: ServerProcess, begun: bytes) -> None:
    sent = 0
    with connected(wire_server.port) as connection, contextlib.suppress(ConnectionError):
        connection.sendall(begun)
        while sent < 8 * MIB:
            connection.sendall(b"a" * 65536)
            sent += 65536

    assert sent < 8 * MIB


# In this process, where its insides can be seen


class Served:
    """A server in this process."""

    def __init__(self, handler: Handler, server: WireServer, port: int) -> None:
        self.handler = handler
        self.server = server
        self.port = port
        self.url = f"http://127.0.0.1:{port}/v1/stream/{uuid4()}"
        self.path = httpx.URL(self.url).raw_path


@contextlib.asynccontextmanager
async def served(limits: ConnectionLimits | None = None, **settings: float) -> AsyncIterator[Served]:
    async def open_store() -> StreamStore:
        return MemoryStore()

    handler = Handler(open_store, settings=ServiceSettings(**settings))  # type: ignore[arg-type]
    server = WireServer(handler, max_body_bytes=4 * MIB, limits=limits or ConnectionLimits())
    await handler.service()
    with socket.create_server(("127.0.0.1", 0)) as listener:
        await server.start(listener)
        try:
            yield Served(handler, server, listener.getsockname()[1])
        finally:
            handler.stop()
            await server.stop(1.0)
            await handler.aclose()


@pytest.mark.anyio
async def test_readers_that_leave_leave_nothing_behind() -> None:
    async with served() as here, httpx.AsyncClient() as client:
        await client.put(here.url, headers=TEXT)
        service = await here.handler.service()
        await eventually(lambda: len(here.server.connections) <= 1)
        before = asyncio.all_tasks()

        readers = [await asyncio.open_connection("127.0.0.1", here.port) for _ in range(30)]
        for reader, writer in readers:
            writer.write(b"GET " + here.path + b"?offset=-1&live=sse" + KEEP + b"\r\n")
            await reader.readuntil(b"upToDate")
        assert len(service.readers) == 30
        for _, writer in readers:
            writer.close()

        await eventually(lambda: len(service.readers) == 0 and len(here.server.connections) <= 1)
        await eventually(lambda: asyncio.all_tasks() == before)  # the ticker ends when it finds nobody


@pytest.mark.anyio
async def test_pollers_that_leave_leave_nothing_behind() -> None:
    async with served() as here, httpx.AsyncClient() as client:
        await client.put(here.url, headers=TEXT)
        before = asyncio.all_tasks()
        pollers = [await asyncio.open_connection("127.0.0.1", here.port) for _ in range(30)]
        for _, writer in pollers:
            writer.write(b"GET " + here.path + b"?offset=-1&live=long-poll" + KEEP + b"\r\n")
        await eventually(lambda: len(asyncio.all_tasks()) == len(before) + 30)

        for _, writer in pollers:
            writer.close()

        await eventually(lambda: asyncio.all_tasks() == before)


@pytest.mark.anyio
async def test_many_event_streams_over_one_connection_do_not_pile_up() -> None:
    gc.collect()
    async with served() as here, httpx.AsyncClient() as client:
        await client.put(here.url, headers={**TEXT, "Stream-Closed": "true"}, content=b"abc")
        for _ in range(50):
            reply = await client.get(here.url, params={"offset": "-1", "live": "sse"})
            assert reply.status_code == 200
        assert len(here.server.connections) == 1

        gc.collect()
        alive = [found for found in gc.get_objects() if isinstance(found, EventReader)]
        assert len(alive) <= 2


@pytest.mark.anyio
async def test_a_reader_that_does_not_read_is_cut_and_others_are_not_held_up() -> None:
    limits = ConnectionLimits(write_timeout_s=3)
    async with served(limits) as here, httpx.AsyncClient(timeout=20) as client:
        await client.put(here.url, headers=TEXT)
        service = await here.handler.service()
        with socket.create_connection(("127.0.0.1", here.port)) as stalled:
            stalled.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4096)
            stalled.sendall(b"GET " + here.path + b"?offset=-1&live=sse" + KEEP + b"\r\n")
            await eventually(lambda: len(service.readers) == 1)

            async with client.stream("GET", here.url, params={"offset": "now", "live": "sse"}) as healthy:
                chunks = healthy.aiter_raw()
                received = len(await anext(chunks))
                for _ in range(10):
                    await client.post(here.url, headers=TEXT, content=b"x" * MIB)
                while received < 10 * MIB:
                    received += len(await anext(chunks))
                await eventually(lambda: len(service.readers) == 1)


@pytest.mark.anyio
async def test_a_request_that_never_ends_is_cut() -> None:
    async with served(ConnectionLimits(idle_timeout_s=1)) as here:
        slow = [await asyncio.open_connection("127.0.0.1", here.port) for _ in range(3)]
        slow[0][1].write(b"GET /")
        slow[1][1].write(b"POST " + here.path + KEEP + b"content-length: 5\r\n\r\nab")

        async with asyncio.timeout(PATIENCE_S):
            assert [await reader.read() for reader, _ in slow] == [b"", b"", b""]
        for _, writer in slow:
            writer.close()


@pytest.mark.anyio
async def test_a_live_read_is_not_taken_for_an_idle_connection() -> None:
    limits = ConnectionLimits(idle_timeout_s=0.2)
    received = b""
    async with served(limits, heartbeat_s=0.5) as here, httpx.AsyncClient(timeout=20) as client:
        await client.put(here.url, headers=TEXT)
        async with client.stream("GET", here.url, params={"offset": "-1", "live": "sse"}) as reply:
            chunks = reply.aiter_raw()
            while received.count(b":\n\n") < 3:
                received += await anext(chunks)


@pytest.mark.anyio
async def test_stopping_ends_live_reads_and_closes_idle_connections() -> None:
    async with served() as here, httpx.AsyncClient(timeout=20) as client:
        await client.put(here.url, headers=TEXT)
        live = [
            asyncio.create_task(client.get(here.url, params={"offset": "-1", "live": mode}))
            for mode in ("sse", "long-poll") * 10
        ]
        service = await here.handler.service()
        await eventually(lambda: (len(service.readers), here.handler.counts.polling) == (10, 10))
        here.handler.stop()
        await here.server.stop(5.0)

        assert {(await reply).status_code for reply in live} == {200, 204}
        assert not here.server.connections
        with pytest.raises(httpx.ConnectError):
            await client.get(here.url)
