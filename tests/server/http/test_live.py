"""Long-poll and SSE over the wire (PROTOCOL §5.7, §5.8, §8)."""

from __future__ import annotations

import asyncio
import base64
import json
import re
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager

import httpx
import pytest

from support.metrics import until_readers
from support.server import ServerProcess
from support.sse_parser import Event, parse_events

pytestmark = pytest.mark.anyio

TEXT = {"Content-Type": "text/plain"}
JSON = {"Content-Type": "application/json"}
CLOSE = {"Stream-Closed": "true"}
PARKED_S = 0.05
"""Long enough for a request to have reached the server most times; nothing fails if it has not."""


@pytest.fixture(scope="module")
def brief_server() -> Iterator[ServerProcess]:
    """A server whose SSE connections are quick to send heartbeats, and end soon."""
    options = ["--heartbeat-s", "0.1", "--sse-max-age-s", "0.5", "--long-poll-timeout-s", "0.1"]
    with ServerProcess(options=options) as server:
        yield server


def control_of(event: Event) -> dict[str, object]:
    assert event.name == "control"
    fields: dict[str, object] = json.loads(event.data)
    return fields


class EventStream:
    """An SSE response, event by event."""

    def __init__(self, response: httpx.Response) -> None:
        self.response = response
        self.received = b""
        self._chunks = response.aiter_raw()

    async def events(self, count: int) -> list[Event]:
        """The first `count` events."""
        while len(parse_events(self.received)) < count:
            self.received += await anext(self._chunks)
        return parse_events(self.received)[:count]

    async def all(self) -> list[Event]:
        """All events up to the end of the response."""
        async for chunk in self._chunks:
            self.received += chunk
        return parse_events(self.received)


@asynccontextmanager
async def following(
    client: httpx.AsyncClient, url: str, offset: str = "-1", **params: str
) -> AsyncIterator[EventStream]:
    async with client.stream("GET", url, params={"offset": offset, "live": "sse", **params}) as response:
        yield EventStream(response)


async def poll(client: httpx.AsyncClient, url: str, offset: str, **params: str) -> httpx.Response:
    return await client.get(url, params={"offset": offset, "live": "long-poll", **params})


# Long-poll


async def test_a_long_poll_with_data_at_hand_answers_at_once(
    async_client: httpx.AsyncClient, url: str
) -> None:
    await async_client.put(url, headers=TEXT, content=b"abc")

    reply = await poll(async_client, url, "-1")

    assert (reply.status_code, reply.content) == (200, b"abc")
    assert reply.headers["content-type"] == "text/plain"
    assert reply.headers["stream-up-to-date"] == "true"
    assert reply.headers["cache-control"] == "no-store"
    assert re.fullmatch(r"\d+", reply.headers["stream-cursor"])


async def test_a_long_poll_without_data_times_out_with_204(async_client: httpx.AsyncClient, url: str) -> None:
    tail = (await async_client.put(url, headers=TEXT, content=b"abc")).headers["stream-next-offset"]

    reply = await poll(async_client, url, tail)

    assert (reply.status_code, reply.content) == (204, b"")
    assert reply.headers["stream-next-offset"] == tail
    assert reply.headers["stream-up-to-date"] == "true"
    assert re.fullmatch(r"\d+", reply.headers["stream-cursor"])
    assert "stream-closed" not in reply.headers
    assert "content-length" not in reply.headers


@pytest.mark.parametrize("offset", ["now", "tail"])
async def test_an_append_wakes_a_long_poll(
    async_client: httpx.AsyncClient, patient_server: ServerProcess, patient_url: str, offset: str
) -> None:
    tail = (await async_client.put(patient_url, headers=TEXT, content=b"abc")).headers["stream-next-offset"]
    polling = asyncio.create_task(poll(async_client, patient_url, tail if offset == "tail" else offset))
    await until_readers(patient_server.url, long_poll=1)

    await async_client.post(patient_url, headers=TEXT, content=b"def")

    reply = await polling
    assert (reply.status_code, reply.content) == (200, b"def")


