"""What no header can hold is refused before it is sent, and never shown: it may be a secret."""

from __future__ import annotations

import traceback
from collections.abc import Callable
from typing import Any

import anyio
import pytest

from durafold import blocking
from durafold.client import DurableStream, IdempotentProducer, Token
from durafold.client.dynamic import Headers
from durafold.client.exchange import Request
from durafold.errors import ConfigurationError
from support.fake_server import FakeServer, page

Connect = Callable[..., DurableStream]

FROM_A_FILE = "Bearer s3cret\n"


async def later() -> str:
    return FROM_A_FILE


HEADERS = [
    {"Authorization": FROM_A_FILE},
    {"Authorization": lambda: FROM_A_FILE},
    {"Authorization": later},
    lambda: {"Authorization": FROM_A_FILE},
]


def told(error: BaseException) -> str:
    """All that a log would show of it."""
    return "".join(traceback.format_exception(error))


@pytest.mark.parametrize("value", ["", "a", "Bearer a b", "a\tb", "~", '"x", W/"y"'])
def test_what_http_allows_is_taken(value: str) -> None:
    assert Request("GET", "http://h/s", {"X-Mine": value}).headers == {"X-Mine": value}


@pytest.mark.parametrize("value", ["s3cret\n", "s3cret\r\n", " s3cret", "s3cret ", "\ts3cret", "\n"])
def test_white_space_around_a_value_is_refused_with_advice(value: str) -> None:
    with pytest.raises(
        ConfigurationError, match=r"'X-Mine' begins or ends with a line break.*Strip it"
    ) as caught:
        Request("GET", "http://h/s", {"X-Mine": value})

    assert "s3cret" not in told(caught.value)


@pytest.mark.parametrize("value", ["s3cret\r\nX-Evil: 1", "s3cret\nb", "s3crét", "s3cret\x00", "s3cret\x7fb"])
def test_other_characters_are_refused_too(value: str) -> None:
    with pytest.raises(ConfigurationError, match=r"'X-Mine' has characters in it.*printable ASCII") as caught:
        Request("GET", "http://h/s", {"X-Mine": value})

    assert "s3cret" not in told(caught.value)


@pytest.mark.parametrize("name", ["", "a b", "a:b", "a\nb", "käse"])
def test_a_header_name_must_be_a_token(name: str) -> None:
    with pytest.raises(ConfigurationError, match="name of a header"):
        Request("GET", "http://h/s", {name: "x"})


@pytest.mark.anyio
@pytest.mark.parametrize("headers", HEADERS)
async def test_a_stream_sends_nothing_with_such_a_header(headers: Headers, connect: Connect) -> None:
    async with FakeServer() as server:
        stream = connect(f"{server.url}/demo", headers=headers)

        with pytest.raises(ConfigurationError, match=r"'Authorization'.*Strip it") as caught:
            await stream.read()

    assert server.seen == []
    assert "s3cret" not in told(caught.value)


@pytest.mark.anyio
@pytest.mark.parametrize("live", ["sse", "long-poll"])
async def test_following_ends_instead_of_trying_for_ever(live: str, connect: Connect, dead_url: str) -> None:
    stream = connect(dead_url, headers={"Authorization": "Bearer s3cret "})

    with anyio.fail_after(5), pytest.raises(ConfigurationError, match="'Authorization'"):
        await anext(stream.follow(live=live))  # type: ignore[arg-type]


@pytest.mark.anyio
async def test_a_producer_fails_its_messages_instead_of_trying_for_ever(
    connect: Connect, dead_url: str
) -> None:
    stream = connect(dead_url, headers={"Authorization": "Bearer s3cret "}, content_type="application/json")

    async with IdempotentProducer(stream, "tester") as producer:
        delivery = producer.append_nowait(1)
        with anyio.fail_after(5), pytest.raises(ConfigurationError, match="'Authorization'"):
            await delivery


@pytest.mark.anyio
async def test_a_token_may_end_in_a_line_break(connect: Connect) -> None:
    async with FakeServer(page(next_offset="1")) as server:
        stream = connect(f"{server.url}/demo", headers={"Authorization": Token(lambda: "s3cret\n")})
        await stream.read()

    assert server.seen[0].headers["authorization"] == "Bearer s3cret"


@pytest.mark.anyio
async def test_our_own_headers_are_checked_like_the_users(connect: Connect, dead_url: str) -> None:
    stream = connect(dead_url, content_type="application/json\n")

    with pytest.raises(ConfigurationError, match="'Content-Type'"):
        await stream.create()


@pytest.mark.anyio
async def test_a_number_is_no_value_of_a_header(connect: Connect, dead_url: str) -> None:
    seq: Any = 5

    with pytest.raises(ConfigurationError, match="'Stream-Seq' must be a string, not int"):
        await connect(dead_url, content_type="application/json").append(1, seq=seq)


@pytest.mark.parametrize("headers", HEADERS)
def test_plain_code_is_told_the_same(headers: Headers, dead_url: str) -> None:
    with (
        blocking.DurableStream(dead_url, headers=headers) as stream,
        pytest.raises(ConfigurationError, match=r"'Authorization'.*Strip it") as caught,
    ):
        stream.read()

    assert "s3cret" not in told(caught.value)
