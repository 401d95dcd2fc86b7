"""What a decision's writes mean for the registry."""

from __future__ import annotations

import json
from collections.abc import Sequence
from typing import Any, Final

import pytest
from msgspec.structs import replace

from durafold_server.protocol import decide, registry
from durafold_server.protocol.errors import NotFound, ReadOnly
from durafold_server.protocol.json_mode import page_body
from durafold_server.protocol.model import (
    AppendData,
    Decide,
    Decision,
    Fork,
    Lifetime,
    Loaded,
    Mode,
    RemoveStream,
    SaveStream,
    Segment,
    StreamState,
    Write,
)
from support.server_requests import JSON, append_request, create_request

NOW: Final = 1_800_000_000_000_000
CREATED: Final = 1_700_000_000_123_456
REGISTRY: Final = StreamState(
    id=3, path="__registry__", content_type=JSON, mode=Mode.JSON, tail=50, internal=True
)
STREAM: Final = StreamState(
    id=CREATED, path="a%2Fb", content_type="text/csv", mode=Mode.TEXT, tail=9, used_us=NOW - 1
)
VALUE: Final = {"path": "a%2Fb", "contentType": "text/csv", "createdAt": 1_700_000_000_123}
FORK: Final = replace(
    STREAM, id=NOW - 9, path="f", fork=Fork("a%2Fb", CREATED, None, 0, 6, (Segment(CREATED, 6),))
)


def record(decision: Decide[Any], *found: StreamState | None, log: StreamState | None = REGISTRY) -> Any:
    return registry.recording(decision)([*map(Loaded, found), Loaded(log)], NOW)


def told(writes: Sequence[Write]) -> list[dict[str, Any]]:
    """The messages among some writes, which must be at the registry's tail and part of it."""
    data = [write for write in writes if isinstance(write, AppendData) and write.stream_id == REGISTRY.id]
    size = sum(len(write.payload.data) for write in data)
    assert [write for write in writes if isinstance(write, SaveStream) and write.stream.internal] == (
        [SaveStream(replace(REGISTRY, tail=50 + size))] if data else []
    )
    messages = [json.loads(page_body(write.payload.data)) for write in data]
    assert [write.payload.messages for write in data] == list(map(len, messages))
    return [message for piece in messages for message in piece]


def deleting(found: Sequence[Loaded], now_us: int) -> Decision[Any]:
    return decide.delete(found, now_us)


