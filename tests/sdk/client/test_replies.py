"""What answers mean, with the protocol's header names spelt out."""

from __future__ import annotations

from datetime import UTC, datetime
from typing import Any

import pytest

from durafold.client.exchange import Reply, Request, public_url, with_query
from durafold.client.refusals import error_of
from durafold.client.replies import append_result, close_result, content_of_events, page, stream_info
from durafold.client.values import AppendResult, CloseResult
from durafold.errors import (
    BadRequest,
    DurafoldError,
    FencedError,
    Forbidden,
    MalformedResponse,
    PayloadTooLarge,
    ProducerTaken,
    SequenceConflict,
    ServerRefused,
    ServerUnavailable,
    StreamClosed,
    StreamConflict,
    StreamGone,
    StreamNotFound,
    TooManyRequests,
    TransportTimeout,
    Unauthorized,
    Unprocessable,
)
from durafold.wire.offsets import START, Offset

NOW = datetime(2026, 1, 1, 12, 0, 0, tzinfo=UTC)
URL = "http://user:secret@host:4437/v1/stream/demo?token=secret"


def reply(status: int = 200, body: bytes = b"", **headers: str) -> Reply:
    fields = {name.replace("_", "-").lower(): value for name, value in headers.items()}
    return Reply(status, fields, body, NOW, public_url(URL))


def refusal(status: int, *, method: str = "POST", sent: dict[str, str] | None = None, **headers: str) -> Any:
    error = error_of(Request(method, URL, sent or {}), reply(status, b"because", **headers))
    assert error is not None
    return error


# ---- errors ----


@pytest.mark.parametrize(
    ("status", "kind"),
    [
        (400, BadRequest),
        (401, Unauthorized),
        (403, Forbidden),
        (404, StreamNotFound),
        (405, ServerRefused),
        (408, TransportTimeout),
        (409, StreamConflict),
        (410, StreamGone),
        (413, PayloadTooLarge),
        (418, ServerRefused),
        (422, Unprocessable),
        (429, TooManyRequests),
        (500, ServerUnavailable),
        (501, ServerRefused),
        (503, ServerUnavailable),
        (507, ServerUnavailable),
    ],
)
def test_every_error_status_has_its_type(status: int, kind: type[DurafoldError]) -> None:
    error = refusal(status)

    assert type(error) is kind
    assert "because" in str(error)
    assert str(status) in str(error)


@pytest.mark.parametrize("status", [200, 201, 204])
def test_a_success_is_no_error(status: int) -> None:
    assert error_of(Request("GET", URL, {}), reply(status)) is None


def test_messages_show_neither_credentials_nor_query() -> None:
    assert "secret" not in str(refusal(404))
    assert "http://host:4437/v1/stream/demo" in str(refusal(404))


def test_html_of_a_proxy_is_not_quoted() -> None:
    error = error_of(Request("GET", URL, {}), reply(502, b"<html><body>Bad gateway</body></html>"))

    assert "html" not in str(error)


def test_a_403_with_an_epoch_is_a_fence() -> None:
    error = refusal(403, Producer_Epoch="7")

    assert isinstance(error, FencedError)
    assert error.current_epoch == 7


def test_a_403_about_a_producer_of_others_says_what_to_do() -> None:
    body = b'{"error":"producer_taken","reason":"it belongs to another identity","hint":"Take another"}'

    error = error_of(Request("POST", URL, {}), reply(403, body, Content_Type="application/json"))

    assert isinstance(error, ProducerTaken)
    assert error.hint == "Take another"
    assert "belongs to another identity" in str(error)


def refused_by_reducer(body: bytes, content_type: str = "application/json") -> Unprocessable:
    error = error_of(Request("POST", URL, {}), reply(422, body, Content_Type=content_type))
    assert isinstance(error, Unprocessable)
    return error


def test_a_422_of_a_reducer_says_why_and_what_to_do() -> None:
    error = refused_by_reducer(
        b'{"error":"action_refused","reason":"only 3 left","verdict":"rejected","message":2,"hint":"Less"}'
    )

    assert (error.reason, error.verdict, error.message_index) == ("only 3 left", "rejected", 2)
    assert error.hint == "Less"
    assert "refuses the action: only 3 left" in str(error)


