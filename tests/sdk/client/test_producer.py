"""`IdempotentProducer`: exactly once and in order, over real servers and networks that lose things."""

from __future__ import annotations

import random
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from itertools import count
from typing import Any

import anyio
import pytest

from durafold.client import (
    AppendResult,
    Backoff,
    ClientSettings,
    Delivery,
    DurableStream,
    IdempotentProducer,
)
from durafold.errors import (
    BadRequest,
    BufferFull,
    ConfigurationError,
    ConnectFailed,
    FencedError,
    Forbidden,
    PayloadTooLarge,
    ProducerClosed,
    SequenceConflict,
    StreamClosed,
    StreamConflict,
    StreamNotFound,
    Unauthorized,
)
from durafold.testing import ServerProcess
from support.fake_server import Answer, FakeServer, Seen
from support.proxy import Cut, Delay, Fault, FaultProxy, Ghost, LoseReply, Refuse, some_of
from support.waiting import PATIENCE_S, eventually

pytestmark = pytest.mark.anyio

Connect = Callable[..., DurableStream]


@asynccontextmanager
async def producing(stream: DurableStream, **options: Any) -> AsyncIterator[IdempotentProducer]:
    """A producer that must be done within a few seconds."""
    with anyio.fail_after(PATIENCE_S):
        async with IdempotentProducer(stream, "tester", **options) as producer:
            yield producer


def accepted(seen: Seen) -> Answer:
    """What a server says to a batch that it had not."""
    headers = {name: seen.headers[name.lower()] for name in ("Producer-Epoch", "Producer-Seq")}
    return Answer(200, {**headers, "Stream-Next-Offset": "1"}, length=0)


def refused(status: int, **headers: str) -> Answer:
    return Answer(status, {name.replace("_", "-"): value for name, value in headers.items()}, length=0)


def numbers(server: FakeServer) -> list[tuple[str, str, bytes]]:
    """Epoch, sequence number and body of all requests."""
    return [(s.headers["producer-epoch"], s.headers["producer-seq"], s.body) for s in server.seen]


# ---- the ordinary course ----


async def test_messages_arrive_in_the_order_of_the_calls(stream: DurableStream) -> None:
    async with producing(stream) as producer:
        deliveries = [producer.append_nowait({"n": n}) for n in range(100)]
        results = [await delivery for delivery in deliveries]

    assert await stream.read_json() == [{"n": n} for n in range(100)]
    assert results[-1].next_offset == (await stream.head()).next_offset
    assert not any(result.duplicate for result in results)


async def test_leaving_the_context_waits_for_delivery(stream: DurableStream) -> None:
    async with producing(stream) as producer:
        delivery = producer.append_nowait(1)
        assert not delivery.done
        assert producer.pending_count == 1

    assert delivery.result is not None
    assert producer.pending_count == 0
    assert await stream.read_json() == [1]


async def test_what_waits_while_requests_are_under_way_goes_out_together(stream: DurableStream) -> None:
    async with producing(stream, max_in_flight=1) as producer:
        await producer.append(0)
        await anyio.sleep(0)
        for n in range(1, 500):
            producer.append_nowait(n)
        await producer.flush()

        assert producer.next_seq <= 3
    assert await stream.read_json() == list(range(500))


async def test_lingering_collects_messages_that_come_one_by_one(stream: DurableStream) -> None:
    async with producing(stream, linger_s=60.0) as producer:
        for n in range(10):
            await producer.append(n)
            await anyio.sleep(0.001)
        await producer.flush()

        assert producer.next_seq == 1


async def test_a_full_batch_does_not_linger(stream: DurableStream) -> None:
    async with producing(stream, linger_s=60.0, max_batch_bytes=10) as producer:
        first = await producer.append("x" * 5)
        await anyio.sleep(0.01)
        await producer.append("y" * 5)

        await first


async def test_ready_messages_are_sent_as_they_are(stream: DurableStream) -> None:
    async with producing(stream) as producer:
        producer.append_nowait(encoded=b'{"big": 9007199254740993}')
        producer.append_nowait([1, 2])

    assert await stream.read_bytes() == b'[{"big": 9007199254740993},[1,2]]'


