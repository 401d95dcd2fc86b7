"""HTTP as the load generator speaks it: bytes in, bytes out."""

from __future__ import annotations

import pytest

from durafold_server.bench.errors import BenchError
from durafold_server.bench.wire import Response, ResponseParser, encode_request

FIXED = b"HTTP/1.1 200 OK\r\nContent-Type: text/plain\r\ncontent-length: 5\r\n\r\nhello"
CHUNKED = (
    b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n"
    b"5\r\nhello\r\n1;name=value\r\n \r\nA\r\n0123\r\n5678\r\n0\r\n\r\n"
)


def read(parser: ResponseParser, data: bytes, step: int) -> bytes:
    return b"".join(parser.feed(data[at : at + step]) for at in range(0, len(data), step))


def test_a_request_with_a_body_names_its_length() -> None:
    request = encode_request("POST", "/v1/stream/a", "localhost:1", {"Content-Type": "text/plain"}, b"data")

    assert request == (
        b"POST /v1/stream/a HTTP/1.1\r\nHost: localhost:1\r\nContent-Type: text/plain\r\n"
        b"Content-Length: 4\r\n\r\ndata"
    )


def test_a_request_without_a_body_names_a_length_only_where_one_is_expected() -> None:
    assert encode_request("GET", "/a", "h") == b"GET /a HTTP/1.1\r\nHost: h\r\n\r\n"
    assert encode_request("PUT", "/a", "h") == b"PUT /a HTTP/1.1\r\nHost: h\r\nContent-Length: 0\r\n\r\n"


@pytest.mark.parametrize("step", [1, 2, 3, 7, 1000])
def test_a_body_of_known_length_is_read_however_it_arrives(step: int) -> None:
    parser = ResponseParser()

    assert read(parser, FIXED, step) == b"hello"
    assert (parser.status, parser.complete) == (200, True)


@pytest.mark.parametrize("step", [1, 2, 3, 7, 1000])
def test_chunks_are_taken_apart_however_they_arrive(step: int) -> None:
    parser = ResponseParser()

    assert read(parser, CHUNKED, step) == b"hello 0123\r\n5678"
    assert (parser.status, parser.complete) == (200, True)


def test_a_response_is_complete_only_with_its_last_byte() -> None:
    parser = ResponseParser()

    parser.feed(CHUNKED[:-1])

    assert not parser.complete


def test_parts_of_an_endless_body_come_out_at_once() -> None:
    parser = ResponseParser()

    parser.feed(b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n")

    assert parser.feed(b"6\r\nevent:") == b"event:"
    assert parser.feed(b"\r\n3\r\nda") == b"da"


def test_one_parser_reads_one_response_after_another() -> None:
    parser = ResponseParser()
    read(parser, FIXED, 1000)

    assert read(parser, b"HTTP/1.1 204 No Content\r\nA: b\r\n\r\n", 1000) == b""
    assert (parser.status, parser.complete) == (204, True)


def test_a_response_to_head_has_no_body_whatever_its_length_says() -> None:
    parser = ResponseParser("HEAD")

    parser.feed(FIXED.removesuffix(b"hello"))

    assert parser.complete


@pytest.mark.parametrize(
    "data",
    [
        b"SSH-2.0-OpenSSH_9.2\r\n",
        b"HTTP/1.0 200 OK\r\n\r\n",
        b"HTTP/1.1 200 OK\r\n\r\n",
        FIXED + b"more",
        CHUNKED.replace(b"5\r\nhello", b"five\r\nhello"),
        b"HTTP/1.1 200 OK\r\nA: " + b"a" * 70_000,
    ],
    ids=["no-http", "http-1.0", "no-length", "too-much", "bad-chunk", "endless-head"],
)
def test_what_cannot_be_counted_is_an_error(data: bytes) -> None:
    with pytest.raises(BenchError):
        ResponseParser().feed(data)


def test_headers_are_found_in_any_case() -> None:
    response = Response(200, b"HTTP/1.1 200 OK\r\nstream-next-offset: 0_5\r\nEmpty:\r\n", b"")

    assert response.header("Stream-Next-Offset") == "0_5"
    assert response.header("Empty") == ""
    assert response.header("Next-Offset") is None