@pytest.mark.parametrize("body", [b"", b"{", b"[]", b'{"reason":5,"verdict":[],"message":"1","hint":{}}'])
def test_a_422_that_says_nothing_has_no_reason(body: bytes) -> None:
    error = refused_by_reducer(body)

    assert (error.reason, error.verdict, error.message_index, error.hint) == (None, None, None, None)


def test_a_422_in_plain_text_is_quoted() -> None:
    error = refused_by_reducer(b"no, thanks", "text/plain")

    assert error.reason is None
    assert "no, thanks" in str(error)


def test_a_410_may_name_where_reading_can_go_on() -> None:
    trimmed, deleted = refusal(410, Stream_Earliest_Offset="0042"), refusal(410)

    assert isinstance(trimmed, StreamGone)
    assert isinstance(deleted, StreamGone)
    assert (trimmed.earliest_offset, deleted.earliest_offset) == ("0042", None)
    assert "0042" in str(trimmed)


def test_a_409_of_a_closed_stream_names_its_final_offset() -> None:
    error = refusal(409, Stream_Closed="TRUE", Stream_Next_Offset="0042")

    assert isinstance(error, StreamClosed)
    assert error.final_offset == "0042"


def test_a_409_of_a_producer_gap_names_both_numbers() -> None:
    error = refusal(409, Producer_Expected_Seq="3", Producer_Received_Seq="5")

    assert isinstance(error, SequenceConflict)
    assert (error.expected_seq, error.received_seq) == (3, 5)


def test_a_409_to_a_stream_seq_is_a_sequence_conflict() -> None:
    assert isinstance(refusal(409, sent={"Stream-Seq": "a"}), SequenceConflict)


def test_a_409_to_an_append_says_which_type_was_sent() -> None:
    error = refusal(409, sent={"Content-Type": "text/plain"})

    assert isinstance(error, StreamConflict)
    assert "text/plain" in str(error)


def test_a_404_to_a_create_asks_about_the_path() -> None:
    assert "Does the URL contain /v1/stream?" in str(refusal(404, method="PUT"))


@pytest.mark.parametrize(
    ("value", "seconds"),
    [
        ("7", 7.0),
        ("Thu, 01 Jan 2026 12:01:30 GMT", 90.0),
        ("Wed, 31 Dec 2025 12:00:00 GMT", 0.0),
        ("soon", None),
    ],
)
def test_retry_after_may_be_seconds_or_a_date(value: str, seconds: float | None) -> None:
    assert refusal(429, Retry_After=value).retry_after_s == seconds
    assert refusal(503, Retry_After=value).retry_after_s == seconds


def test_a_redirect_is_refused_and_shows_its_target() -> None:
    error = refusal(307, Location="https://elsewhere/v1/stream/demo?token=secret")

    assert "https://elsewhere/v1/stream/demo instead" in str(error)
    assert "secret" not in str(error)


# ---- reads ----


def test_a_page_takes_over_what_the_headers_say() -> None:
    result = page(
        reply(
            200,
            b"[1,2]",
            Content_Type="application/json",
            Stream_Next_Offset="0002",
            Stream_Up_To_Date="true",
            Stream_Cursor="17",
        ),
        offset=START,
    )

    assert result.json() == [1, 2]
    assert (result.offset, result.next_offset, result.cursor) == ("-1", "0002", "17")
    assert result.up_to_date
    assert not result.closed


def test_a_closed_page_is_up_to_date_by_definition() -> None:
    result = page(reply(204, Stream_Next_Offset="0002", Stream_Closed="true"), offset=Offset("0002"))

    assert result.closed
    assert result.up_to_date


@pytest.mark.parametrize("value", ["false", "1", "yes", ""])
def test_a_flag_counts_only_if_it_is_true(value: str) -> None:
    result = page(reply(200, Stream_Next_Offset="0002", Stream_Closed=value), offset=START)

    assert not result.closed


@pytest.mark.parametrize("body", [b"[]", b" [ ] ", b"[\n]", b""])
def test_an_empty_json_page_has_no_data(body: bytes) -> None:
    result = page(reply(200, body, Content_Type="application/json", Stream_Next_Offset="1"), offset=START)

    assert result.data == b""
    assert result.json() == []


