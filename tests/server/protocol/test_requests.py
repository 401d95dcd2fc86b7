"""Method, headers and query → typed requests: what is taken, and what is refused."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Any
from urllib.parse import quote, unquote

import pytest
from hypothesis import given
from hypothesis import strategies as st

from durafold_server.protocol.errors import (
    EmptyBody,
    InvalidJson,
    InvalidOffset,
    InvalidRequest,
    NotFound,
    PathTooLong,
    ProtocolError,
)
from durafold_server.protocol.model import FOREVER, Lifetime, Mode, Payload, ProducerClaim, Retention
from durafold_server.protocol.requests import (
    ForkRequest,
    ListRequest,
    check_large_json,
    initial_payload,
    parse_append,
    parse_create,
    parse_list,
    parse_path,
    parse_read,
)
from support.server_requests import JSON, ROOT, TEXT, append_request, create_request

HEADER_NAMES = (
    "content-type",
    "if-none-match",
    "producer-epoch",
    "producer-id",
    "producer-seq",
    "stream-closed",
    "stream-expires-at",
    "stream-fork-offset",
    "stream-fork-sub-offset",
    "stream-forked-from",
    "stream-retention-age",
    "stream-retention-bytes",
    "stream-seq",
    "stream-ttl",
)


# Paths


@pytest.mark.parametrize(
    ("raw", "canonical"),
    [
        ("demo", "demo"),
        ("a/b/c", "a/b/c"),
        ("a//b/", "a//b/"),
        ("%61", "a"),
        ("a%2Fb", "a%2Fb"),
        ("a%2fb", "a%2Fb"),
        ("a%20b", "a%20b"),
        ("a%3Fb", "a%3Fb"),
        ("a%23b", "a%23b"),
        ("a%25b", "a%25b"),
        ("%2541", "%2541"),
        ("caf%c3%a9", "caf%C3%A9"),
        ("café", "caf%C3%A9"),
        ('"', "%22"),
        ("a:b@c!$&'()*+,;=~_-.", "a:b@c!$&'()*+,;=~_-."),
        ("...", "..."),
        ("a/.b", "a/.b"),
        ("x/__ds", "x/__ds"),
        ("__dsx", "__dsx"),
        ("a" * 2048, "a" * 2048),
    ],
)
def test_a_path_has_one_canonical_form(raw: str, canonical: str) -> None:
    assert parse_path(raw) == canonical


@pytest.mark.parametrize(
    "raw",
    [
        "",
        ".",
        "..",
        "a/../b",
        "a/./b",
        "%2e%2e/a",
        "a/%2E",
        "%",
        "a%",
        "a%2",
        "a%zz",
        "%u0041",
        "a%00b",
        "%0a",
        "a\nb",
        "%7f",
        "%ff",
        "%c3",
        "%ed%a0%80",
        "%c0%af",
        "\ud800",
        "__ds",
        "__ds/subscriptions/x",
        "%5f%5fds/x",
    ],
)
def test_a_malformed_or_reserved_path_is_refused(raw: str) -> None:
    with pytest.raises(InvalidRequest):
        parse_path(raw)


@pytest.mark.parametrize("raw", ["a" * 2049, '"' * 683, "é" * 342])
def test_a_path_longer_than_2048_characters_in_either_form_is_too_long(raw: str) -> None:
    with pytest.raises(PathTooLong):
        parse_path(raw)


@given(st.text(alphabet=st.characters(codec=None)) | st.text("/.%2eEfF_ds\x00é", max_size=12))
def test_canonicalisation_is_idempotent_and_raises_only_protocol_errors(raw: str) -> None:
    try:
        path = parse_path(raw)
    except ProtocolError:
        return

    assert parse_path(path) == path
    assert path.isascii()
    assert path.isprintable()


@given(st.text(st.characters(min_codepoint=33, codec="utf-8"), min_size=1, max_size=40))
def test_every_spelling_of_a_segment_names_the_same_stream(name: str) -> None:
    spelt_out = "".join(f"%{byte:02x}" for byte in name.encode())

    try:
        path = parse_path(spelt_out)
    except ProtocolError:
        return

    assert path == parse_path(quote(name, safe=""))
    assert unquote(path) == name


# Create


def test_a_bare_create_request_asks_for_nothing() -> None:
    request = parse_create("s", {}, b"", root=ROOT)

    assert (request.path, request.content_type, request.lifetime) == ("s", None, FOREVER)
    assert (request.closed, request.body, request.fork) == (False, b"", None)


def test_a_create_request_carries_type_lifetime_closure_and_body() -> None:
    request = create_request("s", b"[1]", content_type=JSON, stream_ttl="60", stream_closed="true")

    assert request.content_type == "application/json"
    assert request.lifetime == Lifetime(ttl_s=60)
    assert request.closed
    assert request.body == b"[1]"


@pytest.mark.parametrize("value", ["true", "TRUE", "True", "tRuE"])
def test_stream_closed_is_true_in_any_case(value: str) -> None:
    assert create_request(stream_closed=value).closed
    assert append_request(stream_closed=value).close


@pytest.mark.parametrize("value", ["false", "", "1", "yes", "true ", "truе", "tru"])
def test_any_other_stream_closed_counts_as_absent(value: str) -> None:
    assert not create_request(stream_closed=value).closed
    assert not append_request("s", b"x", content_type=TEXT, stream_closed=value).close


@pytest.mark.parametrize(
    "value",
    [
        "text/plain",
        "application/json; charset=utf-8",
        "application/vnd.x+json",
        'multipart/mixed; boundary="a b"',
        "x/y;",
        "A/B",
        f"text/{'a' * 251}",
    ],
)
def test_a_content_type_is_kept_as_written(value: str) -> None:
    assert create_request(content_type=value).content_type == value


@pytest.mark.parametrize(
    "value",
    [
        "text",
        "/plain",
        "text/",
        "text/plain/x",
        "text plain",
        " text/plain",
        "text/plain x",
        "text/plain, text/html",
        "téxt/plain",
        "text/plain; a=\xff",
        "text/plain\x00",
        "text/plain\n",
        f"text/{'a' * 252}",
    ],
)
def test_a_malformed_content_type_is_refused(value: str) -> None:
    with pytest.raises(InvalidRequest, match="Content-Type"):
        create_request(content_type=value)
    with pytest.raises(InvalidRequest, match="Content-Type"):
        append_request("s", b"x", content_type=value)


def test_an_empty_content_type_counts_as_absent() -> None:
    assert create_request(content_type="").content_type is None


def test_a_bad_lifetime_is_refused() -> None:
    with pytest.raises(InvalidRequest, match="Stream-TTL"):
        create_request(stream_ttl="1.5")


# Fork headers


def test_a_fork_names_its_source_by_url_path() -> None:
    request = create_request(stream_forked_from="/v1/stream/a/b")

    assert request.fork == ForkRequest("a/b", None, 0)


def test_a_forks_source_is_canonical() -> None:
    request = create_request(stream_forked_from="/v1/stream/%61%2fb")

    assert request.fork is not None
    assert request.fork.source_path == "a%2Fb"


def test_a_fork_may_name_offset_and_sub_offset() -> None:
    request = create_request(
        stream_forked_from="/v1/stream/a",
        stream_fork_offset="0000000000000007_0000000000000003",
        stream_fork_sub_offset="2",
    )

    assert request.fork == ForkRequest("a", "0000000000000007_0000000000000003", 2)


@pytest.mark.parametrize(
    "headers",
    [
        {"stream_fork_offset": "-1"},
        {"stream_fork_sub_offset": "0"},
        {"stream_fork_sub_offset": "1"},
        {"stream_fork_offset": "-1", "stream_fork_sub_offset": "1"},
        {"stream_forked_from": "/v1/stream/a", "stream_fork_sub_offset": "1"},
    ],
)
def test_fork_headers_without_what_they_refer_to_are_refused(headers: dict[str, str]) -> None:
    with pytest.raises(InvalidRequest):
        create_request(**headers)


def test_sub_offset_zero_needs_no_offset() -> None:
    request = create_request(stream_forked_from="/v1/stream/a", stream_fork_sub_offset="0")

    assert request.fork == ForkRequest("a", None, 0)


@pytest.mark.parametrize(
    "value", ["", "-1", "+1", "05", "00", "1.5", "1e3", "abc", "٣", "²", " 1", "1 ", "1\n", "9" * 17]
)
def test_a_malformed_sub_offset_is_refused(value: str) -> None:
    with pytest.raises(InvalidRequest, match="Stream-Fork-Sub-Offset"):
        create_request(
            stream_forked_from="/v1/stream/a", stream_fork_offset="-1", stream_fork_sub_offset=value
        )


@pytest.mark.parametrize("value", ["", "a b", "a,b", "a&b", "a=b", "a?b", "a/b", "é", "x" * 257])
def test_a_fork_offset_that_cannot_be_a_token_is_refused(value: str) -> None:
    with pytest.raises(InvalidOffset, match="Stream-Fork-Offset"):
        create_request(stream_forked_from="/v1/stream/a", stream_fork_offset=value)


@pytest.mark.parametrize("value", ["a", "/a", "/v1/streams/a", "v1/stream/a", "http://h/v1/stream/a", ""])
def test_a_fork_source_that_is_no_stream_of_this_server_is_not_found(value: str) -> None:
    with pytest.raises(NotFound, match="Stream-Forked-From"):
        create_request(stream_forked_from=value)


@pytest.mark.parametrize("value", ["/v1/stream/", "/v1/stream/a/..", "/v1/stream/%ff", "/v1/stream/__ds/x"])
def test_a_fork_source_with_a_malformed_path_is_refused(value: str) -> None:
    with pytest.raises(InvalidRequest):
        create_request(stream_forked_from=value)


# Initial payload


@pytest.mark.parametrize(
    ("body", "mode", "payload"),
    [
        (b"", Mode.JSON, Payload(b"", 0)),
        (b"[]", Mode.JSON, Payload(b"", 0)),
        (b"[1,2]", Mode.JSON, Payload(b"1,2,", 2)),
        (b"[]", Mode.TEXT, Payload(b"[]", 1)),
        (b"\x00\xff", Mode.BINARY, Payload(b"\x00\xff", 1)),
    ],
)
def test_the_body_of_a_create_request_is_the_first_append(body: bytes, mode: Mode, payload: Payload) -> None:
    assert initial_payload(create_request("s", body), mode) == payload


def test_a_create_request_may_say_how_much_is_kept() -> None:
    request = create_request(stream_retention_bytes="1000", stream_retention_age="60")

    assert request.retention == Retention(1000, 60)
    assert create_request().retention is None


def test_a_json_stream_cannot_begin_with_something_else() -> None:
    with pytest.raises(InvalidJson):
        initial_payload(create_request("s", b"nope"), Mode.JSON)


# Large bodies

LARGE = b"[" + b" " * 40_000 + b"1,2]"


def checked(
    headers: dict[str, str], body: bytes, *, allow_empty: bool = False
) -> Payload | ProtocolError | None:
    found: list[Payload | ProtocolError | None] = []

    def steps() -> Iterator[None]:
        found.append((yield from check_large_json(headers, body, allow_empty=allow_empty)))

    list(steps())
    return found[0]


@pytest.mark.parametrize(
    "headers", [{"content-type": "application/json; charset=utf-8"}, {"stream-forked-from": "/v1/stream/a"}]
)
def test_what_may_become_json_is_checked_ahead(headers: dict[str, str]) -> None:
    assert checked(headers, LARGE) == Payload(b"1,2,", 2)
    assert isinstance(checked(headers, LARGE[:-1]), InvalidJson)


@pytest.mark.parametrize("headers", [{}, {"content-type": "text/plain"}])
def test_what_is_no_json_is_not_checked_ahead(headers: dict[str, str]) -> None:
    assert checked(headers, LARGE) is None


def test_what_was_found_ahead_is_not_looked_for_again() -> None:
    json_type = {"content-type": "application/json"}
    payload, error = Payload(b"1,2,", 2), InvalidJson("no")

    assert parse_append("s", json_type, LARGE, checked=payload).payload is payload
    assert parse_append("s", json_type, LARGE, checked=error).payload is error
    request = parse_create("s", json_type, LARGE, root=ROOT, checked=payload)
    assert initial_payload(request, Mode.JSON) is payload
    assert initial_payload(request, Mode.TEXT) == Payload(LARGE, 1)
    refused = parse_create("s", json_type, LARGE, root=ROOT, checked=error)
    with pytest.raises(InvalidJson):
        initial_payload(refused, Mode.JSON)


# Append


def test_an_append_carries_everything_it_was_sent_with() -> None:
    request = append_request(
        "s",
        b"x",
        content_type=TEXT,
        stream_seq="007",
        producer_id="p",
        producer_epoch="1",
        producer_seq="2",
        stream_closed="true",
    )

    assert request.payload == Payload(b"x", 1)
    assert (request.content_type, request.seq, request.close) == ("text/plain", "007", True)
    assert request.claim == ProducerClaim("p", 1, 2)


def test_a_json_body_is_flattened_into_messages() -> None:
    assert append_request("s", b'[{"a":1}, 2]', content_type=JSON).payload == Payload(b'{"a":1},2,', 2)


@pytest.mark.parametrize(
    ("body", "headers", "error"),
    [
        (b"", {}, EmptyBody),
        (b"", {"content_type": JSON}, EmptyBody),
        (b"x", {}, InvalidRequest),
        (b"x", {"content_type": ""}, InvalidRequest),
        (b"[]", {"content_type": JSON}, EmptyBody),
        (b"[]", {"content_type": JSON, "stream_closed": "true"}, EmptyBody),
        (b"{", {"content_type": JSON}, InvalidJson),
        (b" ", {"content_type": JSON}, InvalidJson),
    ],
)
def test_a_bad_body_waits_for_conditions_of_higher_precedence(
    body: bytes, headers: dict[str, str], error: type[ProtocolError]
) -> None:
    request = append_request("s", body, **headers)

    assert type(request.payload) is error


def test_a_close_without_a_body_ignores_its_content_type() -> None:
    request = append_request(stream_closed="true", content_type="not a type")

    assert request.payload == Payload(b"", 0)
    assert request.content_type is None


@pytest.mark.parametrize("seq", ["", "x" * 1025])
def test_a_stream_seq_has_1_to_1024_characters(seq: str) -> None:
    with pytest.raises(InvalidRequest, match="Stream-Seq"):
        append_request("s", b"x", content_type=TEXT, stream_seq=seq)


def test_incomplete_producer_headers_are_refused() -> None:
    with pytest.raises(InvalidRequest, match="Producer-Id"):
        append_request("s", b"x", content_type=TEXT, producer_id="p")


# Listings


@pytest.mark.parametrize(
    ("query", "request_"),
    [
        ({}, ListRequest("", None, 100)),
        ({"prefix": ["a/b%20"], "after": ["a/b%20c"], "limit": ["7"]}, ListRequest("a/b%20", "a/b%20c", 7)),
        ({"prefix": [""], "limit": ["1000"], "offset": ["x"]}, ListRequest("", None, 1000)),
    ],
)
def test_a_listing_has_a_prefix_a_place_and_a_limit(
    query: dict[str, list[str]], request_: ListRequest
) -> None:
    assert parse_list(query) == request_


@pytest.mark.parametrize(
    "query",
    [
        *({"limit": [text]} for text in ("", "0", "01", "-1", "+1", "1001", "1.5", "x", "¹", "9" * 5000)),
        {"limit": ["1", "1"]},
        {"prefix": ["a", "b"]},
        {"after": [""]},
        {"after": ["a", "a"]},
    ],
)
def test_a_malformed_listing_is_refused(query: dict[str, list[str]]) -> None:
    with pytest.raises(InvalidRequest):
        parse_list(query)


# Read


def test_a_bare_read_begins_at_the_start() -> None:
    request = parse_read("s", {}, {})

    assert (request.offset, request.live, request.cursor, request.if_none_match) == (None, None, None, None)


@pytest.mark.parametrize("live", ["long-poll", "sse"])
def test_a_live_read_says_so(live: str) -> None:
    request = parse_read("s", {"if-none-match": '"x"'}, {"offset": ["now"], "live": [live], "cursor": ["7"]})

    assert (request.offset, request.live, request.cursor, request.if_none_match) == ("now", live, "7", '"x"')


def test_unknown_parameters_are_ignored() -> None:
    assert parse_read("s", {}, {"offset": ["-1"], "x": ["", ""]}).offset == "-1"


@pytest.mark.parametrize(
    ("query", "error"),
    [
        ({"offset": [""]}, InvalidOffset),
        ({"offset": ["-1", "-1"]}, InvalidOffset),
        ({"offset": ["a b"]}, InvalidOffset),
        ({"offset": ["a,b"]}, InvalidOffset),
        ({"offset": ["a/b"]}, InvalidOffset),
        ({"offset": ["a?b"]}, InvalidOffset),
        ({"offset": ["a=b"]}, InvalidOffset),
        ({"offset": ["a&b"]}, InvalidOffset),
        ({"offset": ["\x00"]}, InvalidOffset),
        ({"offset": ["٠"]}, InvalidOffset),
        ({"offset": ["0" * 257]}, InvalidOffset),
        ({"live": ["sse"]}, InvalidRequest),
        ({"live": ["long-poll"]}, InvalidRequest),
        ({"live": [""], "offset": ["-1"]}, InvalidRequest),
        ({"live": ["SSE"], "offset": ["-1"]}, InvalidRequest),
        ({"live": ["websocket"], "offset": ["-1"]}, InvalidRequest),
        ({"live": ["sse", "sse"], "offset": ["-1"]}, InvalidRequest),
    ],
)
def test_a_malformed_query_is_refused(query: dict[str, list[str]], error: type[ProtocolError]) -> None:
    with pytest.raises(error):
        parse_read("s", {}, query)


@given(
    st.dictionaries(
        st.sampled_from(HEADER_NAMES),
        st.text(st.characters(max_codepoint=255), max_size=20) | st.sampled_from(["true", "0", "text/plain"]),
    ),
    st.dictionaries(
        st.sampled_from(["offset", "live", "cursor"]), st.lists(st.text(max_size=9), min_size=1, max_size=2)
    ),
    st.binary(max_size=20),
    st.sampled_from([parse_create, parse_append, parse_read]),
)
def test_no_headers_query_or_body_raise_anything_but_protocol_errors(
    headers: dict[str, str], query: dict[str, list[str]], body: bytes, parse: Callable[..., Any]
) -> None:
    arguments: dict[Any, dict[str, Any]] = {
        parse_create: {"body": body, "root": ROOT},
        parse_append: {"body": body},
        parse_read: {"query": query},
    }

    try:
        request = parse("s", headers, **arguments[parse])
    except ProtocolError:
        return

    assert request.path == "s"