async def test_a_byte_stream_takes_bytes_and_text(url: str, connect: Connect) -> None:
    stream = connect(url)
    await stream.create(content_type="application/octet-stream")

    async with producing(connect(url)) as producer:
        producer.append_nowait(b"\x00\xff")
        producer.append_nowait("text")

    assert await stream.read_bytes() == b"\x00\xfftext"


async def test_several_requests_are_in_flight_at_once(stream: DurableStream) -> None:
    async with (
        FaultProxy(stream.url) as proxy,
        DurableStream(proxy.url, content_type="application/json") as slow,
        producing(slow, max_batch_bytes=1, max_in_flight=4) as producer,
    ):
        await (await producer.append(0))
        proxy.plan = lambda: Delay(0.2)
        deliveries = [producer.append_nowait(n) for n in range(1, 9)]
        await eventually(lambda: producer.in_flight_count == 4)
        await deliveries[-1]

    assert await stream.read_json() == list(range(9))


async def test_a_producer_can_close_its_stream_behind_its_messages(stream: DurableStream) -> None:
    async with producing(stream) as producer:
        producer.append_nowait(1)
        result = await producer.close_stream({"last": True})

        with pytest.raises(StreamClosed):
            producer.append_nowait(2)
    info = await stream.head()
    assert info.closed
    assert info.next_offset == result.final_offset
    assert await stream.read_json() == [1, {"last": True}]


async def test_a_producer_can_close_without_a_message_and_although_it_is_closed(
    stream: DurableStream,
) -> None:
    async with producing(stream) as producer:
        await producer.append(1)
        await producer.flush()
        await stream.close()

        result = await producer.close_stream()

    assert result.final_offset == (await stream.head()).next_offset


async def test_on_done_is_told_the_outcome_and_what_it_raises_hurts_nobody(
    stream: DurableStream, caplog: pytest.LogCaptureFixture
) -> None:
    done: list[Delivery] = []

    def object_to(delivery: Delivery) -> None:
        done.append(delivery)
        raise LookupError("no")

    async with producing(stream) as producer:
        delivery = producer.append_nowait(1, on_done=object_to)
        await delivery

    assert done == [delivery]
    assert "on_done of a delivery raised" in caplog.text


# ---- the buffer ----


async def test_a_full_buffer_refuses_or_makes_wait(stream: DurableStream) -> None:
    async with (
        FaultProxy(stream.url) as proxy,
        DurableStream(proxy.url, content_type="application/json") as slow,
    ):
        proxy.script(Delay(0.1))
        async with producing(slow, max_buffered_bytes=10) as producer:
            first = producer.append_nowait("x" * 8)
            with pytest.raises(BufferFull, match="append"):
                producer.append_nowait("y")

            second = await producer.append("y")

            assert first.done
            await second
    assert await stream.read_json() == ["x" * 8, "y"]


async def test_waiting_appends_keep_their_order(stream: DurableStream) -> None:
    async with producing(stream, max_buffered_bytes=1) as producer, anyio.create_task_group() as tasks:
        for n in range(20):
            tasks.start_soon(producer.append, n)
            await anyio.sleep(0)

    assert await stream.read_json() == list(range(20))


async def test_a_message_larger_than_the_buffer_is_taken_alone(stream: DurableStream) -> None:
    async with producing(stream, max_buffered_bytes=10) as producer:
        await producer.append("x" * 100)

    assert await stream.read_json() == ["x" * 100]


# ---- life ----


async def test_it_must_be_entered_before_use_and_not_be_used_after_it_was_left(stream: DurableStream) -> None:
    producer = IdempotentProducer(stream, "tester")
    with pytest.raises(ProducerClosed, match="async with"):
        producer.append_nowait(1)

    async with producer:
        pass

    with pytest.raises(ProducerClosed):
        await producer.append(1)
    with pytest.raises(ConfigurationError, match="only once"):
        await producer.__aenter__()


async def test_cancelling_stops_without_waiting(dead_url: str, settings: ClientSettings) -> None:
    producer = IdempotentProducer(
        DurableStream(dead_url, content_type="application/json", settings=settings), "tester"
    )
    done: list[Delivery] = []

    with anyio.move_on_after(0.1) as scope:
        async with producer:
            producer.append_nowait(1, on_done=done.append)

    assert scope.cancelled_caught
    assert isinstance(done[0].error, ProducerClosed)