async def test_a_close_wakes_a_long_poll(
    async_client: httpx.AsyncClient, patient_server: ServerProcess, patient_url: str
) -> None:
    await async_client.put(patient_url, headers=TEXT)
    polling = asyncio.create_task(poll(async_client, patient_url, "-1"))
    await until_readers(patient_server.url, long_poll=1)

    await async_client.post(patient_url, headers=CLOSE)

    reply = await polling
    assert (reply.status_code, reply.content) == (204, b"")
    assert reply.headers["stream-closed"] == "true"
    assert reply.headers["stream-up-to-date"] == "true"


async def test_a_delete_ends_a_long_poll(
    async_client: httpx.AsyncClient, patient_server: ServerProcess, patient_url: str
) -> None:
    await async_client.put(patient_url, headers=TEXT)
    polling = asyncio.create_task(poll(async_client, patient_url, "-1"))
    await until_readers(patient_server.url, long_poll=1)

    await async_client.delete(patient_url)

    assert (await polling).status_code == 404


async def test_a_soft_delete_ends_a_long_poll(
    async_client: httpx.AsyncClient, patient_server: ServerProcess, patient_url: str
) -> None:
    await async_client.put(patient_url, headers=TEXT)
    await async_client.put(f"{patient_url}-fork", headers={"Stream-Forked-From": httpx.URL(patient_url).path})
    polling = asyncio.create_task(poll(async_client, patient_url, "-1"))
    await until_readers(patient_server.url, long_poll=1)

    await async_client.delete(patient_url)

    assert (await polling).status_code == 410


async def test_an_append_to_the_source_does_not_wake_a_fork(
    async_client: httpx.AsyncClient, url: str
) -> None:
    await async_client.put(url, headers=TEXT)
    await async_client.put(f"{url}-fork", headers={"Stream-Forked-From": httpx.URL(url).path})
    polling = asyncio.create_task(poll(async_client, f"{url}-fork", "-1"))
    await asyncio.sleep(PARKED_S)

    await async_client.post(url, headers=TEXT, content=b"x")

    assert (await polling).status_code == 204


@pytest.mark.parametrize("delay_s", [0.0, 0.01, PARKED_S])
async def test_append_and_close_never_loses_the_last_message_to_a_long_poll(
    async_client: httpx.AsyncClient, patient_url: str, delay_s: float
) -> None:
    tail = (await async_client.put(patient_url, headers=TEXT, content=b"abc")).headers["stream-next-offset"]
    polling = asyncio.create_task(poll(async_client, patient_url, tail))
    await asyncio.sleep(delay_s)

    final = await async_client.post(patient_url, headers={**TEXT, **CLOSE}, content=b"last")

    reply = await polling
    assert (reply.status_code, reply.content) == (200, b"last")
    assert reply.headers["stream-next-offset"] == final.headers["stream-next-offset"]
    assert reply.headers["stream-closed"] == "true"


async def test_a_long_poll_at_the_end_of_a_closed_stream_answers_at_once(
    async_client: httpx.AsyncClient, url: str
) -> None:
    tail = (await async_client.put(url, headers={**TEXT, **CLOSE}, content=b"abc")).headers[
        "stream-next-offset"
    ]

    replies = [await poll(async_client, url, offset) for offset in (tail, "now")]

    assert [reply.status_code for reply in replies] == [204, 204]
    assert [reply.headers["stream-closed"] for reply in replies] == ["true", "true"]
    assert [reply.headers["stream-next-offset"] for reply in replies] == [tail, tail]


