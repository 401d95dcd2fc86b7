"""Outcomes → statuses and headers, every byte spelt out."""

from __future__ import annotations

import json

import pytest
from msgspec.structs import replace

from durafold_server.protocol import errors, responses
from durafold_server.protocol.decide import Appended, Created
from durafold_server.protocol.model import (
    FOREVER,
    Fork,
    Lifetime,
    Mode,
    ProducerClaim,
    Retention,
    Segment,
    StreamState,
)
from durafold_server.protocol.responses import Listing, PageView, Reply

STREAM = StreamState(id=9, path="s", content_type="application/json", mode=Mode.JSON, tail=4)
CLOSED = replace(STREAM, closed=True)
TAIL = (b"stream-next-offset", b"0000000000000009_0000000000000004")
EARLIEST = (b"stream-earliest-offset", b"0000000000000009_0000000000000000")
IS_CLOSED = (b"stream-closed", b"true")
UP_TO_DATE = (b"stream-up-to-date", b"true")
JSON_TYPE = (b"content-type", b"application/json")
NO_STORE = (b"cache-control", b"no-store")
CACHEABLE = (b"cache-control", b"public, max-age=60, stale-while-revalidate=300")
CLAIM = ProducerClaim("p", 3, 1)


def shown(reply: Reply) -> tuple[int, set[tuple[bytes, bytes]], bytes]:
    assert len({name for name, _ in reply.headers}) == len(reply.headers)
    return reply.status, set(reply.headers), reply.body


def test_a_new_stream_is_201_with_its_location() -> None:
    reply = responses.created(Created(STREAM, new=True), "http://h/v1/stream/s")

    assert shown(reply) == (201, {JSON_TYPE, TAIL, (b"location", b"http://h/v1/stream/s")}, b"")


def test_a_stream_that_was_there_is_200_without_location() -> None:
    assert shown(responses.created(Created(STREAM, new=False), "x")) == (200, {JSON_TYPE, TAIL}, b"")


def test_a_stream_created_closed_says_so() -> None:
    assert IS_CLOSED in responses.created(Created(CLOSED, new=True), "x").headers


def test_a_plain_append_is_204_with_the_new_tail() -> None:
    assert shown(responses.appended(Appended(STREAM, True, True))) == (204, {TAIL}, b"")


def test_a_close_is_204_and_says_closed() -> None:
    assert shown(responses.appended(Appended(CLOSED, True))) == (204, {TAIL, IS_CLOSED}, b"")


@pytest.mark.parametrize(
    ("outcome", "status"),
    [
        pytest.param(Appended(STREAM, True, True, CLAIM, 1), 200, id="new data"),
        pytest.param(Appended(CLOSED, True, True, CLAIM, 1), 200, id="new data and close"),
        pytest.param(Appended(CLOSED, True, False, CLAIM, 1), 204, id="close only"),
        pytest.param(Appended(STREAM, False, False, CLAIM, 1, True), 204, id="duplicate"),
    ],
)
def test_a_producers_append_tells_epoch_and_highest_number(outcome: Appended, status: int) -> None:
    reply = responses.appended(outcome)

    assert reply.status == status
    assert (b"producer-epoch", b"3") in reply.headers
    assert (b"producer-seq", b"1") in reply.headers


def test_a_duplicate_tells_the_highest_number_accepted_and_not_its_own() -> None:
    reply = responses.appended(Appended(STREAM, False, False, CLAIM, 8, True))

    assert (b"producer-seq", b"8") in reply.headers


