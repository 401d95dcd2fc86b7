"""`DurableStream` against a real server, and against answers that a real one would not give."""

from __future__ import annotations

from collections.abc import AsyncIterator, Callable
from datetime import UTC, datetime, timedelta
from itertools import count
from typing import Any

import anyio
import pytest

from durafold.client import NOW, START, ClientSettings, DurableStream, Offset
from durafold.errors import (
    BadRequest,
    ConfigurationError,
    ConnectFailed,
    MalformedResponse,
    SequenceConflict,
    ServerUnavailable,
    StreamClosed,
    StreamConflict,
    StreamNotFound,
    TooManyRequests,
    TransportError,
    Unauthorized,
)
from support.fake_server import Answer, FakeServer, page
from support.proxy import Cut, FaultProxy, LoseReply, Refuse
from support.waiting import PATIENCE_S

pytestmark = pytest.mark.anyio

Connect = Callable[..., DurableStream]

APPENDED = Answer(204, {"Stream-Next-Offset": "0001"})
UNAVAILABLE = Answer(503, {}, (b"down",), length=4)


# ---- the stream as a whole ----


async def test_creating_twice_tells_who_was_first(url: str, connect: Connect) -> None:
    stream = connect(url)

    first, second = await stream.create(ttl_s=60), await stream.create(ttl_s=60)

    assert (first.created, second.created) == (True, False)
    assert first.content_type == "application/json"
    assert first.next_offset == second.next_offset


async def test_creating_with_another_configuration_is_a_conflict(stream: DurableStream) -> None:
    with pytest.raises(StreamConflict, match="head"):
        await stream.create(content_type="text/plain")


async def test_a_stream_may_begin_with_content_and_closed(url: str, connect: Connect) -> None:
    info = await connect(url).create(body=["one", "message"], closed=True)

    assert info.closed
    assert await connect(url).read_json() == [["one", "message"]]


async def test_head_shows_type_tail_and_lifetime(url: str, connect: Connect) -> None:
    expires_at = datetime.now(UTC).replace(microsecond=0) + timedelta(hours=1)
    created = await connect(url).create(content_type="text/plain", expires_at=expires_at)

    info = await connect(url).head()

    assert info.content_type == "text/plain"
    assert info.expires_at == expires_at
    assert (info.closed, info.created, info.ttl_s) == (False, False, None)
    assert info.next_offset == created.next_offset


async def test_a_deleted_stream_is_gone(stream: DurableStream) -> None:
    await stream.delete()

    with pytest.raises(StreamNotFound):
        await stream.head()


async def test_closing_is_idempotent_and_ends_appends(stream: DurableStream) -> None:
    await stream.append(1)

    first, second = await stream.close(), await stream.close()

    assert first == second
    with pytest.raises(StreamClosed) as refused:
        await stream.append(2)
    assert refused.value.final_offset == first.final_offset


async def test_a_close_may_carry_the_last_message(stream: DurableStream) -> None:
    await stream.close({"last": True})

    assert (await stream.read()).closed
    assert await stream.read_json() == [{"last": True}]


@pytest.mark.parametrize(
    "options",
    [
        {"ttl_s": 5, "expires_at": "2030-01-01T00:00:00Z"},
        {"ttl_s": -1},
        {"retention_bytes": -1},
        {"retention_age_s": -1},
        {"expires_at": datetime(2030, 1, 1)},  # noqa: DTZ001
    ],
)
async def test_an_impossible_lifetime_is_refused_before_anything_is_sent(
    options: dict[str, Any], dead_url: str, connect: Connect
) -> None:
    with pytest.raises(ConfigurationError):
        await connect(dead_url).create(**options)


@pytest.mark.parametrize("bad", ["127.0.0.1:4437/x", "ftp://host/x", "/v1/stream/x", "http://"])
def test_a_url_must_be_absolute(bad: str) -> None:
    with pytest.raises(ConfigurationError, match="http"):
        DurableStream(bad)


