"""The pure parts of the command line: addresses, messages, windows, differences, texts for people."""

from __future__ import annotations

import json

import pytest
from hypothesis import given
from hypothesis import strategies as st

from durafold.cli.address import base_address, credentials, name_of, parse_header, stream_address
from durafold.cli.archive import Begin, Content, End, begin_line, content_lines, end_line, parse_line
from durafold.cli.checkpoint import Place
from durafold.cli.diffing import changes_between
from durafold.cli.exits import exit_code_of
from durafold.cli.formatting import byte_count, count, escaped, hex_lines, short
from durafold.cli.messages import LineSplitter, check_json_line, split_array
from durafold.cli.windows import Window
from durafold.client import Page
from durafold.engine import base_url, stream_url
from durafold.errors import (
    BadRequest,
    ConfigurationError,
    ConnectFailed,
    DurafoldError,
    FencedError,
    Forbidden,
    MalformedResponse,
    ProducerTaken,
    SequenceConflict,
    ServerUnavailable,
    StreamClosed,
    StreamGone,
    StreamNotFound,
    TransportTimeout,
    Unauthorized,
)
from durafold.wire.offsets import Offset

BASE = "http://host:1/v1/stream"

json_values = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False, allow_infinity=False) | st.text(),
    lambda inner: st.lists(inner) | st.dictionaries(st.text(), inner),
    max_leaves=10,
)

# ---- addresses ----


@pytest.mark.parametrize(
    ("given_url", "base"),
    [
        ("http://host:1", BASE),
        ("http://host:1/", BASE),
        ("http://host:1/v1/stream/", BASE),
        ("https://host/streams", "https://host/streams"),
    ],
)
def test_a_bare_origin_gets_the_default_path(given_url: str, base: str) -> None:
    assert base_address(given_url) == base == base_url(given_url)


@pytest.mark.parametrize("url", ["host:1", "ftp://host", "http://", "", "http://host:99999", "http://[::1"])
def test_what_is_no_url_is_refused_with_an_example(url: str) -> None:
    with pytest.raises(ConfigurationError, match="STREAM_URL"):
        base_address(url)


@pytest.mark.parametrize(
    "name", ["a", "a/b", "a b", "ü", "100%", "a?b#c", "a+b&c=d", "~!$'()*,;:@", "日本/語"]
)
def test_names_become_the_urls_that_keys_become(name: str) -> None:
    url = stream_address(BASE, name)

    assert url == stream_url(BASE, name)
    assert name_of(url.removeprefix(f"{BASE}/"), BASE) == name


@pytest.mark.parametrize("name", ["", "/a", "a/", "a//b", ".", "a/../b", "a\udcff"])
def test_names_that_no_stream_can_have_are_refused(name: str) -> None:
    with pytest.raises(ConfigurationError):
        stream_address(BASE, name)


def test_query_parameters_of_the_base_stay() -> None:
    assert stream_address("http://host/v1/stream?key=1", "a/b") == "http://host/v1/stream/a/b?key=1"


def test_a_path_that_no_name_stands_for_is_shown_as_url() -> None:
    assert name_of("a%2Fb", BASE) == f"{BASE}/a%2Fb"


@pytest.mark.parametrize(
    ("token", "environment", "header"),
    [
        (None, {}, {}),
        (None, {"STREAM_AUTH": ""}, {}),
        (None, {"STREAM_AUTH": "Basic abc"}, {"Authorization": "Basic abc"}),
        ("abc", {"STREAM_AUTH": "Basic x"}, {"Authorization": "Bearer abc"}),
        ("Basic abc", {}, {"Authorization": "Basic abc"}),
    ],
)
def test_credentials_come_from_the_option_or_the_environment(
    token: str | None, environment: dict[str, str], header: dict[str, str]
) -> None:
    assert credentials(token, environment) == header


