"""The border to httpx: what it does with connections, and what comes out when they misbehave."""

from __future__ import annotations

import gzip
import ssl
from collections.abc import AsyncIterator
from typing import Any

import anyio
import anyio.abc
import httpx
import pytest

from durafold.client import Backoff, ClientSettings, DurableStream, Transport
from durafold.client.exchange import Reply, Request
from durafold.client.transport import ServerEvent, SseConnection
from durafold.errors import ConnectFailed, MalformedResponse, TransportError, TransportTimeout
from support.fake_server import Answer, FakeServer, event_stream, page
from support.waiting import PATIENCE_S

pytestmark = pytest.mark.anyio

SETTINGS = ClientSettings(backoff=Backoff(first_s=0.01, max_s=0.05), max_event_bytes=1000)
CONTROL = b'event: control\ndata:{"streamNextOffset":"1"}\n\n'


@pytest.fixture
async def transport() -> AsyncIterator[Transport]:
    async with Transport() as transport:
        yield transport


def get(server: FakeServer) -> Request:
    return Request("GET", f"{server.url}/demo", {"X-Mine": "1"})


async def opened(
    transport: Transport, server: FakeServer, settings: ClientSettings = SETTINGS
) -> SseConnection:
    connection = await transport.open_sse(get(server), settings)
    assert isinstance(connection, SseConnection)
    return connection


# ---- clients ----


async def test_plain_http_does_not_pay_for_certificates(
    transport: Transport, monkeypatch: pytest.MonkeyPatch
) -> None:
    def forbidden(*args: Any, **options: Any) -> None:
        raise AssertionError("a certificate store was loaded")

    monkeypatch.setattr(ssl.SSLContext, "load_verify_locations", forbidden)
    monkeypatch.setattr(ssl.SSLContext, "load_default_certs", forbidden)

    async with FakeServer(page(next_offset="1")) as server:
        assert (await transport.exchange(get(server), SETTINGS)).status == 200