@pytest.mark.parametrize(
    "place", ["host:99999", "host:-1", "host:0", "host:http", "[::1", "[zz]", "host/\ud800"]
)
def test_a_url_must_name_a_place_and_does_not_give_its_user_away(place: str) -> None:
    with pytest.raises(ConfigurationError, match="is not an http or https URL") as caught:
        DurableStream(f"http://ann:s3cret@{place}/x?key=s3cret")

    assert "s3cret" not in str(caught.value)


@pytest.mark.parametrize("live", [True, False, None, "longpoll", "SSE"])
def test_an_unknown_way_to_wait_is_refused_when_it_is_asked_for(live: Any) -> None:
    with pytest.raises(ConfigurationError, match=r"live=.* 'auto', 'sse', 'long-poll', 'off'"):
        DurableStream("http://host/x").follow(live=live)


# ---- writing and reading ----


async def test_each_append_is_one_message_even_if_it_is_a_list(stream: DurableStream) -> None:
    values: list[Any] = [{"a": 1}, [1, 2], [], None, "text", 2**70]
    for value in values:
        await stream.append(value)

    assert await stream.read_json() == values


async def test_many_messages_are_appended_at_once(stream: DurableStream) -> None:
    result = await stream.append_many([1, [2], "3"])

    assert await stream.read_json() == [1, [2], "3"]
    assert (await stream.head()).next_offset == result.next_offset


async def test_ready_bytes_are_sent_as_they_are(stream: DurableStream) -> None:
    await stream.append_bytes(b"[1, 2 ]")

    assert await stream.read_json() == [1, 2]


async def test_nothing_cannot_be_appended(stream: DurableStream) -> None:
    with pytest.raises(ConfigurationError, match="nothing to append"):
        await stream.append_many([])
    with pytest.raises(ConfigurationError, match="nothing to append"):
        await stream.append_bytes(b"")


async def test_a_handle_learns_the_content_type_before_its_first_append(url: str, connect: Connect) -> None:
    await connect(url).create(content_type="text/plain")
    stream = connect(url)

    await stream.append("käse\r\n")

    assert stream.content_type == "text/plain"
    assert await stream.read_text() == "käse\r\n"


async def test_a_wrong_content_type_is_a_conflict_with_a_hint(
    stream: DurableStream, connect: Connect
) -> None:
    with pytest.raises(StreamConflict, match="sent as text/plain"):
        await connect(stream.url, content_type="text/plain").append("x")


async def test_bytes_come_back_unchanged(url: str, connect: Connect) -> None:
    stream = connect(url)
    await stream.create(content_type="application/octet-stream")
    await stream.append(bytes(range(256)))
    await stream.append(b"\xff")

    assert await stream.read_bytes() == bytes(range(256)) + b"\xff"


async def test_appends_with_a_sequence_must_come_in_order(stream: DurableStream) -> None:
    await stream.append(1, seq="b")

    with pytest.raises(SequenceConflict):
        await stream.append(2, seq="a")


async def test_reading_goes_on_from_an_offset(stream: DurableStream) -> None:
    first = await stream.append(1)
    await stream.append(2)

    assert first.next_offset is not None
    assert await stream.read_json(first.next_offset) == [2]
    assert (await stream.read(NOW)).data == b""


async def test_an_empty_json_stream_reads_as_an_empty_array(stream: DurableStream) -> None:
    assert await stream.read_bytes() == b"[]"
    assert await stream.read_json() == []
    assert (await stream.read()).up_to_date


async def test_pages_end_at_the_tail(stream: DurableStream) -> None:
    big = ["x" * 200_000] * 8
    for message in big:
        await stream.append(message)

    pages = [page async for page in stream.pages()]

    assert len(pages) > 1
    assert [message for page in pages for message in page.json()] == big
    assert [page.up_to_date for page in pages] == [False] * (len(pages) - 1) + [True]


@pytest.mark.parametrize("offset", [-1, 0, None, b"-1"])
def test_an_offset_is_text(offset: Any) -> None:
    with pytest.raises(ConfigurationError, match=r"^(-1|0|None|b'-1') cannot be an offset"):
        DurableStream("http://host/x").follow(offset)


async def test_an_offset_that_cannot_be_one_is_not_sent(stream: DurableStream) -> None:
    with pytest.raises(ConfigurationError, match="cannot be an offset"):
        await stream.read(Offset("a&b"))