@pytest.mark.parametrize(
    ("token", "environment", "said"),
    [
        ("s3cret\n", {}, "--token.*line break.*Strip it"),
        ("s3cret ", {}, "--token.*white space.*Strip it"),
        ("s3c\nret", {}, "--token.*printable ASCII"),
        ("s3crét", {}, "--token.*printable ASCII"),
        ("", {}, "--token is empty"),
        (None, {"STREAM_AUTH": "Bearer s3cret\n"}, "STREAM_AUTH.*line break.*Strip it"),
    ],
)
def test_credentials_that_cannot_be_sent_are_refused_unshown(
    token: str | None, environment: dict[str, str], said: str
) -> None:
    with pytest.raises(ConfigurationError, match=said) as caught:
        credentials(token, environment)

    assert "s3c" not in str(caught.value)


def test_a_header_has_a_name_and_a_colon() -> None:
    assert parse_header("X-Key: a:b ") == ("X-Key", "a:b")


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("Authorization Bearer s3cret", "no colon.*'Name: value'"),
        (": s3cret", "no name"),
        ("X Key: s3cret", "'X Key' cannot be the name"),
        ("X-Key: s3cret\nX-Evil: 1", "'X-Key' has characters"),
    ],
)
def test_a_header_that_cannot_be_sent_is_refused_without_its_value(text: str, said: str) -> None:
    with pytest.raises(ConfigurationError, match=said) as caught:
        parse_header(text)

    assert "s3cret" not in str(caught.value)


# ---- messages ----


@given(st.lists(json_values), st.sampled_from([None, 1]))
def test_an_array_is_cut_into_its_elements(values: list[object], indent: int | None) -> None:
    texts = split_array(json.dumps(values, indent=indent).encode())

    assert [json.loads(text) for text in texts] == values
    assert [text for text in texts if "\n" in text] == []


def test_elements_keep_their_form() -> None:
    assert split_array(b' [1.10 , 1e400,"a\\u0041" ] ') == ["1.10", "1e400", '"a\\u0041"']


@pytest.mark.parametrize("text", [b"{}", b"[1", b"[1 2]", b"[1,]", b"\xff", b"[" * 100_000])
def test_what_is_no_array_is_a_malformed_page(text: bytes) -> None:
    with pytest.raises(MalformedResponse):
        split_array(text)


@given(st.binary(max_size=200), st.integers(1, 50))
def test_lines_are_the_same_however_they_come(data: bytes, size: int) -> None:
    splitter = LineSplitter(1000)
    lines = [line for at in range(0, len(data), size) for line in splitter.feed(data[at : at + size])]

    assert b"".join([*lines, splitter.rest()]) == data
    assert [line.count(b"\n") for line in lines] == [1] * len(lines)


def test_a_line_that_is_too_long_is_refused_before_it_ends() -> None:
    splitter = LineSplitter(10)
    splitter.feed(b"123456")

    with pytest.raises(ConfigurationError, match="more than 10 bytes"):
        splitter.feed(b"789012")


def test_an_empty_line_is_no_message() -> None:
    assert check_json_line(b" \r\n", "Line 1") == b""


# ---- windows ----


def page(
    data: bytes, content_type: str = "application/json", offset: str = "0", next_offset: str = "9"
) -> Page:
    return Page(data, content_type, Offset(offset), Offset(next_offset))


def test_a_window_skips_and_stops_within_a_page() -> None:
    part = Window(skip=1, limit=2).cut(page(b"[1,2,3,4]"))

    assert (part.messages, part.after, part.is_whole) == (["2", "3"], Place(Offset("0"), 3), False)


def test_a_window_skips_over_pages() -> None:
    window = Window(skip=3)

    first = window.cut(page(b"[1,2]", next_offset="5"))
    second = window.cut(page(b"[3,4]", offset="5"))

    assert (first.messages, first.after) == ([], Place(Offset("5"), 1))
    assert (second.messages, second.after) == (["4"], Place(Offset("9"), 0))


def test_a_line_that_goes_on_in_the_next_page_counts_once() -> None:
    window = Window(limit=1)

    first = window.cut(page(b"hel", "text/plain", next_offset="3"))
    second = window.cut(page(b"lo\nagain\n", "text/plain", offset="3"))

    assert (first.data, second.data, window.is_full) == (b"hel", b"lo\n", True)