async def test_a_cursor_moves_on_when_it_is_sent_back(async_client: httpx.AsyncClient, url: str) -> None:
    await async_client.put(url, headers=TEXT, content=b"abc")
    cursor = (await poll(async_client, url, "-1")).headers["stream-cursor"]
    cursors = [int(cursor)]
    for _ in range(3):
        reply = await poll(async_client, url, "-1", cursor=str(cursors[-1]))
        cursors.append(int(reply.headers["stream-cursor"]))

    assert cursors == sorted(set(cursors))


# SSE


async def test_the_headers_of_an_event_stream(async_client: httpx.AsyncClient, url: str) -> None:
    await async_client.put(url, headers=TEXT, content=b"abc")

    async with following(async_client, url) as stream:
        reply = stream.response

    assert reply.status_code == 200
    assert reply.headers["content-type"] == "text/event-stream"
    assert "no-cache" in reply.headers["cache-control"]
    assert reply.headers["x-accel-buffering"] == "no"
    assert reply.headers["x-content-type-options"] == "nosniff"
    assert "content-length" not in reply.headers
    assert "stream-sse-data-encoding" not in reply.headers


async def test_a_data_event_is_followed_by_a_control_event_literally(
    async_client: httpx.AsyncClient, url: str
) -> None:
    tail = (await async_client.put(url, headers=TEXT, content=b"line1\n line2")).headers["stream-next-offset"]

    async with following(async_client, url) as stream:
        await stream.events(2)

    assert re.fullmatch(
        rb"event: data\ndata:line1\ndata:  line2\n\n"
        rb'event: control\ndata:\{"streamNextOffset":"%b","streamCursor":"\d+","upToDate":true\}\n\n'
        % tail.encode(),
        stream.received,
    )


async def test_an_empty_stream_says_at_once_that_it_is_up_to_date(
    async_client: httpx.AsyncClient, url: str
) -> None:
    tail = (await async_client.put(url, headers=TEXT)).headers["stream-next-offset"]

    async with following(async_client, url) as stream:
        (control,) = await stream.events(1)

    fields = control_of(control)
    assert fields.pop("streamCursor")
    assert fields == {"streamNextOffset": tail, "upToDate": True}


async def test_appends_arrive_one_after_another_each_with_its_control(
    async_client: httpx.AsyncClient, url: str
) -> None:
    await async_client.put(url, headers=JSON)
    offsets: list[str] = []
    async with following(async_client, url, "now") as stream:
        await stream.events(1)
        for n in range(5):
            reply = await async_client.post(url, headers=JSON, content=f'{{"n":{n}}}'.encode())
            offsets.append(reply.headers["stream-next-offset"])
            await stream.events(3 + 2 * n)
        events = (await stream.events(11))[1:]

    assert [json.loads(event.data) for event in events[::2]] == [[{"n": n}] for n in range(5)]
    assert [control_of(event)["streamNextOffset"] for event in events[1::2]] == offsets


async def test_binary_data_is_base64_and_says_so(async_client: httpx.AsyncClient, url: str) -> None:
    data = bytes(range(256))
    await async_client.put(url, content=data)

    async with following(async_client, url) as stream:
        event, _ = await stream.events(2)

    assert stream.response.headers["stream-sse-data-encoding"] == "base64"
    assert base64.b64decode(event.data, validate=True) == data


async def test_a_character_cut_between_appends_arrives_whole(
    async_client: httpx.AsyncClient, url: str
) -> None:
    start = (await async_client.put(url, headers=TEXT)).headers["stream-next-offset"]
    async with following(async_client, url) as stream:
        await stream.events(1)
        for byte in (b"a\xf0", b"\x9f", b"\x98", b"\x80b"):
            await async_client.post(url, headers=TEXT, content=byte)
        events = await stream.events(3)
        while events[-2].name != "data" or not events[-2].data.endswith("b"):
            events = await stream.events(len(events) + 1)

    data = [event.data for event in events if event.name == "data"]
    controls = [control_of(event) for event in events if event.name == "control"]
    assert "".join(data) == "a😀b"
    assert start < str(controls[1]["streamNextOffset"])
    assert controls[-1]["upToDate"] is True