def test_a_new_stream_is_told() -> None:
    request = create_request("a", b"x", content_type="text/csv")

    decision = record(lambda found, now_us: decide.create(request, found, now_us), None)

    assert told(decision.writes) == [
        {
            "type": "stream",
            "key": "a",
            "value": {"path": "a", "contentType": "text/csv", "createdAt": NOW // 1000},
            "headers": {"operation": "insert", "timestamp": "2027-01-15T08:00:00.000000Z"},
        }
    ]
    assert decision.result.new


def test_a_stream_created_closed_is_told_as_closed() -> None:
    request = create_request("a", stream_closed="true")

    decision = record(lambda found, now_us: decide.create(request, found, now_us), None)

    assert told(decision.writes)[0]["value"]["closed"] is True


def test_a_fork_is_told_with_where_it_branched_off() -> None:
    request = create_request("f", stream_forked_from="/v1/stream/a%2Fb")

    decision = record(lambda found, now_us: decide.create(request, found, now_us, fork_at=6), None, STREAM)

    (message,) = told(decision.writes)
    assert message["key"] == "f"
    assert message["value"] == {
        "path": "f",
        "contentType": "text/csv",
        "createdAt": NOW // 1000,
        "forkedFrom": "a%2Fb",
        "forkOffset": "1700000000123456_0000000000000006",
    }


def test_closing_is_told_as_an_update_of_the_whole_value() -> None:
    request = append_request("a%2Fb", b"x", content_type="text/csv", stream_closed="true")

    decision = record(lambda found, now_us: decide.append(request, found[0], now_us), STREAM)

    assert told(decision.writes) == [
        {
            "type": "stream",
            "key": "a%2Fb",
            "value": {**VALUE, "closed": True},
            "headers": {"operation": "update", "timestamp": "2027-01-15T08:00:00.000000Z"},
        }
    ]


def test_a_deleted_stream_is_told_with_its_last_value() -> None:
    assert told(record(deleting, STREAM).writes) == [
        {
            "type": "stream",
            "key": "a%2Fb",
            "old_value": VALUE,
            "headers": {
                "operation": "delete",
                "timestamp": "2027-01-15T08:00:00.000000Z",
                "reason": "deleted",
            },
        }
    ]


def test_expiry_is_told_apart_from_deletion() -> None:
    expired = replace(STREAM, lifetime=Lifetime(ttl_s=0))

    (message,) = told(record(decide.expire, expired).writes)

    assert message["headers"]["operation"] == "delete"
    assert message["headers"]["reason"] == "expired"


def test_an_expired_stream_that_is_made_anew_has_gone_first() -> None:
    request = create_request("a%2Fb", content_type=JSON)
    expired = replace(STREAM, lifetime=Lifetime(ttl_s=0))

    decision = record(lambda found, now_us: decide.create(request, found, now_us), expired)

    gone, come = told(decision.writes)
    assert (gone["headers"]["operation"], gone["headers"]["reason"]) == ("delete", "expired")
    assert (come["headers"]["operation"], come["value"]["contentType"]) == ("insert", JSON)


def test_a_soft_deleted_stream_counts_as_deleted() -> None:
    (message,) = told(record(deleting, replace(STREAM, forks=1)).writes)

    assert message["headers"]["operation"] == "delete"


def test_a_soft_deleted_source_that_goes_with_its_last_fork_is_not_told_twice() -> None:
    source = replace(STREAM, deleted=True, forks=1)

    decision = record(deleting, FORK, source)

    assert [write.stream.path for write in decision.writes if isinstance(write, RemoveStream)] == [
        "f",
        "a%2Fb",
    ]
    assert [message["key"] for message in told(decision.writes)] == ["f"]


def test_what_changes_no_stream_for_anybody_is_not_told() -> None:
    confirming = create_request("a%2Fb", content_type="text/csv")
    appending = append_request("a%2Fb", b"x", content_type="text/csv")

    confirmed = record(lambda found, now_us: decide.create(confirming, found, now_us), STREAM)
    appended = record(lambda found, now_us: decide.append(appending, found[0], now_us), STREAM)

    assert confirmed.writes == ()
    assert told(appended.writes) == []


def test_a_refusal_is_passed_on() -> None:
    with pytest.raises(NotFound):
        record(deleting, None)


@pytest.mark.parametrize("log", [None, replace(REGISTRY, internal=False)])
def test_without_a_registry_nothing_is_told(log: StreamState | None) -> None:
    assert record(deleting, STREAM, log=log).writes == [RemoveStream(STREAM)]


# Its whole life


def test_a_registry_begins_with_all_streams_in_pieces() -> None:
    streams = [replace(STREAM, id=CREATED + n, path=f"{n:0500d}") for n in range(1000)]

    decision = registry.begun(streams)([Loaded(None)], NOW)

    saved, *pieces = decision.writes
    assert isinstance(saved, SaveStream)
    assert (saved.stream.id, saved.stream.path, saved.stream.internal) == (NOW, "__registry__", True)
    data = [write.payload.data for write in pieces if isinstance(write, AppendData)]
    assert len(data) == len(pieces) > 5
    assert max(map(len, data)) < 256 * 1024
    assert sum(map(len, data)) == saved.stream.tail
    messages = json.loads(page_body(b"".join(data)))
    assert [message["key"] for message in messages] == [stream.path for stream in streams]
    assert messages[0]["headers"]["timestamp"] == "2023-11-14T22:13:20.123456Z"


def test_a_registry_that_is_there_is_not_begun_again() -> None:
    assert registry.begun([STREAM])([Loaded(REGISTRY)], NOW).writes == ()


def test_a_registry_is_ended_but_not_a_clients_stream_of_its_name() -> None:
    assert registry.ended([Loaded(REGISTRY)], NOW).writes == [RemoveStream(REGISTRY)]
    assert registry.ended([Loaded(replace(REGISTRY, internal=False))], NOW).writes == ()
    assert registry.ended([Loaded(None)], NOW).writes == ()


def test_what_is_carried_forward_are_the_living_streams() -> None:
    gone, soft_deleted = Loaded(None), Loaded(replace(FORK, deleted=True))

    decision = registry.carried_forward(REGISTRY, 40)(
        [Loaded(REGISTRY), gone, Loaded(replace(STREAM, closed=True)), soft_deleted], NOW
    )

    saved, data = decision.writes
    assert isinstance(saved, SaveStream)
    assert isinstance(data, AppendData)
    assert saved.stream == replace(REGISTRY, start=40, tail=50 + len(data.payload.data))
    assert decision.result == (saved.stream, 1, len(data.payload.data))
    (message,) = json.loads(page_body(data.payload.data))
    assert message["headers"]["operation"] == "insert"
    assert message["value"] == {**VALUE, "closed": True}


@pytest.mark.parametrize("now", [None, replace(REGISTRY, start=1), replace(REGISTRY, id=4)])
def test_nothing_is_carried_forward_in_another_registry(now: StreamState | None) -> None:
    assert registry.carried_forward(REGISTRY, 40)([Loaded(now)], NOW).writes == ()


def test_paths_are_found_in_messages_once_each() -> None:
    data = b'{"key":"a","headers":{}},{"key":"b"},{"type":"stream","key":"a"},'

    assert registry.paths_in(data) == ["a", "b"]


# Clients may only read it


def test_clients_cannot_change_or_fork_it() -> None:
    forking = create_request("f", stream_forked_from="/v1/stream/__registry__")
    over = create_request("__registry__", stream_forked_from="/v1/stream/a%2Fb")
    found = [Loaded(REGISTRY), Loaded(STREAM)]

    with pytest.raises(ReadOnly, match="__registry__ is kept by the server itself"):
        decide.create(create_request("__registry__", content_type=JSON), found[:1], NOW)
    with pytest.raises(ReadOnly):
        decide.create(over, found, NOW, fork_at=0)
    with pytest.raises(ReadOnly):
        decide.create(forking, [Loaded(None), Loaded(REGISTRY)], NOW, fork_at=0)
    with pytest.raises(ReadOnly):
        decide.append(append_request("__registry__", b"1", content_type=JSON), found[0], NOW)
    with pytest.raises(ReadOnly):
        decide.append(append_request("__registry__", stream_closed="true"), found[0], NOW)
    with pytest.raises(ReadOnly):
        decide.delete(found[:1], NOW)