# ---- exports ----


@given(st.text(), json_values)
def test_a_message_is_the_same_after_export(stream: str, value: object) -> None:
    text = json.dumps(value, ensure_ascii=False)
    (line,) = content_lines([text], b"")

    assert parse_line(line.encode("utf-8", "surrogatepass"), 1) == Content(
        text.encode("utf-8", "surrogatepass")
    )
    begin = Begin(stream, "text/plain", 5, None)
    assert parse_line(begin_line(begin).encode("utf-8", "surrogatepass"), 1) == begin


@given(st.binary(min_size=1))
def test_bytes_are_the_same_after_export(data: bytes) -> None:
    (line,) = content_lines(None, data)

    assert parse_line(line.encode(), 1) == Content(data)


def test_the_end_of_a_stream_says_whether_it_was_closed() -> None:
    assert parse_line(end_line("a", End(3, closed=True)).encode(), 1) == End(3, closed=True)


# ---- differences ----


@pytest.mark.parametrize(
    ("before", "after", "changes"),
    [
        (1, 1.0, []),
        (1, True, [("changed", ())]),
        (None, {}, [("changed", ())]),
        ({"a": 1, "b": 2}, {"b": 3, "c": 4}, [("removed", ("a",)), ("changed", ("b",)), ("added", ("c",))]),
        ([1, 2, 3], [0, 1, 2, 3], [("added", (0,))]),
        ([1, 2, 3], [1, 3], [("removed", (1,))]),
        ([1, [2], 3], [1, [2, 5], 3], [("added", (1, 1))]),
    ],
)
def test_differences_name_their_places(
    before: object, after: object, changes: list[tuple[str, tuple[object, ...]]]
) -> None:
    assert [(change.kind, change.path) for change in changes_between(before, after)] == changes


@given(json_values)
def test_nothing_is_different_from_itself(value: object) -> None:
    assert changes_between(value, value) == []


# ---- texts ----


def test_what_a_terminal_would_obey_is_made_visible() -> None:
    assert escaped("a\x1b[2Jb\x9b\r\u202ec\td\n") == "a\\x1b[2Jb\\x9b\\r\\u202ec\td\n"


@pytest.mark.parametrize(
    ("size", "text"),
    [(0, "0 B"), (999, "999 B"), (1000, "1.0 kB"), (999_960, "1.0 MB"), (10**16, "10000.0 TB")],
)
def test_sizes_are_powers_of_a_thousand(size: int, text: str) -> None:
    assert byte_count(size) == text


def test_one_is_singular() -> None:
    assert (count(1, "line"), count(1200, "line")) == ("1 line", "1,200 lines")


def test_long_texts_are_cut() -> None:
    assert (short("abcd", 4), short("abcde", 4)) == ("abcd", "abc…")


def test_bytes_are_shown_sixteen_a_line() -> None:
    assert [line[:12] for line in hex_lines(bytes(20), 16)] == ["00000010  00", "00000020  00"]


# ---- exit codes ----


@pytest.mark.parametrize(
    ("error", "code"),
    [
        (ConfigurationError(""), 2),
        (BadRequest("", status=400), 2),
        (StreamNotFound("", status=404), 3),
        (StreamClosed(""), 4),
        (SequenceConflict(""), 4),
        (FencedError("", current_epoch=2), 4),
        (ProducerTaken("", status=403), 4),
        (Unauthorized("", status=401), 5),
        (Forbidden("", status=403), 5),
        (ConnectFailed(""), 6),
        (TransportTimeout(""), 6),
        (ServerUnavailable(""), 6),
        (StreamGone("", status=410), 7),
        (MalformedResponse(""), 1),
        (DurafoldError(""), 1),
    ],
)
def test_each_kind_of_error_has_its_exit_code(error: DurafoldError, code: int) -> None:
    assert exit_code_of(error) == code
