"""The stream of streams that some servers keep: `__registry__`, in the form of the State Protocol."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, Final

import anyio

from durafold_server.conformance.check import Topic
from durafold_server.conformance.exchange import Failure, TooSlow, expect_equal, expect_that
from durafold_server.conformance.target import JSON, Server, Stream

_GIVE_UP_S: Final = 5.0


def _registry(server: Server) -> Stream:
    # Not made with `server.at`: the clean-up must not delete it.
    return Stream(server, f"{server.root}/__registry__", JSON)


async def _missing(server: Server) -> str | None:
    # Some servers make it when the first stream is made.
    await server.create()
    status = (await _registry(server).head()).status
    return None if status == 200 else f"the server has no __registry__ stream (HEAD answers {status})"


REGISTRY: Final = Topic("registry", "11", "Registry (optional)", probe=_missing)


async def _told_since(server: Server, offset: str) -> list[dict[str, Any]]:
    """What the registry told after an offset.

    Raises:
        TooSlow: it no longer has that: a registry may let go of what it told about streams that are gone.
    """
    try:
        return await _registry(server).messages(offset)
    except Failure as failure:
        if (await _registry(server).get(offset)).status == 410:
            raise TooSlow(failure) from failure
        raise


async def _changes(
    server: Server, stream: Stream, offset: str, operations: Sequence[str]
) -> list[dict[str, Any]]:
    """The changes of a stream that the registry told, once it has told that many."""
    key = stream.path.removeprefix(f"{server.root}/")
    found: list[dict[str, Any]] = []
    with anyio.move_on_after(_GIVE_UP_S):
        while len(found) < len(operations):
            messages = await _told_since(server, offset)
            found = [message for message in messages if message.get("key") == key]
            await anyio.sleep(0.02)
    came = [message.get("headers", {}).get("operation") for message in found]
    expect_equal(came, list(operations), f"the operations on {key}")
    return found


@REGISTRY.quality("State Protocol")
async def the_registry_is_a_json_stream(server: Server) -> None:
    (await _registry(server).head()).expect(200).expect_header("Content-Type", JSON)
    for message in await _registry(server).messages():
        expect_that(message.get("type") == "stream", "changes of type stream", message)


@REGISTRY.quality("State Protocol")
async def a_new_stream_is_told(server: Server) -> None:
    offset = await _registry(server).tail()
    stream = await server.create("text/csv")
    (change,) = await _changes(server, stream, offset, ["insert"])
    value = change.get("value")
    if not isinstance(value, dict):
        raise Failure("an object as value", str(change))
    expect_equal(value.get("path"), stream.path.removeprefix(f"{server.root}/"), "path")
    expect_equal(value.get("contentType"), "text/csv", "contentType")
    created_at = value.get("createdAt")
    expect_that(isinstance(created_at, int) and created_at > 1_600_000_000_000, "createdAt in ms", created_at)


@REGISTRY.quality("State Protocol")
async def a_confirmed_stream_is_told_once(server: Server) -> None:
    offset = await _registry(server).tail()
    stream = await server.create()
    (await stream.put()).expect(200)
    (await stream.put(content_type=JSON)).expect(409)
    (await stream.delete()).expect(204)
    await _changes(server, stream, offset, ["insert", "delete"])


@REGISTRY.quality("State Protocol")
async def a_deleted_stream_is_told(server: Server) -> None:
    offset = await _registry(server).tail()
    stream = await server.create()
    (await stream.delete()).expect(204)
    (await stream.delete()).expect(404)
    await _changes(server, stream, offset, ["insert", "delete"])


@REGISTRY.quality("State Protocol")
async def a_fork_is_told(server: Server) -> None:
    offset = await _registry(server).tail()
    fork = await server.fork(await server.create())
    await _changes(server, fork, offset, ["insert"])


@REGISTRY.quality("State Protocol")
async def appends_are_not_told(server: Server) -> None:
    offset = await _registry(server).tail()
    stream = await server.create()
    await stream.append(b"data")
    (await stream.delete()).expect(204)
    await _changes(server, stream, offset, ["insert", "delete"])


@REGISTRY.quality("State Protocol")
async def the_registry_can_be_followed(server: Server) -> None:
    registry = _registry(server)
    async with registry.events("now") as events:
        await events.to_tail()
        stream = await server.create()
        key = stream.path.removeprefix(f"{server.root}/")
        with anyio.fail_after(_GIVE_UP_S):
            while not any(key in data for batch in await events.news() for data in batch.data):
                pass