@pytest.mark.parametrize(
    ("stream", "more"),
    [
        (STREAM, set()),
        (CLOSED, {IS_CLOSED}),
        (replace(STREAM, lifetime=Lifetime(ttl_s=3600)), {(b"stream-ttl", b"3600")}),
        (replace(STREAM, lifetime=Lifetime(ttl_s=0)), {(b"stream-ttl", b"0")}),
        (
            replace(STREAM, lifetime=Lifetime(expires_at="2030-01-01T01:00:00+01:00", expires_at_us=1)),
            {(b"stream-expires-at", b"2030-01-01T01:00:00+01:00")},
        ),
        (replace(STREAM, retention=Retention(bytes=0)), {(b"stream-retention-bytes", b"0")}),
        (replace(STREAM, retention=Retention(age_s=60)), {(b"stream-retention-age", b"60")}),
    ],
)
def test_head_tells_what_the_stream_is(stream: StreamState, more: set[tuple[bytes, bytes]]) -> None:
    assert shown(responses.described(stream)) == (200, {JSON_TYPE, TAIL, EARLIEST, NO_STORE, *more}, b"")


def test_head_tells_the_earliest_retained_offset() -> None:
    reply = responses.described(replace(STREAM, start=2))

    assert (b"stream-earliest-offset", b"0000000000000009_0000000000000002") in reply.headers


def test_head_tells_what_is_kept_by_the_servers_defaults() -> None:
    reply = responses.described(STREAM, Retention(bytes=1000))

    assert (b"stream-retention-bytes", b"1000") in reply.headers


def test_a_listing_tells_everything_about_its_streams() -> None:
    fork = Fork("a", 9, None, 0, 2, (Segment(9, 2),))
    stream = StreamState(
        id=1_700_000_000_123_456,
        path="f",
        content_type="text/csv",
        mode=Mode.TEXT,
        tail=4,
        start=1,
        closed=True,
        lifetime=Lifetime(ttl_s=60),
        fork=fork,
    )

    reply = responses.listed(Listing([(stream, Retention(5, None)), (STREAM, Retention())], "s"))

    assert set(reply.headers) == {JSON_TYPE, NO_STORE}
    listing = json.loads(reply.body)
    assert listing["next"] == "s"
    assert listing["streams"][0] == {
        "path": "f",
        "content_type": "text/csv",
        "created_at": "2023-11-14T22:13:20.123456Z",
        "earliest_offset": "0000000000000009_0000000000000001",
        "next_offset": "1700000000123456_0000000000000004",
        "bytes": 3,
        "closed": True,
        "ttl_s": 60,
        "expires_at": None,
        "forked_from": "a",
        "fork_offset": "0000000000000009_0000000000000002",
        "retention_bytes": 5,
        "retention_age_s": None,
    }
    assert listing["streams"][1]["forked_from"] is None


def test_delete_is_a_bare_204() -> None:
    assert responses.deleted() == Reply(204, [], b"")


def test_a_page_that_ends_before_the_tail_says_neither_up_to_date_nor_closed() -> None:
    reply = responses.page(PageView(CLOSED, 0, 2, b"1,"))

    assert shown(reply) == (
        200,
        {
            JSON_TYPE,
            (b"stream-next-offset", b"0000000000000009_0000000000000002"),
            (b"etag", b'"9:0:2"'),
            CACHEABLE,
        },
        b"[1]",
    )


def test_a_page_up_to_the_tail_is_up_to_date() -> None:
    reply = responses.page(PageView(STREAM, 0, 4, b"1,2,"))

    assert shown(reply) == (200, {JSON_TYPE, TAIL, UP_TO_DATE, (b"etag", b'"9:0:4"'), CACHEABLE}, b"[1,2]")


def test_the_last_page_of_a_closed_stream_says_closed() -> None:
    reply = responses.page(PageView(CLOSED, 0, 4, b"1,2,"))

    assert shown(reply) == (
        200,
        {JSON_TYPE, TAIL, UP_TO_DATE, IS_CLOSED, (b"etag", b'"9:0:4:c"'), CACHEABLE},
        b"[1,2]",
    )


@pytest.mark.parametrize(
    ("content_type", "mode", "body"), [("a/b", Mode.BINARY, b""), ("application/json", Mode.JSON, b"[]")]
)
def test_an_empty_page_must_be_asked_for_again(content_type: str, mode: Mode, body: bytes) -> None:
    stream = replace(STREAM, content_type=content_type, mode=mode)

    reply = responses.page(PageView(stream, 4, 4, b""))

    assert reply.body == body
    assert (b"cache-control", b"no-cache") in reply.headers
    assert (b"etag", b'"9:4:4"') in reply.headers


