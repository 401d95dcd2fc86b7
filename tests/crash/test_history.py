"""Twenty clients append, read, ask and close at once; what each saw, and when, must fit one order.

Every request is recorded with the time it was sent and the time it was answered. There is one order, that of
offsets, and it respects real time: what was acknowledged before a request was sent is seen by that request.
"""

from __future__ import annotations

import asyncio
import os
import time
from collections.abc import Callable, Iterable, Sequence
from pathlib import Path
from random import Random
from typing import Final, NamedTuple

import httpx
import pytest

from support.server import ServerProcess

pytestmark = [pytest.mark.anyio, pytest.mark.crash]

SEED: Final = int(os.environ.get("TORTURE_SEED", "1"))
REQUESTS: Final = 40 + 10 * int(os.environ.get("TORTURE_SECONDS", "0"))
CLIENTS: Final = 20
WIDTH: Final = 8


@pytest.fixture
def anyio_backend() -> str:
    return "asyncio"


class Event(NamedTuple):
    """One request and what it told: the tail then, and whether the stream had ended."""

    kind: str
    sent_ns: int
    answered_ns: int
    status: int
    tail: str
    closed: bool
    body: bytes = b""
    offset: str = ""


class Seen(NamedTuple):
    """A page that a client has kept, with its tag."""

    tag: str
    tail: str
    closed: bool


async def ask(client: httpx.AsyncClient, kind: str, method: str, url: str, **request: object) -> Event:
    sent_ns = time.monotonic_ns()
    reply = await client.request(method, url, **request)  # type: ignore[arg-type]
    answered_ns = time.monotonic_ns()
    tail = reply.headers.get("stream-next-offset", "")
    closed = "stream-closed" in reply.headers
    body = reply.content if kind != "append" else b""
    return Event(kind, sent_ns, answered_ns, reply.status_code, tail, closed, body)


async def behave(
    client: httpx.AsyncClient, url: str, number: int, chance: Random, events: list[Event], closer: bool
) -> None:
    """One client's requests."""
    offset, kept = "-1", dict[str, Seen]()
    for step in range(REQUESTS):
        action = chance.choice(["append", "append", "read", "read", "head"])
        if closer and step == REQUESTS * 2 // 3:
            events.append(await ask(client, "close", "POST", url, headers={"Stream-Closed": "true"}))
        elif action == "append":
            body = b"%03d%05d" % (number, step)
            headers = {"Content-Type": "application/octet-stream"}
            event = await ask(client, "append", "POST", url, content=body, headers=headers)
            events.append(event._replace(body=body))
        elif action == "head":
            events.append(await ask(client, "head", "HEAD", url))
        else:
            known = kept.get(offset)
            headers = {"If-None-Match": known.tag} if known is not None else {}
            event, tag = await read(client, url, offset, headers)
            if event.status == 304 and known is not None:
                event = event._replace(kind="same", tail=known.tail, closed=known.closed)
            else:
                kept[offset] = Seen(tag, event.tail, event.closed)
            events.append(event._replace(offset=offset))
            offset = chance.choice(["-1", offset, event.tail])


async def read(
    client: httpx.AsyncClient, url: str, offset: str, headers: dict[str, str]
) -> tuple[Event, str]:
    sent_ns = time.monotonic_ns()
    reply = await client.get(url, params={"offset": offset}, headers=headers)
    answered_ns = time.monotonic_ns()
    tail, closed = reply.headers.get("stream-next-offset", ""), "stream-closed" in reply.headers
    event = Event("read", sent_ns, answered_ns, reply.status_code, tail, closed, reply.content)
    return event, reply.headers.get("etag", "")


def goes_back(events: Iterable[Event]) -> list[tuple[Event, Event]]:
    """Pairs of which the first was answered before the second was sent, and yet saw more."""
    ended = sorted(events, key=lambda event: event.answered_ns)
    pairs: list[tuple[Event, Event]] = []
    seen: Event | None = None
    waiting = iter(ended)
    following = next(waiting, None)
    for event in sorted(ended, key=lambda event: event.sent_ns):
        while following is not None and following.answered_ns < event.sent_ns:
            if seen is None or (following.tail, following.closed) > (seen.tail, seen.closed):
                seen = following
            following = next(waiting, None)
        if seen is not None and (event.tail, event.closed) < (seen.tail, seen.closed):
            pairs.append((seen, event))
    return pairs


def by_offset(events: Sequence[Event]) -> list[Event]:
    return sorted((e for e in events if e.kind == "append" and e.status == 204), key=lambda e: e.tail)


def wrong_reads(events: Sequence[Event], log: bytes, places: dict[str, int]) -> list[Event]:
    """Pages that are no stretch of the log."""
    return [
        event
        for event in events
        if event.kind == "read" and event.body != log[places[event.offset] : places[event.tail]]
    ]


async def test_what_twenty_clients_saw_fits_one_order(
    tmp_path: Path, record_property: Callable[[str, object], None]
) -> None:
    chance, events = Random(SEED), list[Event]()
    with ServerProcess(tmp_path / "data") as server:
        url = f"{server.url}/history"
        async with httpx.AsyncClient(timeout=60, limits=httpx.Limits(max_connections=CLIENTS)) as client:
            created = await client.put(url, headers={"Content-Type": "application/octet-stream"})
            async with asyncio.TaskGroup() as tasks:
                for number in range(CLIENTS):
                    own = Random(chance.random())
                    tasks.create_task(behave(client, url, number, own, events, closer=number == 0))
            final = await client.get(url)

    appended = by_offset(events)
    log = b"".join(event.body for event in appended)
    start = created.headers["stream-next-offset"]
    places = {"-1": 0, start: 0} | {event.tail: (n + 1) * WIDTH for n, event in enumerate(appended)}
    (close,) = (event for event in events if event.kind == "close")
    refused = [event for event in events if event.status == 409]
    assert final.content == log
    assert len({event.tail for event in appended}) == len(appended)
    assert wrong_reads(events, log, places) == []
    assert goes_back(event for event in events if event.status != 409) == []
    assert [event for event in appended if event.sent_ns > close.answered_ns] == []
    assert [event for event in refused if event.answered_ns < close.sent_ns] == []
    assert final.headers["stream-closed"] == "true"
    assert refused
    same = sum(event.kind == "same" for event in events)
    assert same
    record_property(
        "summary", f"{len(events)} requests, {len(appended)} appends, {same} times 304: one order fits all"
    )


def test_an_order_that_goes_back_is_noticed() -> None:
    first = Event("append", 1, 2, 204, "b", False)
    later = Event("read", 3, 4, 200, "a", False)
    beside = Event("read", 2, 4, 200, "a", False)

    assert goes_back([first, later]) == [(first, later)]
    assert goes_back([first, beside]) == []
