"""The blocking `IdempotentProducer`: appends of any thread, in order, without waiting for the event loop."""

from __future__ import annotations

import socket
import threading
from collections.abc import Iterator

import pytest

from durafold.blocking import Delivery, DurableStream, IdempotentProducer
from durafold.errors import BadRequest, BufferFull, ConfigurationError, ProducerClosed, StreamClosed


@pytest.fixture
def unreachable() -> Iterator[DurableStream]:
    """A stream whose port is taken by somebody who does not listen."""
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        url = f"http://127.0.0.1:{taken.getsockname()[1]}/v1/stream/demo"
        yield DurableStream(url, content_type="application/json")


def test_messages_arrive_in_the_order_of_the_calls(stream: DurableStream) -> None:
    with IdempotentProducer(stream, "tester") as producer:
        for n in range(500):
            producer.append(n)

    assert stream.read_json() == list(range(500))


def test_each_message_has_a_result(stream: DurableStream) -> None:
    with IdempotentProducer(stream, "tester") as producer:
        delivery = producer.append("a")

        assert delivery.wait().next_offset == stream.head().next_offset
        assert delivery.done
        assert delivery.result == delivery.wait()
        assert delivery.error is None


def test_messages_of_one_thread_keep_their_order_among_those_of_others(stream: DurableStream) -> None:
    def write(name: str) -> None:
        for n in range(100):
            producer.append([name, n])

    with IdempotentProducer(stream, "tester") as producer:
        threads = [threading.Thread(target=write, args=(name,)) for name in "abc"]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()

    received = stream.read_json()
    assert [n for name, n in received if name == "b"] == list(range(100))
    assert len(received) == 300


def test_a_refused_message_fails_alone_and_flush_tells_of_it(stream: DurableStream) -> None:
    with IdempotentProducer(stream, "tester") as producer:
        producer.append(1)
        producer.append(encoded=b'{"unclosed":')
        producer.append(2)
        with pytest.raises(BadRequest):
            producer.flush()

    assert stream.read_json() == [1, 2]


def test_waiting_for_a_delivery_may_be_limited(unreachable: DurableStream) -> None:
    with pytest.raises(KeyboardInterrupt), IdempotentProducer(unreachable, "tester") as producer:  # noqa: PT012
        with pytest.raises(TimeoutError):
            producer.append(1).wait(timeout_s=0.01)
        raise KeyboardInterrupt  # leaves without waiting for delivery


def test_a_full_buffer_refuses_or_makes_wait(unreachable: DurableStream) -> None:
    deliveries: list[Delivery] = []
    waiting = threading.Thread(target=lambda: deliveries.append(producer.append("bbbb")))

    producer = IdempotentProducer(unreachable, "tester", max_buffered_bytes=10)
    with pytest.raises(KeyboardInterrupt), producer:  # noqa: PT012
        deliveries.append(producer.append("aaaaaa"))
        with pytest.raises(BufferFull, match="8 bytes wait"):
            producer.append_nowait("bbbb")
        waiting.start()
        raise KeyboardInterrupt
    waiting.join()

    deliveries[1].wait_done()
    assert [type(delivery.error) for delivery in deliveries] == [ProducerClosed] * 2


def test_data_without_a_json_form_is_refused_at_the_call(stream: DurableStream) -> None:
    with IdempotentProducer(stream, "tester") as producer, pytest.raises(ConfigurationError):
        producer.append(object())


def test_it_closes_the_stream_behind_its_messages(stream: DurableStream) -> None:
    with IdempotentProducer(stream, "tester") as producer:
        producer.append(1)
        closed = producer.close_stream("end")
        with pytest.raises(StreamClosed):
            producer.append(2)

    assert stream.read_json() == [1, "end"]
    assert closed.final_offset == stream.head().next_offset


def test_callbacks_are_given_the_blocking_delivery(stream: DurableStream) -> None:
    told: list[object] = []

    with IdempotentProducer(stream, "tester") as producer:
        producer.append(
            1, on_done=lambda delivery: told.append((type(delivery), delivery.result is not None))
        )

    assert told == [(Delivery, True)]


def test_after_a_failure_it_goes_on_with_the_next_epoch(stream: DurableStream) -> None:
    stream.close()
    with IdempotentProducer(stream, "tester") as producer:
        failed = producer.append(1)
        with pytest.raises(StreamClosed):
            failed.wait()
        producer.restart()

        assert producer.epoch == 1
        assert producer.next_seq == 0
        assert producer.failure is None
        assert producer.pending_count == 0
        assert producer.in_flight_count == 0
