"""`durafold.blocking`: everything a stream offers, from plain functions and threads."""

from __future__ import annotations

import itertools
import json
import os
import signal
import threading
from collections.abc import Iterator
from typing import Any

import pytest

from durafold.blocking import Checkpoint, DurableStream
from durafold.client import ReadStatus
from durafold.errors import ConfigurationError, StreamNotFound
from durafold.testing import ServerProcess


def test_a_stream_is_created_written_read_closed_and_deleted(stream: DurableStream) -> None:
    stream.append({"n": 1})
    stream.append_many([2, 3])
    stream.append_bytes(b'[{"n":4},5]')
    closed = stream.close("end")

    assert stream.read_json() == [{"n": 1}, 2, 3, {"n": 4}, 5, "end"]
    assert stream.head().closed
    assert stream.head().next_offset == closed.final_offset
    stream.delete()
    with pytest.raises(StreamNotFound):
        stream.head()


def test_pages_are_a_plain_iterator(stream: DurableStream) -> None:
    stream.append(1)

    assert [page.json() for page in stream.pages()] == [[1]]


@pytest.mark.parametrize("live", ["auto", "sse", "long-poll"])
def test_following_delivers_what_other_threads_append(live: str, stream: DurableStream) -> None:
    writer = threading.Thread(target=lambda: [stream.append(n) for n in range(5)] and stream.close())
    with stream.follow(live=live) as follower:  # type: ignore[arg-type]
        writer.start()
        received = list(follower.iter_json())
    writer.join()

    assert received == list(range(5))
    assert follower.status == "closed"
    assert follower.closed


def test_an_unknown_way_to_wait_is_refused_when_it_is_asked_for(stream: DurableStream) -> None:
    live: Any = True

    with pytest.raises(ConfigurationError, match="live=True is no way to wait"):
        stream.follow(live=live)


def test_without_waiting_iteration_ends_at_the_tail(stream: DurableStream) -> None:
    stream.append_many([1, 2])

    with stream.follow(live="off") as follower:
        assert list(follower.iter_json()) == [1, 2]
        assert follower.status == "done"
        assert follower.up_to_date


def test_a_checkpoint_in_the_middle_of_a_page_goes_on_with_the_next_message(stream: DurableStream) -> None:
    stream.append_many(list(range(10)))
    with stream.follow(live="off") as follower:
        first = list(itertools.islice(follower.iter_json(), 4))
        stored = json.dumps(follower.checkpoint.to_json())

    with stream.follow(Checkpoint.from_json(json.loads(stored)), live="off") as follower:
        rest = list(follower.iter_json())

    assert (first, rest) == ([0, 1, 2, 3], [4, 5, 6, 7, 8, 9])


def test_a_body_may_come_from_a_generator_that_takes_its_time(stream: DurableStream) -> None:
    drawn_in: list[str] = []

    def pieces() -> Iterator[str]:
        for piece in ('{"big":', "1}"):
            drawn_in.append(threading.current_thread().name)
            yield piece

    stream.append_from(pieces())

    assert stream.read_json() == [{"big": 1}]
    assert "durafold-blocking" not in drawn_in


def test_ctrl_c_ends_the_wait_for_new_data_and_loses_nothing(stream: DurableStream) -> None:
    def interrupt_once_live(status: ReadStatus) -> None:
        if status == "live":
            os.kill(os.getpid(), signal.SIGINT)

    with stream.follow(on_status=interrupt_once_live) as follower:
        messages = follower.iter_json()
        with pytest.raises(KeyboardInterrupt):
            next(messages)
        stream.append("after")

        assert next(messages) == "after"


def test_many_threads_may_share_a_handle(stream: DurableStream) -> None:
    threads = [threading.Thread(target=stream.append, args=(n,)) for n in range(10)]

    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()

    assert sorted(stream.read_json()) == list(range(10))


def test_functions_for_headers_run_outside_the_event_loop_so_that_they_may_wait(
    server: ServerProcess,
) -> None:
    threads: list[str] = []

    def name_of_thread() -> str:
        threads.append(threading.current_thread().name)
        return "x"

    stream = DurableStream(f"{server.url}/none", headers={"X-Test": name_of_thread})
    with stream, pytest.raises(StreamNotFound):
        stream.head()

    assert len(threads) == 1
    assert threads != ["durafold-blocking"]


def test_a_fork_begins_where_a_checkpoint_says(stream: DurableStream, url: str) -> None:
    stream.append_many(["a", "b", "c"])
    with stream.follow(live="off") as follower:
        next(follower)
    stream.append("later")

    with stream.fork(f"{url}-fork", offset=follower.checkpoint) as fork:
        assert fork.read_json() == ["a", "b", "c"]


def test_an_offset_that_cannot_be_one_is_refused_before_anything_is_sent(stream: DurableStream) -> None:
    with pytest.raises(ConfigurationError, match="offset"):
        stream.follow("a b")  # type: ignore[arg-type]  # pyright: ignore[reportArgumentType]


def test_waiting_for_new_data_may_be_limited(stream: DurableStream) -> None:
    with stream.follow() as follower:
        assert follower.ready()
        assert next(follower).up_to_date
        with pytest.raises(TimeoutError):
            follower.ready(timeout_s=0.05)
        stream.append("after")

        assert follower.ready(timeout_s=20)
        assert next(follower).json() == ["after"]