async def test_proxies_of_the_environment_are_not_used_for_this_machine(
    transport: Transport, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("HTTP_PROXY", "http://127.0.0.1:1")
    monkeypatch.delenv("NO_PROXY", raising=False)

    async with FakeServer(page(next_offset="1")) as server:
        assert (await transport.exchange(get(server), SETTINGS)).status == 200


async def test_a_client_of_your_own_is_used_and_left_open() -> None:
    async with (
        FakeServer(page(next_offset="1")) as server,
        httpx.AsyncClient(headers={"X-Theirs": "2"}, verify=False) as client,
    ):
        async with DurableStream(f"{server.url}/demo", transport=Transport(client=client)) as stream:
            await stream.read()
        assert not client.is_closed

    assert (server.seen[0].headers["x-theirs"], server.seen[0].method) == ("2", "GET")


async def test_a_stream_closes_only_a_transport_of_its_own(transport: Transport) -> None:
    async with FakeServer(otherwise=page(next_offset="1")) as server:
        async with DurableStream(f"{server.url}/demo", transport=transport) as stream:
            await stream.read()

        assert (await transport.exchange(get(server), SETTINGS)).status == 200


class TimeoutException(Exception):
    """What an error of another library with the same names looks like."""


class ReadTimeout(TimeoutException):
    """A kind of it."""


class FailingClient:
    """A client whose every request fails."""

    def __init__(self, error: Exception) -> None:
        self.error = error

    def build_request(self, method: str, url: str, **options: Any) -> Any:
        return None

    async def send(self, request: Any, *, stream: bool = False) -> Any:
        raise self.error


async def test_errors_of_another_httpx_are_known_by_their_names() -> None:
    with pytest.raises(TransportTimeout):
        await Transport(client=FailingClient(ReadTimeout())).exchange(
            Request("GET", "http://h/", {}), SETTINGS
        )


async def test_errors_that_are_none_of_http_come_out_as_they_are() -> None:
    with pytest.raises(ZeroDivisionError):
        await Transport(client=FailingClient(ZeroDivisionError())).exchange(
            Request("GET", "http://h/", {}), SETTINGS
        )


@pytest.mark.parametrize(
    ("port", "hint"), [(4437, "durafold serve` running on 4437"), (8787, "older default")]
)
async def test_a_refused_connection_comes_with_a_hint(port: int, hint: str) -> None:
    client = FailingClient(httpx.ConnectError("refused"))

    with pytest.raises(ConnectFailed, match=hint):
        await Transport(client=client).exchange(Request("GET", f"http://h:{port}/", {}), SETTINGS)


@pytest.mark.parametrize(
    ("failure", "hint"),
    [
        (ssl.SSLError("wrong version"), "the URL begins with http$"),
        (ssl.SSLCertVerificationError("self-signed"), "SSL_CERT_FILE"),
    ],
)
async def test_a_connection_that_cannot_be_made_secure_comes_with_its_own_hint(
    failure: Exception, hint: str
) -> None:
    error = httpx.ConnectError(str(failure))
    error.__cause__ = failure

    with pytest.raises(ConnectFailed, match=hint):
        await Transport(client=FailingClient(error)).exchange(Request("GET", "https://h/", {}), SETTINGS)


# ---- answers ----


async def test_compressed_answers_are_decoded(transport: Transport) -> None:
    packed = gzip.compress(b"[1]")

    async with FakeServer(page(packed, next_offset="1", Content_Encoding="gzip")) as server:
        assert (await transport.exchange(get(server), SETTINGS)).body == b"[1]"


async def test_badly_compressed_answers_are_malformed(transport: Transport) -> None:
    async with FakeServer(page(b"no gzip", next_offset="1", Content_Encoding="gzip")) as server:
        with pytest.raises(MalformedResponse, match="compressed"):
            await transport.exchange(get(server), SETTINGS)


async def test_a_compression_bomb_is_not_unpacked(transport: Transport) -> None:
    bomb = gzip.compress(bytes(1_000_000))

    async with FakeServer(page(bomb, next_offset="1", Content_Encoding="gzip")) as server:
        with pytest.raises(MalformedResponse, match="larger than 2000"):
            await transport.exchange(get(server), ClientSettings(max_page_bytes=2000))


async def test_a_compression_that_was_not_asked_for_is_malformed(transport: Transport) -> None:
    async with FakeServer(page(b"x", next_offset="1", Content_Encoding="br")) as server:
        with pytest.raises(MalformedResponse, match=r"not asked for.*/v1/stream/demo"):
            await transport.exchange(get(server), SETTINGS)

    assert server.seen[0].headers["accept-encoding"] == "gzip"


async def test_an_answer_shorter_than_announced_is_a_broken_connection(transport: Transport) -> None:
    async with FakeServer(Answer(200, {}, (b"half",), length=8)) as server:
        with pytest.raises(TransportError):
            await transport.exchange(get(server), SETTINGS)


async def test_a_body_that_cannot_be_sent_to_its_end_is_a_broken_connection(transport: Transport) -> None:
    async def hang_up(client: anyio.abc.SocketStream) -> None:
        await client.receive()
        await anyio.aclose_forcefully(client)

    async with (
        await anyio.create_tcp_listener(local_host="127.0.0.1") as listener,
        anyio.create_task_group() as tasks,
    ):
        tasks.start_soon(listener.serve, hang_up)
        port = listener.extra(anyio.abc.SocketAttribute.local_port)
        request = Request("POST", f"http://127.0.0.1:{port}/x", {}, bytes(20_000_000))
        with pytest.raises(TransportError):
            await transport.exchange(request, SETTINGS)
        tasks.cancel_scope.cancel()


# ---- server-sent events ----


async def test_events_come_as_they_were_sent(transport: Transport) -> None:
    stream = event_stream(b"event: data\ndata:[1,\ndata:2]\n\n", CONTROL, b"event: odd\r\ndata: x\r\n\r\n")

    async with FakeServer(stream) as server:
        connection = await opened(transport, server)
        events = [await connection.receive() for _ in range(4)]
        await connection.aclose()

    assert events == [
        ServerEvent("data", "[1,\n2]"),
        ServerEvent("control", '{"streamNextOffset":"1"}'),
        ServerEvent("odd", "x"),
        None,
    ]
    assert server.seen[0].headers["accept"] == "text/event-stream"
    assert server.seen[0].headers["accept-encoding"] == "identity"


@pytest.mark.parametrize("name", ["Accept", "accept", "ACCEPT"])
@pytest.mark.parametrize("is_own_client", [False, True])
async def test_an_event_stream_is_asked_for_whatever_the_user_accepts(name: str, is_own_client: bool) -> None:
    async with (
        FakeServer(event_stream(CONTROL)) as server,
        httpx.AsyncClient(verify=False) as client,
        Transport(client=client if is_own_client else None) as transport,
    ):
        request = Request("GET", f"{server.url}/demo", {name: "application/json", "accept-encoding": "br"})
        connection = await transport.open_sse(request, SETTINGS)
        assert isinstance(connection, SseConnection)
        await connection.aclose()

    assert server.seen[0].headers["accept"] == "text/event-stream"
    assert server.seen[0].headers["accept-encoding"] == "identity"


@pytest.mark.parametrize("is_own_client", [False, True])
async def test_a_page_is_asked_for_as_the_user_accepts_it(is_own_client: bool) -> None:
    async with (
        FakeServer(page(next_offset="1")) as server,
        httpx.AsyncClient(verify=False) as client,
        Transport(client=client if is_own_client else None) as transport,
    ):
        request = Request("GET", f"{server.url}/demo", {"accept": "a/b", "accept-encoding": "identity"})
        await transport.exchange(request, SETTINGS)

    assert server.seen[0].headers["accept"] == "a/b"
    assert server.seen[0].headers["accept-encoding"] == "identity"


async def test_unicode_line_separators_are_ordinary_characters_of_an_event(transport: Transport) -> None:
    text = '["\u2028\u2029\x85\x0b\x0c"]'

    async with FakeServer(event_stream(f"event: data\ndata:{text}\n\n".encode())) as server:
        connection = await opened(transport, server)
        assert await connection.receive() == ServerEvent("data", text)
        await connection.aclose()


async def test_opening_does_not_write_into_the_callers_headers(transport: Transport) -> None:
    async with FakeServer(event_stream(CONTROL)) as server:
        request = get(server)
        connection = await transport.open_sse(request, SETTINGS)
        assert isinstance(connection, SseConnection)
        await connection.aclose()

    assert request.headers == {"X-Mine": "1"}


async def test_an_unfinished_event_is_not_an_event(transport: Transport) -> None:
    async with FakeServer(event_stream(CONTROL, b"event: data\ndata:[1]\n")) as server:
        connection = await opened(transport, server)
        assert (await connection.receive()) is not None
        assert (await connection.receive()) is None
        await connection.aclose()


async def test_an_endless_event_is_not_collected(transport: Transport) -> None:
    async with FakeServer(event_stream(b"event: data\ndata:", *[b"x" * 400] * 10, then="hang")) as server:
        connection = await opened(transport, server)
        with pytest.raises(MalformedResponse, match="larger than 1000"):
            await connection.receive()
        await connection.aclose()


async def test_many_events_together_may_be_larger_than_one(transport: Transport) -> None:
    event = b"event: data\ndata:" + b"x" * 700 + b"\n\n"

    async with FakeServer(event_stream(event, 0.01, event, event, 0.01, event, event)) as server:
        connection = await opened(transport, server)
        events = [await connection.receive() for _ in range(5)]
        await connection.aclose()

    assert events == [ServerEvent("data", "x" * 700)] * 5


async def test_events_that_are_not_utf8_are_malformed(transport: Transport) -> None:
    async with FakeServer(event_stream(b"event: data\ndata:\xff\n\n")) as server:
        connection = await opened(transport, server)
        with pytest.raises(MalformedResponse, match="UTF-8"):
            await connection.receive()
        await connection.aclose()


async def test_characters_may_be_cut_between_packets(transport: Transport) -> None:
    async with FakeServer(event_stream(b"event: data\ndata:k\xc3", 0.02, b"\xa4se\n\n")) as server:
        connection = await opened(transport, server)
        assert await connection.receive() == ServerEvent("data", "käse")
        await connection.aclose()


async def test_silence_from_the_start_is_noticed(transport: Transport) -> None:
    hasty = ClientSettings(first_event_timeout_s=0.5)

    async with FakeServer(event_stream(then="hang")) as server:
        connection = await opened(transport, server, hasty)
        with anyio.fail_after(PATIENCE_S), pytest.raises(TransportTimeout):
            await connection.receive()
        await connection.aclose()


async def test_headers_that_never_come_are_noticed(transport: Transport) -> None:
    hasty = ClientSettings(connect_timeout_s=0.02, first_event_timeout_s=0.02)

    async with await anyio.create_tcp_listener(local_host="127.0.0.1") as mute:
        port = mute.extra(anyio.abc.SocketAttribute.local_port)
        with anyio.fail_after(PATIENCE_S), pytest.raises(TransportTimeout):
            await transport.open_sse(Request("GET", f"http://127.0.0.1:{port}/x", {}), hasty)


async def test_silence_behind_an_event_is_noticed_later(transport: Transport) -> None:
    settings = ClientSettings(first_event_timeout_s=600, heartbeat_timeout_s=600, silence_timeout_s=0.05)

    async with FakeServer(event_stream(CONTROL, then="hang")) as server:
        connection = await opened(transport, server, settings)
        await connection.receive()
        with anyio.fail_after(PATIENCE_S), pytest.raises(TransportTimeout):
            await connection.receive()
        await connection.aclose()


async def test_heartbeats_are_signs_of_life_and_their_end_is_noticed_sooner(transport: Transport) -> None:
    settings = ClientSettings(first_event_timeout_s=600, heartbeat_timeout_s=1, silence_timeout_s=600)
    beat = b": keep-alive\n\n"

    async with FakeServer(
        event_stream(CONTROL, beat, 0.4, beat, 0.4, beat, 0.4, CONTROL, then="hang")
    ) as server:
        connection = await opened(transport, server, settings)
        await connection.receive()
        assert await connection.receive() is not None
        with anyio.fail_after(PATIENCE_S), pytest.raises(TransportTimeout):
            await connection.receive()
        await connection.aclose()


@pytest.mark.parametrize(
    "answer",
    [
        Answer(404, {"Content-Type": "text/plain"}, (b"no such stream",), length=14),
        page(b"[1]", next_offset="1"),
        Answer(204, {"Stream-Next-Offset": "1"}),
        Answer(406, {"Content-Type": "text/event-stream"}, (b"data: no\n\n",), length=10),
    ],
)
async def test_anything_but_an_event_stream_comes_back_as_a_reply(
    answer: Answer, transport: Transport
) -> None:
    async with FakeServer(answer) as server:
        reply = await transport.open_sse(get(server), SETTINGS)

    assert isinstance(reply, Reply)
    assert reply.status == answer.status


async def test_closing_in_the_middle_of_an_event_leaves_nothing_behind(transport: Transport) -> None:
    async with FakeServer(event_stream(CONTROL * 50, b"event: data\ndata:", then="hang")) as server:
        connection = await opened(transport, server)
        await connection.receive()
        await connection.aclose()


async def test_being_cancelled_while_waiting_for_an_event_leaves_nothing_behind(transport: Transport) -> None:
    async with FakeServer(event_stream(CONTROL, then="hang")) as server:
        connection = await opened(transport, server)
        await connection.receive()
        with anyio.move_on_after(0.02) as scope:
            await connection.receive()
        await connection.aclose()

    assert scope.cancelled_caught
