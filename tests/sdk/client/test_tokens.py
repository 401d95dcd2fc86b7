"""`Token`: fetched once for all who wait, kept, and fetched anew when a server refuses it."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import anyio
import pytest

from durafold.client import DurableStream, IdempotentProducer, Token
from durafold.errors import TransportError, Unauthorized
from support.fake_server import Answer, FakeServer, Seen, page

pytestmark = pytest.mark.anyio

Connect = Callable[..., DurableStream]

ACCEPTED = {"Stream-Next-Offset": "0001", "Producer-Epoch": "0", "Producer-Seq": "0"}


class Issuer:
    """Gives out `t1`, `t2` ... and counts how many fetches were under way at once."""

    def __init__(self, pause_s: float = 0.01) -> None:
        self._pause_s = pause_s
        self.count = 0
        self.most_at_once = 0
        self._at_once = 0

    async def __call__(self) -> str:
        self.count += 1
        self._at_once += 1
        self.most_at_once = max(self.most_at_once, self._at_once)
        await anyio.sleep(self._pause_s)
        self._at_once -= 1
        return f"t{self.count}"


def valid_from(oldest: int, accepted: Answer) -> Callable[[Seen], Answer]:
    """A server that knows the tokens from a number on."""

    def answer(seen: Seen) -> Answer:
        number = int(seen.headers["authorization"].removeprefix("Bearer t"))
        return accepted if number >= oldest else Answer(401, {}, (b"expired",), length=7)

    return answer


async def test_it_is_fetched_once_and_kept(connect: Connect) -> None:
    issuer = Issuer()
    async with FakeServer(otherwise=page(next_offset="0001")) as server:
        stream = connect(f"{server.url}/demo", headers={"Authorization": Token(issuer)})
        await stream.read()
        await stream.read()

    assert [seen.headers["authorization"] for seen in server.seen] == ["Bearer t1", "Bearer t1"]
    assert issuer.count == 1


async def test_a_refused_one_is_replaced_and_the_request_sent_again(connect: Connect) -> None:
    async with FakeServer(otherwise=valid_from(2, page(next_offset="0001"))) as server:
        stream = connect(f"{server.url}/demo", headers={"Authorization": Token(Issuer())})
        await stream.read()

    assert [seen.headers["authorization"] for seen in server.seen] == ["Bearer t1", "Bearer t2"]


@pytest.mark.parametrize("is_async", [False, True])
async def test_a_token_in_a_mapping_that_a_function_returns_is_replaced_too(
    is_async: bool, connect: Connect
) -> None:
    token = Token(Issuer())

    def headers() -> dict[str, Token]:
        return {"Authorization": token}

    async def headers_later() -> dict[str, Token]:
        return headers()

    async with FakeServer(otherwise=valid_from(2, page(next_offset="0001"))) as server:
        stream = connect(f"{server.url}/demo", headers=headers_later if is_async else headers)
        await stream.read()

    assert [seen.headers["authorization"] for seen in server.seen] == ["Bearer t1", "Bearer t2"]


async def test_a_token_in_a_query_parameter_is_replaced_too(connect: Connect) -> None:
    expired = Answer(401, {}, (b"expired",), length=7)
    async with FakeServer(expired, page(next_offset="0001")) as server:
        stream = connect(f"{server.url}/demo", params={"key": Token(Issuer(), scheme="")})
        await stream.read()

    assert [seen.param("key") for seen in server.seen] == ["t1", "t2"]


async def test_many_refusals_at_once_cause_one_fetch(connect: Connect) -> None:
    issuer = Issuer(pause_s=0.05)
    token = Token(issuer)
    async with FakeServer(otherwise=valid_from(2, page(next_offset="0001"))) as server:
        streams = [connect(f"{server.url}/{n}", headers={"Authorization": token}) for n in range(20)]
        async with anyio.create_task_group() as tasks:
            for stream in streams:
                tasks.start_soon(stream.read)

    assert issuer.count == 2
    assert issuer.most_at_once == 1


async def test_a_refusal_of_the_new_one_is_raised(connect: Connect) -> None:
    async with FakeServer(otherwise=valid_from(9, page(next_offset="0001"))) as server:
        stream = connect(f"{server.url}/demo", headers={"Authorization": Token(Issuer())})
        with pytest.raises(Unauthorized):
            await stream.read()

    assert len(server.seen) == 2


async def test_a_fixed_header_is_not_tried_twice(connect: Connect) -> None:
    async with FakeServer(otherwise=valid_from(9, page(next_offset="0001"))) as server:
        with pytest.raises(Unauthorized):
            await connect(f"{server.url}/demo", headers={"Authorization": "Bearer t1"}).read()

    assert len(server.seen) == 1


async def test_a_follower_and_a_producer_use_the_new_one(connect: Connect) -> None:
    closed = page(b"[1]", next_offset="0001", closed=True)

    def answer(seen: Seen) -> Answer:
        accepted = closed if seen.method == "GET" else Answer(200, ACCEPTED, length=0)
        return valid_from(2, accepted)(seen)

    for_each: dict[str, Any] = {"content_type": "application/json"}
    async with FakeServer(otherwise=answer) as server:
        follower = connect(f"{server.url}/a", headers={"Authorization": Token(Issuer())}, **for_each).follow()
        received = [message async for message in follower.iter_json()]
        writer = connect(f"{server.url}/b", headers={"Authorization": Token(Issuer())}, **for_each)
        async with IdempotentProducer(writer, "tester") as producer:
            await (await producer.append(1))

    assert received == [1]
    assert [seen.headers["authorization"] for seen in server.seen] == ["Bearer t1", "Bearer t2"] * 2


async def test_a_fetch_that_fails_is_a_failed_attempt_and_the_next_request_tries_again(
    connect: Connect,
) -> None:
    outcomes = iter([OSError("no network"), "t1"])

    def fetch() -> str:
        outcome = next(outcomes)
        if isinstance(outcome, OSError):
            raise outcome
        return outcome

    async with FakeServer(otherwise=page(next_offset="0001")) as server:
        await connect(f"{server.url}/demo", headers={"Authorization": Token(fetch)}).read()

    assert len(server.seen) == 1


async def test_the_scheme_may_be_left_out() -> None:
    assert await Token(lambda: "secret", scheme="")() == "secret"


async def test_what_fetch_raises_is_named(connect: Connect, dead_url: str) -> None:
    def fetch() -> str:
        raise LookupError("no account")

    with pytest.raises(TransportError, match="no account"):
        await connect(dead_url, headers={"Authorization": Token(fetch)}).read()