@pytest.mark.parametrize("body", [b'[{"a":', b'{"a":1}]', b"null", b"<html>"])
def test_a_json_page_that_was_cut_is_malformed(body: bytes) -> None:
    with pytest.raises(MalformedResponse):
        page(reply(200, body, Content_Type="application/json", Stream_Next_Offset="1"), offset=START)


@pytest.mark.parametrize("body", [b'[{"a":}]', b"[1 2]", b"[" * 100_000 + b"]" * 100_000])
def test_corrupt_json_within_the_brackets_is_malformed_when_it_is_decoded(body: bytes) -> None:
    result = page(reply(200, body, Content_Type="application/json", Stream_Next_Offset="1"), offset=START)

    with pytest.raises(MalformedResponse):
        result.json()


def test_text_that_is_not_utf8_is_malformed() -> None:
    result = page(reply(200, b"\xff", Content_Type="text/plain", Stream_Next_Offset="1"), offset=START)

    with pytest.raises(MalformedResponse):
        result.text()


@pytest.mark.parametrize("headers", [{}, {"Stream_Next_Offset": ""}, {"Stream_Next_Offset": "a/b"}])
def test_a_page_without_a_usable_offset_is_malformed(headers: Any) -> None:
    with pytest.raises(MalformedResponse, match="http://host:4437/v1/stream/demo"):
        page(reply(200, b"welcome to our hotel", **headers), offset=START)


@pytest.mark.parametrize("status", [202, 206, 304])
def test_a_page_with_another_status_is_malformed(status: int) -> None:
    with pytest.raises(MalformedResponse):
        page(reply(status, Stream_Next_Offset="1"), offset=START)


def test_json_events_are_joined_to_one_array() -> None:
    events = [b"[1,\n2]", b"[]", b"[[3]]"]

    assert content_of_events(events, "application/json", offset=START) == b"[1,\n2,[3]]"


def test_byte_events_are_joined_end_to_end() -> None:
    assert content_of_events([b"a", b"", b"b"], "application/octet-stream", offset=START) == b"ab"


# ---- other operations ----


def test_metadata_is_read_with_its_lifetime() -> None:
    info = stream_info(
        reply(
            201,
            Content_Type="text/plain",
            Stream_Next_Offset="0",
            Stream_TTL="3600",
            Stream_Expires_At="2026-01-01T12:00:00Z",
        )
    )

    assert (info.content_type, info.ttl_s, info.expires_at, info.created) == ("text/plain", 3600, NOW, True)


@pytest.mark.parametrize("headers", [{"Stream_TTL": "soon"}, {"Stream_Expires_At": "tomorrow"}])
def test_an_unreadable_lifetime_is_malformed(headers: Any) -> None:
    with pytest.raises(MalformedResponse):
        stream_info(reply(200, Stream_Next_Offset="0", **headers))


def test_a_producers_204_is_a_duplicate_and_may_lack_the_offset() -> None:
    result = append_result(reply(204, Producer_Epoch="0", Producer_Seq="3"), by_producer=True)

    assert result == AppendResult(next_offset=None, duplicate=True)


def test_a_plain_204_is_an_ordinary_success() -> None:
    assert append_result(reply(204, Stream_Next_Offset="7")) == AppendResult(next_offset=Offset("7"))


def test_a_200_of_a_login_page_does_not_confirm_an_append() -> None:
    with pytest.raises(MalformedResponse, match="not by a stream server"):
        append_result(reply(200, b"<html>please log in</html>"), by_producer=True)


def test_a_close_must_be_confirmed() -> None:
    confirmed = close_result(reply(204, Stream_Closed="true", Stream_Next_Offset="7"))

    assert confirmed == CloseResult(Offset("7"))
    with pytest.raises(MalformedResponse):
        close_result(reply(204, Stream_Next_Offset="7"))


# ---- requests ----


def test_query_parameters_are_sorted_and_quoted() -> None:
    url = with_query("http://h/s?tenant=a%20b", {"offset": "a+b", "live": "sse"})

    assert url == "http://h/s?live=sse&offset=a%2Bb&tenant=a%20b"


def test_our_query_parameters_win_over_those_of_the_url() -> None:
    assert with_query("http://h/s?offset=5&x=", {"offset": "-1"}) == "http://h/s?offset=-1&x="


def test_a_public_url_has_no_credentials() -> None:
    assert public_url(URL) == "http://host:4437/v1/stream/demo"