async def test_a_reader_can_resume_inside_a_character_that_was_held_back(
    async_client: httpx.AsyncClient, url: str
) -> None:
    await async_client.put(url, headers=TEXT, content="a😀".encode()[:3])
    async with following(async_client, url) as stream:
        _, control = await stream.events(2)
    await async_client.post(url, headers=TEXT, content="a😀".encode()[3:])

    async with following(async_client, url, str(control_of(control)["streamNextOffset"])) as stream:
        event, _ = await stream.events(2)

    assert event.data == "😀"
    assert "upToDate" not in control_of(control)


async def test_bytes_that_are_no_text_do_not_end_a_text_stream(
    async_client: httpx.AsyncClient, url: str
) -> None:
    await async_client.put(url, headers=TEXT, content=b"a\xff")
    await async_client.post(url, headers={**TEXT, **CLOSE}, content=b"b\xc3")

    async with following(async_client, url) as stream:
        events = await stream.all()

    assert "".join(event.data for event in events if event.name == "data") == "a\ufffdb\ufffd"
    assert control_of(events[-1])["streamClosed"] is True


async def test_a_long_stream_comes_in_pages_and_only_the_last_is_up_to_date(
    async_client: httpx.AsyncClient, url: str
) -> None:
    await async_client.put(url, headers=TEXT)
    for n in range(4):
        await async_client.post(url, headers=TEXT, content=str(n).encode() * 500_000)

    async with following(async_client, url) as stream:
        events = await stream.events(4)

    assert events[0].data + events[2].data == "".join(str(n) * 500_000 for n in range(4))
    assert ["upToDate" in control_of(event) for event in events[1::2]] == [False, True]


async def test_a_close_ends_the_connection_without_a_cursor(
    async_client: httpx.AsyncClient, url: str
) -> None:
    tail = (await async_client.put(url, headers=TEXT, content=b"abc")).headers["stream-next-offset"]
    async with following(async_client, url) as stream:
        await stream.events(2)
        await async_client.post(url, headers=CLOSE)
        events = await stream.all()

    assert control_of(events[-1]) == {"streamNextOffset": tail, "upToDate": True, "streamClosed": True}
    assert len(events) == 3


@pytest.mark.parametrize("delay_s", [0.0, 0.01, PARKED_S])
async def test_append_and_close_never_loses_the_last_message_to_a_live_reader(
    async_client: httpx.AsyncClient, url: str, delay_s: float
) -> None:
    await async_client.put(url, headers=TEXT, content=b"abc")

    async def follow() -> list[Event]:
        async with following(async_client, url, "now") as stream:
            return await stream.all()

    reading = asyncio.create_task(follow())
    await asyncio.sleep(delay_s)
    final = await async_client.post(url, headers={**TEXT, **CLOSE}, content=b"last")

    events = await reading
    assert [event.data for event in events if event.name == "data"] in (["last"], [])
    last = control_of(events[-1])
    assert last["streamNextOffset"] == final.headers["stream-next-offset"]
    assert last["streamClosed"] is True
    seen_before = [control_of(event)["streamNextOffset"] for event in events if event.name == "control"]
    assert (len(seen_before) > 1) is any(event.name == "data" for event in events)


@pytest.mark.parametrize("offset", ["-1", "now"])
async def test_a_closed_stream_is_read_to_its_end_at_once(
    async_client: httpx.AsyncClient, url: str, offset: str
) -> None:
    tail = (await async_client.put(url, headers={**JSON, **CLOSE}, content=b"[1,2]")).headers[
        "stream-next-offset"
    ]

    async with following(async_client, url, offset) as stream:
        events = await stream.all()

    assert [event.data for event in events if event.name == "data"] == {"-1": ["[1,2]"], "now": []}[offset]
    assert control_of(events[-1]) == {"streamNextOffset": tail, "upToDate": True, "streamClosed": True}