async def test_an_exception_in_the_body_comes_out_as_it_is_and_messages_are_delivered(
    stream: DurableStream,
) -> None:
    async def fail_behind_a_message() -> None:
        async with producing(stream) as producer:
            producer.append_nowait(1)
            raise LookupError("mine")

    with pytest.raises(LookupError, match="mine"):
        await fail_behind_a_message()

    assert await stream.read_json() == [1]


async def test_entering_asks_for_an_unknown_content_type(url: str, connect: Connect) -> None:
    with pytest.raises(StreamNotFound):
        async with IdempotentProducer(connect(url), "tester"):
            pass


@pytest.mark.parametrize(
    ("producer_id", "options"),
    [
        ("", {}),
        ("a\nb", {}),
        ("käse", {}),
        ("a ", {}),
        ("a", {"epoch": -1}),
        ("a", {"epoch": 2**53}),
        ("a", {"max_in_flight": 0}),
        ("a", {"max_batch_bytes": 0}),
    ],
)
def test_impossible_arguments_are_refused(producer_id: str, options: dict[str, Any]) -> None:
    with pytest.raises(ConfigurationError):
        IdempotentProducer(DurableStream("http://h/s"), producer_id, **options)


# ---- lost answers ----


async def test_a_lost_answer_does_not_double_the_message(stream: DurableStream, connect: Connect) -> None:
    async with FaultProxy(stream.url) as proxy:
        proxy.script(LoseReply(), LoseReply())
        async with producing(connect(proxy.url, content_type="application/json")) as producer:
            result = await (await producer.append(1))

    assert result.duplicate
    assert await stream.read_json() == [1]


@pytest.mark.parametrize("seed", range(3))
async def test_whatever_the_network_does_each_message_is_written_once_and_in_order(
    seed: int, stream: DurableStream, connect: Connect
) -> None:
    rng = random.Random(seed)
    faults: list[Fault] = [Refuse(), LoseReply(), Cut(20), Delay(0.01), Ghost(0.02), Ghost(0.1)]

    async with FaultProxy(stream.url, plan=some_of(rng, faults, share=0.5)) as proxy:
        through = connect(proxy.url, content_type="application/json")
        async with producing(through, max_batch_bytes=40) as producer:
            for n in range(150):
                await producer.append(n)
                await anyio.sleep(0)

    assert await stream.read_json() == list(range(150))


async def test_a_close_whose_answer_was_lost_is_recognised(stream: DurableStream, connect: Connect) -> None:
    async with FaultProxy(stream.url) as proxy:
        proxy.script(LoseReply())
        async with producing(connect(proxy.url, content_type="application/json")) as producer:
            await producer.close_stream("end")

    assert await stream.read_json() == ["end"]


@pytest.mark.crash
async def test_a_killed_server_neither_loses_nor_doubles_what_a_producer_sends(
    durable_server: ServerProcess, connect: Connect
) -> None:
    patient = ClientSettings(backoff=Backoff(first_s=0.02, max_s=0.1))
    stream = connect(f"{durable_server.url}/demo", settings=patient)
    await stream.create()

    async def crash_twice() -> None:
        for _ in range(2):
            await anyio.sleep(0.1)
            durable_server.kill()
            await anyio.to_thread.run_sync(durable_server.restart)

    results: list[AppendResult] = []
    async with producing(stream, max_batch_bytes=50) as producer, anyio.create_task_group() as tasks:
        tasks.start_soon(crash_twice)
        deliveries = []
        for n in range(400):
            deliveries.append(await producer.append(n))
            await anyio.sleep(0.001)
        results += [await delivery for delivery in deliveries]

    assert await stream.read_json() == list(range(400))
    assert len(results) == 400


async def test_a_server_that_is_not_there_yet_is_waited_for(dead_url: str, settings: ClientSettings) -> None:
    stream = DurableStream(dead_url, content_type="application/json", settings=settings)

    with anyio.move_on_after(0.1) as scope:
        async with IdempotentProducer(stream, "tester") as producer:
            await (await producer.append(1))

    assert scope.cancelled_caught
    with pytest.raises(ConnectFailed):
        await stream.head()