async def test_an_offset_that_the_server_does_not_know_is_refused(stream: DurableStream) -> None:
    with pytest.raises(BadRequest):
        await stream.read(Offset("not-one-of-yours"))


# ---- headers and parameters ----


async def test_headers_and_parameters_are_evaluated_for_every_request_and_retry(connect: Connect) -> None:
    tokens = count()

    async with FakeServer(UNAVAILABLE, page(next_offset="1")) as server:
        stream = connect(
            f"{server.url}/demo?tenant=a",
            headers={"Authorization": lambda: f"Bearer {next(tokens)}"},
            params={"zone": lambda: "eu", "b": "2"},
        )
        await stream.read(START)

    assert [seen.headers["authorization"] for seen in server.seen] == ["Bearer 0", "Bearer 1"]
    assert server.seen[0].query == [("b", "2"), ("offset", "-1"), ("tenant", "a"), ("zone", "eu")]


async def test_our_headers_win_over_the_users_in_any_case(connect: Connect) -> None:
    async with FakeServer(APPENDED) as server:
        stream = connect(
            f"{server.url}/demo", headers={"content-type": "text/html"}, content_type="application/json"
        )
        await stream.append(1)

    assert server.seen[0].headers["content-type"] == "application/json"


# ---- failures ----


@pytest.mark.parametrize("status", [500, 502, 503])
async def test_reads_are_tried_again_after_a_server_error(status: int, connect: Connect) -> None:
    async with FakeServer(
        Answer(status, length=0), Answer(status, length=0), page(next_offset="1")
    ) as server:
        assert (await connect(f"{server.url}/demo").read()).next_offset == "1"


async def test_the_last_error_is_raised_when_all_attempts_failed(
    connect: Connect, settings: ClientSettings
) -> None:
    async with FakeServer(otherwise=UNAVAILABLE) as server:
        with pytest.raises(ServerUnavailable, match="down"):
            await connect(f"{server.url}/demo").read()

    assert len(server.seen) == settings.max_attempts


async def test_a_long_retry_after_is_left_to_the_caller(connect: Connect) -> None:
    async with FakeServer(Answer(429, {"Retry-After": "60"}, length=0)) as server:
        with pytest.raises(TooManyRequests) as refused:
            await connect(f"{server.url}/demo").read()

    assert refused.value.retry_after_s == 60
    assert len(server.seen) == 1


@pytest.mark.parametrize("status", [500, 503, 429])
async def test_an_append_is_tried_again_when_the_server_says_that_it_failed(
    status: int, connect: Connect
) -> None:
    async with FakeServer(Answer(status, length=0), APPENDED) as server:
        await connect(f"{server.url}/demo", content_type="application/json").append(1)

    assert [seen.body for seen in server.seen] == [b"[1]", b"[1]"]


async def test_an_append_whose_answer_was_lost_is_not_repeated(
    stream: DurableStream, connect: Connect
) -> None:
    async with FaultProxy(stream.url) as proxy:
        through = connect(proxy.url, content_type="application/json")
        proxy.script(LoseReply())
        with pytest.raises(TransportError):
            await through.append(1)

    assert await stream.read_json() == [1]


async def test_reads_survive_broken_connections(stream: DurableStream, connect: Connect) -> None:
    await stream.append("x" * 1000)

    async with FaultProxy(stream.url) as proxy:
        proxy.script(Refuse(), LoseReply(), Cut(after_bytes=700))
        assert await connect(proxy.url).read_json() == ["x" * 1000]


async def test_a_create_whose_answer_was_lost_is_repeated(url: str, connect: Connect) -> None:
    async with FaultProxy(url) as proxy:
        proxy.script(LoseReply())
        info = await connect(proxy.url).create()

    assert not info.created
    assert info.content_type == "application/json"


async def test_refused_credentials_are_raised_at_once(connect: Connect) -> None:
    async with FakeServer(otherwise=Answer(401, {}, (b"who are you?",), length=12)) as server:
        with pytest.raises(Unauthorized, match=r"who are you\?"):
            await connect(f"{server.url}/demo").read()

    assert len(server.seen) == 1