async def test_a_delete_ends_the_connection(async_client: httpx.AsyncClient, url: str) -> None:
    await async_client.put(url, headers=TEXT)
    async with following(async_client, url) as stream:
        await stream.events(1)
        await async_client.delete(url)
        events = await stream.all()

    assert len(events) == 1


async def test_all_readers_of_a_stream_get_everything(async_client: httpx.AsyncClient, url: str) -> None:
    await async_client.put(url, headers=JSON)

    async def follow(offset: str) -> list[int]:
        async with following(async_client, url, offset) as stream:
            events = await stream.all()
        return [n for event in events if event.name == "data" for n in json.loads(event.data)]

    readers = [asyncio.create_task(follow("-1")) for _ in range(20)]
    await asyncio.sleep(PARKED_S)
    for n in range(30):
        await async_client.post(url, headers=JSON, content=str(n).encode())
    await async_client.post(url, headers=CLOSE)

    assert [await reader for reader in readers] == [list(range(30))] * 20


async def test_a_fork_delivers_inherited_data_and_then_its_own(
    async_client: httpx.AsyncClient, url: str
) -> None:
    await async_client.put(url, headers=TEXT, content=b"source")
    await async_client.put(f"{url}-fork", headers={"Stream-Forked-From": httpx.URL(url).path})
    async with following(async_client, f"{url}-fork") as stream:
        await stream.events(2)
        await async_client.post(url, headers=TEXT, content=b"never seen")
        await async_client.post(f"{url}-fork", headers=TEXT, content=b"fork")
        events = await stream.events(4)

    assert [event.data for event in events if event.name == "data"] == ["source", "fork"]


async def test_a_json_offset_inside_a_message_is_400_and_no_event_stream(
    async_client: httpx.AsyncClient, url: str
) -> None:
    tail = (await async_client.put(url, headers=JSON, content=b'{"a":1}')).headers["stream-next-offset"]

    async with following(async_client, url, f"{tail[:-1]}3") as stream:
        assert stream.response.status_code == 400


async def test_silence_is_broken_by_a_comment(
    async_client: httpx.AsyncClient, brief_server: ServerProcess
) -> None:
    url = f"{brief_server.url}/silent"
    await async_client.put(url, headers=TEXT)

    async with following(async_client, url) as stream:
        await stream.all()

    assert stream.received.endswith(b"\n\n:\n\n")
    assert 1 <= stream.received.count(b":\n\n") <= 6


async def test_a_connection_ends_after_its_time_with_a_control_event_as_its_last(
    async_client: httpx.AsyncClient, brief_server: ServerProcess
) -> None:
    url = f"{brief_server.url}/brief"
    await async_client.put(url, headers=TEXT, content=b"abc")

    async with following(async_client, url) as stream:
        events = await stream.all()

    assert [event.name for event in events] == ["data", "control"]
    assert "streamClosed" not in control_of(events[-1])


async def test_a_busy_connection_ends_after_its_time_too_and_can_be_resumed(
    async_client: httpx.AsyncClient, brief_server: ServerProcess
) -> None:
    url = f"{brief_server.url}/busy"
    await async_client.put(url, headers=JSON)

    async def write() -> None:
        for n in range(60):
            await async_client.post(url, headers=JSON, content=str(n).encode())
            await asyncio.sleep(0.02)
        await async_client.post(url, headers=CLOSE)

    writing = asyncio.create_task(write())
    numbers: list[int] = []
    last: dict[str, object] = {"streamNextOffset": "-1"}
    connections = 0
    while "streamClosed" not in last:
        async with following(async_client, url, str(last["streamNextOffset"])) as stream:
            events = await stream.all()
        connections += 1
        last = control_of(events[-1])
        numbers += [n for event in events if event.name == "data" for n in json.loads(event.data)]
    await writing

    assert numbers == list(range(60))
    assert connections > 1