@pytest.mark.parametrize("status", [408, 429, 500, 502, 503, 507])
async def test_errors_that_may_pass_are_waited_out_with_the_same_numbers(
    status: int, connect: Connect
) -> None:
    async with FakeServer(*[refused(status, Retry_After="0")] * 5, otherwise=accepted) as server:
        stream = connect(f"{server.url}/demo", content_type="application/json")
        async with producing(stream) as producer:
            first = await producer.append(1)
            await anyio.sleep(0.02)
            await producer.append(2)
            await first

    assert numbers(server) == [("0", "0", b"[1]")] * 6 + [("0", "1", b"[2]")]


async def test_a_login_page_is_not_taken_for_a_confirmation(connect: Connect) -> None:
    async with FakeServer(Answer(200, {}, (b"<html>",), length=6), otherwise=accepted) as server:
        stream = connect(f"{server.url}/demo", content_type="application/json")
        async with producing(stream) as producer:
            await producer.append(1)

    assert numbers(server) == [("0", "0", b"[1]")] * 2


# ---- refusals of a message ----


async def test_only_the_guilty_message_of_a_batch_fails(stream: DurableStream) -> None:
    async with producing(stream) as producer:
        deliveries = [producer.append_nowait(n) for n in range(5)]
        guilty = producer.append_nowait(encoded=b'{"unclosed":')
        deliveries += [producer.append_nowait(n) for n in range(5, 10)]
        with pytest.raises(BadRequest):
            await guilty
        for delivery in deliveries:
            await delivery

    assert await stream.read_json() == list(range(10))


async def test_several_guilty_messages_in_a_stream_of_good_ones_are_found(stream: DurableStream) -> None:
    texts = [b"{" if n % 7 == 3 else b"%d" % n for n in range(60)]

    async with producing(stream, max_batch_bytes=20) as producer:
        deliveries = [await producer.append(encoded=text, on_done=lambda _: None) for text in texts]

    assert await stream.read_json() == [n for n in range(60) if n % 7 != 3]
    assert [n for n, delivery in enumerate(deliveries) if delivery.error] == list(range(3, 60, 7))


@pytest.mark.parametrize("seed", range(2))
async def test_guilty_messages_on_a_bad_network_neither_lose_nor_double_the_good_ones(
    seed: int, stream: DurableStream, connect: Connect
) -> None:
    rng = random.Random(seed)
    faults: list[Fault] = [Refuse(), LoseReply(), Ghost(0.02), Ghost(0.1)]
    texts = [b"{" if rng.random() < 0.1 else b"%d" % n for n in range(100)]

    async with FaultProxy(stream.url, plan=some_of(rng, faults, share=0.4)) as proxy:
        through = connect(proxy.url, content_type="application/json")
        async with producing(through, max_batch_bytes=12) as producer:
            for text in texts:
                await producer.append(encoded=text, on_done=lambda _: None)
                await anyio.sleep(0)

    assert await stream.read_json() == [int(text) for text in texts if text != b"{"]


async def test_a_message_that_is_too_large_fails_alone(stream: DurableStream) -> None:
    async with producing(stream, max_batch_bytes=20_000_000) as producer:
        small, huge = producer.append_nowait("small"), producer.append_nowait("x" * 10_000_000)
        with pytest.raises(PayloadTooLarge):
            await huge
        await small

    assert await stream.read_json() == ["small"]


async def test_a_wrong_content_type_fails_the_messages_but_not_the_producer(
    stream: DurableStream, connect: Connect
) -> None:
    async with producing(connect(stream.url, content_type="text/plain")) as producer:
        with pytest.raises(StreamConflict):
            await producer.append_nowait("x")

        assert producer.failure is None


async def test_expired_credentials_are_replaced_without_anybody_noticing(connect: Connect) -> None:
    tokens = count()

    async with FakeServer(refused(401), otherwise=accepted) as server:
        stream = connect(
            f"{server.url}/demo",
            content_type="application/json",
            headers={"Authorization": lambda: str(next(tokens))},
        )
        async with producing(stream) as producer:
            await producer.append(1)

    assert [seen.headers["authorization"] for seen in server.seen] == ["0", "1"]


@pytest.mark.parametrize(("status", "kind", "attempts"), [(401, Unauthorized, 2), (403, Forbidden, 1)])
async def test_refused_credentials_fail_what_was_sent_with_them_and_nothing_else(
    status: int, kind: Any, attempts: int, connect: Connect
) -> None:
    async with FakeServer(*[refused(status)] * attempts, otherwise=accepted) as server:
        stream = connect(f"{server.url}/demo", content_type="application/json")
        async with producing(stream) as producer:
            with pytest.raises(kind):
                await producer.append_nowait(1)
            await producer.append_nowait(2)

    assert numbers(server)[-1] == ("0", "0", b"[2]")