async def test_nobody_listening_is_explained(dead_url: str, connect: Connect) -> None:
    with pytest.raises(ConnectFailed, match="Is the stream server running there"):
        await connect(dead_url).head()


async def test_a_page_of_something_else_is_explained(connect: Connect) -> None:
    async with FakeServer(Answer(200, {"Content-Type": "text/html"}, (b"<html>",), length=6)) as server:
        with pytest.raises(MalformedResponse, match="/v1/stream"):
            await connect(f"{server.url}/demo").read()


async def test_a_cut_json_page_is_not_taken_for_the_whole(connect: Connect) -> None:
    async with FakeServer(page(b'[{"a":', next_offset="1")) as server:
        with pytest.raises(MalformedResponse):
            await connect(f"{server.url}/demo").read_json()


async def test_pages_do_not_loop_over_an_old_answer(connect: Connect) -> None:
    stale = page(next_offset="0001", up_to_date=False)

    async with FakeServer(page(b"[1]", next_offset="0001", up_to_date=False), otherwise=stale) as server:
        with pytest.raises(MalformedResponse, match="cache"):
            await connect(f"{server.url}/demo").read_json()

    assert len(server.seen) == 2


async def test_an_answer_above_the_limit_is_not_collected(connect: Connect, settings: ClientSettings) -> None:
    small = ClientSettings(backoff=settings.backoff, max_page_bytes=1000)

    async with FakeServer(page(b"x" * 100_000, next_offset="1", content_type="text/plain")) as server:
        with pytest.raises(MalformedResponse, match="1000 bytes"):
            await connect(f"{server.url}/demo", settings=small).read()


async def test_a_silent_server_is_given_up(connect: Connect, settings: ClientSettings) -> None:
    hasty = ClientSettings(backoff=settings.backoff, request_timeout_s=0.05, max_attempts=2)

    async with FakeServer(otherwise=Answer(parts=(600.0,), then="hang")) as server:
        with anyio.fail_after(PATIENCE_S), pytest.raises(TransportError, match="in time"):
            await connect(f"{server.url}/demo", settings=hasty).read()


# ---- streaming bodies ----


async def test_a_body_is_sent_as_it_comes(url: str, connect: Connect) -> None:
    stream = connect(url)
    await stream.create(content_type="text/plain")

    async def pieces() -> AsyncIterator[bytes | str]:
        for piece in (b"a", "€", b"", b"c"):
            await anyio.sleep(0)
            yield piece

    await stream.append_from(pieces())
    result = await stream.append_from(["d", "e"], close=True)

    assert await stream.read_text() == "a€cde"
    assert result.closed


async def test_a_body_that_was_begun_is_not_sent_twice(stream: DurableStream, connect: Connect) -> None:
    async with FaultProxy(stream.url) as proxy:
        proxy.script(LoseReply())
        with pytest.raises(TransportError):
            await connect(proxy.url, content_type="application/json").append_from(['{"a":', "1}"])

    assert await stream.read_json() == [{"a": 1}]


async def test_a_body_that_was_not_begun_may_be_sent_again(dead_url: str, settings: ClientSettings) -> None:
    pieces = iter(["a"])
    async with DurableStream(dead_url, content_type="text/plain", settings=settings) as stream:
        with pytest.raises(ConnectFailed):
            await stream.append_from(pieces)

    assert next(pieces) == "a"


async def test_what_the_iterable_raises_comes_out_and_nothing_is_appended(stream: DurableStream) -> None:
    closed: list[str] = []

    async def broken() -> AsyncIterator[bytes]:
        try:
            yield b"[1"
            raise LookupError("no more")
        finally:
            closed.append("generator")

    with pytest.raises(LookupError, match="no more"):
        await stream.append_from(broken())

    assert closed == ["generator"]
    assert await stream.read_json() == []


async def test_a_piece_that_is_neither_bytes_nor_text_is_refused(stream: DurableStream) -> None:
    with pytest.raises(ConfigurationError, match="bytes or str, not int"):
        await stream.append_from([1])  # type: ignore[list-item]  # pyright: ignore[reportArgumentType]