def test_a_read_from_now_is_never_stored_and_has_no_tag() -> None:
    reply = responses.page(PageView(STREAM, 4, 4, b"", follows_now=True), if_none_match="*")

    assert shown(reply) == (200, {JSON_TYPE, TAIL, UP_TO_DATE, NO_STORE}, b"[]")


def test_a_private_page_is_cached_privately() -> None:
    reply = responses.page(PageView(STREAM, 0, 4, b"1,2,"), private=True)

    assert (b"cache-control", b"private, max-age=60, stale-while-revalidate=300") in reply.headers


def test_a_client_that_has_the_page_gets_304_without_a_body() -> None:
    reply = responses.page(PageView(STREAM, 0, 4, b"1,2,"), if_none_match='"x", "9:0:4"')

    assert (reply.status, reply.body) == (304, b"")
    assert (b"etag", b'"9:0:4"') in reply.headers


def test_closing_changes_the_tag_so_that_no_304_hides_it() -> None:
    reply = responses.page(PageView(CLOSED, 0, 4, b"1,2,"), if_none_match='"9:0:4"')

    assert reply.status == 200


def test_a_long_poll_with_data_is_200() -> None:
    reply = responses.polled(PageView(STREAM, 2, 4, b"2,"), "77")

    assert shown(reply) == (200, {JSON_TYPE, TAIL, UP_TO_DATE, NO_STORE, (b"stream-cursor", b"77")}, b"[2]")


def test_a_long_poll_that_brings_the_last_data_says_closed() -> None:
    assert IS_CLOSED in responses.polled(PageView(CLOSED, 2, 4, b"2,"), "77").headers


def test_a_long_poll_that_timed_out_is_204() -> None:
    reply = responses.polled(PageView(STREAM, 4, 4, b""), "77")

    assert shown(reply) == (204, {TAIL, UP_TO_DATE, NO_STORE, (b"stream-cursor", b"77")}, b"")


def test_a_long_poll_at_the_end_of_a_closed_stream_is_204_and_closed() -> None:
    reply = responses.polled(PageView(CLOSED, 4, 4, b""), "77")

    assert reply.status == 204
    assert {TAIL, UP_TO_DATE, IS_CLOSED} <= set(reply.headers)


@pytest.mark.parametrize(
    ("mode", "encoding"),
    [(Mode.JSON, []), (Mode.TEXT, []), (Mode.BINARY, [(b"stream-sse-data-encoding", b"base64")])],
)
def test_an_event_stream_names_the_encoding_of_binary_data_only(
    mode: Mode, encoding: list[tuple[bytes, bytes]]
) -> None:
    assert responses.event_stream(replace(STREAM, mode=mode)) == [
        (b"content-type", b"text/event-stream"),
        (b"cache-control", b"no-cache, no-transform"),
        (b"x-accel-buffering", b"no"),
        *encoding,
    ]


def test_a_refusal_is_one_line_of_plain_text_that_nobody_stores() -> None:
    reply = responses.refused(errors.StaleEpoch(3))

    assert shown(reply) == (
        403,
        {(b"content-type", b"text/plain; charset=utf-8"), NO_STORE, (b"producer-epoch", b"3")},
        b"This producer was fenced: epoch 3 is current.\n",
    )


def test_a_refusal_may_quote_any_text() -> None:
    reply = responses.refused(errors.InvalidRequest("€ 😀", (("X-Note", "€"),)))

    assert reply.body == "€ 😀\n".encode()
    assert (b"x-note", b"?") in reply.headers


def test_an_idle_lifetime_shows_nothing() -> None:
    names = {name for name, _ in responses.described(replace(STREAM, lifetime=FOREVER)).headers}

    assert names.isdisjoint({b"stream-ttl", b"stream-expires-at"})
