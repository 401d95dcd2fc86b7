"""What type checkers infer from the blocking face; `make check` runs mypy and pyright over this file."""

from __future__ import annotations

from typing import Any, assert_type

from durafold.blocking import (
    AppendResult,
    Checkpoint,
    CloseResult,
    Delivery,
    DurableStream,
    Follower,
    IdempotentProducer,
    Page,
    Pages,
    StreamEvent,
    StreamInfo,
)
from durafold.client import Offset


def test_results_and_arguments_are_those_of_the_asynchronous_methods(stream: DurableStream) -> None:
    assert_type(stream.create(), StreamInfo)
    assert_type(stream.head(), StreamInfo)
    assert_type(stream.append({"n": 1}, seq="1"), AppendResult)
    assert_type(stream.read(), Page)
    assert_type(stream.read_json(), list[Any])
    assert_type(stream.pages(), Pages)
    assert_type(stream.follow(live="off"), Follower)
    assert_type(stream.fork("typed-fork"), DurableStream)
    assert_type(stream.close(), CloseResult)


def test_wrong_arguments_are_type_errors() -> None:
    def never_called(stream: DurableStream) -> None:
        stream.create(ttl="60")  # type: ignore[call-arg]  # pyright: ignore[reportCallIssue]
        stream.append()  # type: ignore[call-arg]  # pyright: ignore[reportCallIssue]
        stream.follow(live="sometimes")  # type: ignore[arg-type]  # pyright: ignore[reportArgumentType]

    assert callable(never_called)


def test_iterators_are_plain_and_typed(stream: DurableStream) -> None:
    stream.append("a")
    with stream.follow(live="off") as follower:
        assert_type(next(follower), Page)
        assert_type(follower.checkpoint, Checkpoint)
        assert_type(follower.offset, Offset)
        assert_type(list(follower.iter_batches()), list[list[Any]])
        assert_type(list(follower.iter_text()), list[str])
        assert_type(list(follower.iter_events()), list[StreamEvent])


def test_a_producer_is_typed(stream: DurableStream) -> None:
    with IdempotentProducer(stream, "typed") as producer:
        assert_type(producer, IdempotentProducer)
        assert_type(producer.append(1), Delivery)
        assert_type(producer.append(1).wait(), AppendResult)
        assert_type(producer.flush(), None)