# ---- failures of the stream or producer ----


async def test_a_deleted_stream_fails_everything_until_restart(stream: DurableStream) -> None:
    async with producing(stream) as producer:
        await (await producer.append(1))
        await stream.delete()
        lost = [producer.append_nowait(n) for n in (2, 3)]
        with pytest.raises(StreamNotFound):
            await lost[0]
        assert isinstance(lost[1].error, StreamNotFound)
        with pytest.raises(StreamNotFound):
            producer.append_nowait(4)

        await stream.create()
        producer.restart()
        await producer.append(5)
        assert producer.epoch == 1

    assert await stream.read_json() == [5]


async def test_a_stream_that_somebody_closes_fails_everything(stream: DurableStream) -> None:
    async with producing(stream) as producer:
        await stream.close()
        with pytest.raises(StreamClosed) as refusal:
            await producer.append_nowait(1)

        assert refusal.value.final_offset == (await stream.head()).next_offset


async def test_a_newer_process_fences_an_older_one(stream: DurableStream) -> None:
    async with producing(stream) as older:
        await (await older.append("old"))
        async with producing(stream, epoch=1) as newer:
            await newer.append("new")

        with pytest.raises(FencedError) as fence:
            await older.append_nowait("late")
        assert fence.value.current_epoch == 1
        assert isinstance(older.failure, FencedError)

    assert await stream.read_json() == ["old", "new"]


async def test_an_ephemeral_producer_may_claim_its_id(stream: DurableStream) -> None:
    async with producing(stream, epoch=5) as earlier:
        await earlier.append("earlier")

    async with producing(stream, auto_claim=True, max_batch_bytes=1) as later:
        for n in range(5):
            later.append_nowait(n)
        await later.flush()
        assert later.epoch == 6

    assert await stream.read_json() == ["earlier", 0, 1, 2, 3, 4]


async def test_a_claim_is_not_repeated(connect: Connect) -> None:
    async with FakeServer(otherwise=refused(403, Producer_Epoch="5")) as server:
        stream = connect(f"{server.url}/demo", content_type="application/json")
        async with producing(stream, auto_claim=True) as producer:
            with pytest.raises(FencedError):
                await producer.append_nowait(1)

    assert numbers(server) == [("0", "0", b"[1]"), ("6", "0", b"[1]")]


async def test_a_second_start_under_the_same_epoch_is_noticed_instead_of_dropped(
    stream: DurableStream,
) -> None:
    async with producing(stream) as first_start:
        await first_start.append("first")

    async with producing(stream) as second_start:
        with pytest.raises(FencedError, match="epoch 0"):
            await second_start.append_nowait("second")

    assert await stream.read_json() == ["first"]


async def test_a_server_that_forgot_the_producer_is_noticed(stream: DurableStream) -> None:
    async with producing(stream) as producer:
        await (await producer.append(1))
        await stream.delete()
        await stream.create()

        with pytest.raises(SequenceConflict, match="lost what it knew"):
            await producer.append_nowait(2)


# ---- flush ----


async def test_flush_raises_a_failure_that_nobody_has_seen(stream: DurableStream) -> None:
    async with producing(stream) as producer:
        producer.append_nowait(encoded=b"{")
        with pytest.raises(BadRequest):
            await producer.flush()

        await producer.flush()


async def test_flush_does_not_repeat_a_failure_that_somebody_has_seen(stream: DurableStream) -> None:
    async with producing(stream) as producer:
        seen: list[Delivery] = []
        looked_at = producer.append_nowait(encoded=b"{")
        producer.append_nowait(encoded=b"[", on_done=seen.append)
        with pytest.raises(BadRequest):
            await looked_at

        await producer.flush()

    assert isinstance(seen[0].error, BadRequest)


async def test_flushing_nothing_returns_at_once(stream: DurableStream) -> None:
    async with producing(stream) as producer:
        await producer.flush()


async def test_leaving_the_context_raises_what_nobody_has_seen(stream: DurableStream) -> None:
    with pytest.raises(BadRequest):
        async with producing(stream) as producer:
            producer.append_nowait(encoded=b"{")
