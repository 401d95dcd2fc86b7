"""`DurableStream.fork`, and the headers that it sends."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest

from durafold.client import NOW, Checkpoint, DurableStream, Offset
from durafold.client.creation import fork_headers, fork_url
from durafold.errors import BadRequest, ConfigurationError, StreamConflict, StreamNotFound

pytestmark = pytest.mark.anyio

Connect = Callable[..., DurableStream]

SOURCE = "http://h:1/v1/stream/a/b"


async def test_a_fork_begins_with_what_is_there_and_goes_its_own_way(stream: DurableStream) -> None:
    await stream.append(1)

    async with await stream.fork(f"{stream.url.rpartition('/')[2]}-0") as fork:
        await fork.append("fork")
        await stream.append("source")

        assert await fork.read_json() == [1, "fork"]
        assert await stream.read_json() == [1, "source"]
        assert fork.url == f"{stream.url}-0"


async def test_a_fork_may_branch_off_earlier_and_within_a_batch(stream: DurableStream) -> None:
    first = await stream.append("a")
    await stream.append_many(["b", "c", "d"])

    async with (
        await stream.fork(f"{stream.url}-1", offset=first.next_offset) as at_offset,
        await stream.fork(f"{stream.url}-2", offset=first.next_offset, sub_offset=2) as behind_it,
    ):
        assert await at_offset.read_json() == ["a"]
        assert await behind_it.read_json() == ["a", "b", "c"]


async def test_a_fork_may_branch_off_where_a_reader_stands(stream: DurableStream) -> None:
    await stream.append("a")
    first = await stream.head()
    await stream.append_many(["b", "c", "d"])
    follower = stream.follow(first.next_offset, live="off")
    await anext(follower.iter_json())

    async with await stream.fork(f"{stream.url}-3", offset=follower.checkpoint) as fork:
        assert await fork.read_json() == ["a", "b"]


async def test_a_fork_may_have_content_and_a_lifetime_of_its_own(stream: DurableStream) -> None:
    await stream.append(1)

    async with await stream.fork(f"{stream.url}-4", body=2, ttl_s=600, closed=True) as fork:
        info = await fork.head()

        assert await fork.read_json() == [1, 2]
        assert (info.closed, info.ttl_s) == (True, 600)


async def test_a_place_that_the_source_does_not_have_is_refused(stream: DurableStream) -> None:
    first = await stream.append(1)

    with pytest.raises(BadRequest):
        await stream.fork(f"{stream.url}-5", offset=first.next_offset, sub_offset=9)


async def test_a_fork_of_nothing_is_not_found(url: str, connect: Connect) -> None:
    with pytest.raises(StreamNotFound):
        await connect(url, content_type="application/json").fork(f"{url}-6")


async def test_a_fork_does_not_replace_a_stream(stream: DurableStream, url: str, connect: Connect) -> None:
    other = connect(f"{url}-7")
    await other.create()

    with pytest.raises(StreamConflict):
        await stream.fork(other.url)


@pytest.mark.parametrize(
    ("offset", "sub_offset", "headers"),
    [
        (None, None, {}),
        (NOW, None, {}),
        ("0001", None, {"Stream-Fork-Offset": "0001"}),
        ("0001", 0, {"Stream-Fork-Offset": "0001", "Stream-Fork-Sub-Offset": "0"}),
        (Checkpoint(Offset("0001"), 2), None, {"Stream-Fork-Offset": "0001", "Stream-Fork-Sub-Offset": "2"}),
        (Checkpoint(Offset("0001")), None, {"Stream-Fork-Offset": "0001"}),
    ],
)
def test_the_place_goes_into_headers(offset: Any, sub_offset: int | None, headers: dict[str, str]) -> None:
    assert fork_headers(SOURCE, offset, sub_offset) == {"Stream-Forked-From": "/v1/stream/a/b", **headers}


@pytest.mark.parametrize(
    ("offset", "sub_offset"), [(None, 1), ("a b", None), ("0001", -1), (Checkpoint(Offset("0001"), 1), 1)]
)
def test_an_impossible_place_is_refused_before_anything_is_sent(offset: Any, sub_offset: int | None) -> None:
    with pytest.raises(ConfigurationError):
        fork_headers(SOURCE, offset, sub_offset)


@pytest.mark.parametrize(
    ("target", "url"),
    [
        ("c", "http://h:1/v1/stream/a/c"),
        ("/v1/stream/c", "http://h:1/v1/stream/c"),
        ("http://h:1/v1/stream/c", "http://h:1/v1/stream/c"),
    ],
)
def test_the_address_of_a_fork_may_be_relative(target: str, url: str) -> None:
    assert fork_url(SOURCE, target) == url


def test_parameters_of_the_source_are_kept() -> None:
    assert fork_url(f"{SOURCE}?tenant=x", "c") == "http://h:1/v1/stream/a/c?tenant=x"


def test_a_fork_on_another_server_is_refused() -> None:
    with pytest.raises(ConfigurationError, match="server of its source"):
        fork_url(SOURCE, "http://other/v1/stream/c")
