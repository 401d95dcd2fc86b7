"""Malformed requests of every kind: always a 4xx, never a 5xx, and nothing is changed by them."""

from __future__ import annotations

import httpx
import pytest

from support.server import ServerProcess
from support.server_sockets import converse, request_bytes

DEEP = b"[" * 200 + b"]" * 200
PRODUCER = "producer-id: p\r\nproducer-epoch: 0\r\nproducer-seq: 0\r\n"
TEXT = "content-type: text/plain\r\n"
JSON = "content-type: application/json\r\n"


def producer(producer_id: str = "p", epoch: str = "0", seq: str = "0") -> str:
    return f"{TEXT}producer-id: {producer_id}\r\nproducer-epoch: {epoch}\r\nproducer-seq: {seq}\r\n"


@pytest.fixture
def path(client: httpx.Client, url: str) -> str:
    """Path of a JSON stream that holds `[1]`; beside it is `{path}-text`, which holds `abc`."""
    client.put(url, headers={"Content-Type": "application/json"}, content=b"[1]")
    client.put(f"{url}-text", headers={"Content-Type": "text/plain"}, content=b"abc")
    return httpx.URL(url).path


def ask(server: ServerProcess, method: str, target: str, headers: str = "", body: bytes = b"") -> int:
    (answer,) = converse(server.port, request_bytes(method, target, headers, body), method)
    assert answer.headers["x-content-type-options"] == "nosniff"
    assert answer.headers["content-type"] == "text/plain; charset=utf-8"
    return answer.status


@pytest.mark.parametrize(
    "query",
    [
        "offset=",
        "offset",
        "offset=&offset=-1",
        "offset=-1&offset=-1",
        "offset=-1&offset=now",
        "offset=-2",
        "offset=0",
        "offset=1",
        "offset=NOW",
        "offset=abc",
        "offset=-1%00",
        "offset=%20-1",
        "offset=%0d%0aX:y",
        "offset=a,b",
        "offset=a/b",
        "offset=a%3Db",
        "offset=%FF",
        "offset=%ZZ",
        "offset=%",
        "offset=9999999999999999_999999999999999",
        "offset=0000000000000000_0000000000000000x",
        "offset=%D9%A0%D9%A1",
        "offset=0000000000000000_%D9%A0%D9%A0%D9%A0%D9%A0%D9%A0%D9%A0%D9%A0%D9%A0",
        f"offset={'0' * 300}",
        f"offset={'9' * 5000}",
        "live=long-poll",
        "live=sse",
        "offset=-1&live=",
        "offset=-1&live=true",
        "offset=-1&live=SSE",
        "offset=-1&live=sse&live=sse",
        "offset=-1&live=sse&live=long-poll",
        "offset=abc&live=sse",
        "offset=abc&live=long-poll",
    ],
)
def test_a_malformed_query_is_400(wire_server: ServerProcess, path: str, query: str) -> None:
    assert ask(wire_server, "GET", f"{path}?{query}") == 400


def test_an_offset_beyond_the_tail_is_400_in_every_mode(
    wire_server: ServerProcess, path: str, client: httpx.Client
) -> None:
    tail = client.head(f"{wire_server.url}/{path.removeprefix('/v1/stream/')}").headers["stream-next-offset"]
    beyond = tail[:-2] + "99"

    assert ask(wire_server, "GET", f"{path}?offset={beyond}") == 400
    assert ask(wire_server, "GET", f"{path}?offset={beyond}&live=sse") == 400
    assert ask(wire_server, "GET", f"{path}?offset={beyond}&live=long-poll") == 400


def test_an_offset_that_was_never_handed_out_is_410_or_400(wire_server: ServerProcess, path: str) -> None:
    assert ask(wire_server, "GET", f"{path}?offset=9999999999999999_9999999999999999") == 410
    assert ask(wire_server, "GET", f"{path}?offset=0000000000000001_0000000000000000") == 410


@pytest.mark.parametrize("method", ["GET", "HEAD", "PUT", "POST", "DELETE"])
@pytest.mark.parametrize(
    ("name", "status"),
    [
        ("%", 400),
        ("%zz", 400),
        ("a%2", 400),
        ("a%00b", 400),
        ("%0d%0aX-Evil:%20y", 400),
        ("%7F", 400),
        ("%ff", 400),
        ("%C3", 400),
        ("%ED%A0%80", 400),
        ("%C0%AE%C0%AE/etc", 400),
        (".", 400),
        ("..", 400),
        ("a/../b", 400),
        ("%2e%2e/%2e%2e/etc/passwd", 400),
        ("%5F%5Fds/x", 400),
        ("a" * 4000, 414),
        ("%61" * 700, 414),
        ("%22" * 700, 414),
    ],
)
def test_a_malformed_name_is_refused(wire_server: ServerProcess, method: str, name: str, status: int) -> None:
    assert ask(wire_server, method, f"/v1/stream/{name}", TEXT, b"x" if method == "POST" else b"") == status


@pytest.mark.parametrize(
    "target", ["/", "/v1", "/v1/stream", "/v1/streams/a", "/v2/stream/a", "//v1/stream/a", "*"]
)
def test_a_path_outside_the_streams_is_404(wire_server: ServerProcess, target: str) -> None:
    assert ask(wire_server, "GET", target) == 404


@pytest.mark.parametrize("method", ["PATCH", "TRACE", "LOCK", "PURGE", "SEARCH"])
def test_a_method_of_no_meaning_is_405(wire_server: ServerProcess, path: str, method: str) -> None:
    (answer,) = converse(wire_server.port, request_bytes(method, path), method)

    assert answer.status == 405
    assert answer.headers["allow"] == "GET, HEAD, POST, PUT, DELETE, OPTIONS"


@pytest.mark.parametrize(
    "headers",
    [
        "content-type: text\r\n",
        "content-type: /\r\n",
        "content-type: text/plain text\r\n",
        "content-type: text/plain, application/json\r\n",
        "content-type: text/plain\r\ncontent-type: text/plain\r\n",
        "content-type: t\xe9xt/plain\r\n",
        f"content-type: text/{'x' * 300}\r\n",
        "stream-ttl:\r\n",
        "stream-ttl: -1\r\n",
        "stream-ttl: +60\r\n",
        "stream-ttl: 060\r\n",
        "stream-ttl: 60.0\r\n",
        "stream-ttl: 6e1\r\n",
        "stream-ttl: 0x3c\r\n",
        "stream-ttl: 1_0\r\n",
        "stream-ttl: \xb2\r\n",
        "stream-ttl: \xd9\xa3\r\n",
        f"stream-ttl: {'9' * 5000}\r\n",
        "stream-ttl: 60\r\nstream-ttl: 60\r\n",
        "stream-ttl: 60\r\nstream-expires-at: 2099-01-01T00:00:00Z\r\n",
        "stream-expires-at:\r\n",
        "stream-expires-at: tomorrow\r\n",
        "stream-expires-at: 4070908800\r\n",
        "stream-expires-at: 2099-01-01\r\n",
        "stream-expires-at: 2099-01-01T00:00:00\r\n",
        "stream-expires-at: 2099-13-01T00:00:00Z\r\n",
        "stream-expires-at: 2099-02-30T00:00:00Z\r\n",
        "stream-expires-at: 2099-01-01T25:00:00Z\r\n",
        "stream-expires-at: 0000-01-01T00:00:00Z\r\n",
        "stream-expires-at: 0001-01-01T00:00:00+23:59\r\n",
        "stream-expires-at: 9999-12-31T23:59:59-23:59\r\n",
        "stream-expires-at: 99999-01-01T00:00:00Z\r\n",
        "stream-closed: true\r\nstream-closed: true\r\n",
        "stream-fork-offset: -1\r\n",
        "stream-fork-sub-offset: 0\r\n",
        "stream-forked-from: /v1/stream/\r\n",
        "stream-forked-from: /v1/stream/..\r\n",
        "stream-forked-from: /v1/stream/%ff\r\n",
        "stream-forked-from: {path}\r\nstream-fork-offset:\r\n",
        "stream-forked-from: {path}\r\nstream-fork-offset: 0\r\n",
        "stream-forked-from: {path}\r\nstream-fork-offset: a b\r\n",
        "stream-forked-from: {path}\r\nstream-fork-sub-offset: 1\r\n",
        "stream-forked-from: {path}\r\nstream-fork-offset: -1\r\nstream-fork-sub-offset: -1\r\n",
        "stream-forked-from: {path}\r\nstream-fork-offset: -1\r\nstream-fork-sub-offset: 01\r\n",
        "stream-forked-from: {path}\r\nstream-fork-offset: -1\r\nstream-fork-sub-offset: 1.0\r\n",
        "stream-forked-from: {path}\r\nstream-fork-offset: -1\r\nstream-fork-sub-offset: \xb2\r\n",
        "stream-forked-from: {path}\r\nstream-fork-offset: -1\r\nstream-fork-sub-offset: 999\r\n",
        f"stream-forked-from: {{path}}\r\nstream-fork-offset: -1\r\nstream-fork-sub-offset: {'9' * 5000}\r\n",
    ],
)
def test_a_create_request_with_a_malformed_header_is_400_and_creates_nothing(
    wire_server: ServerProcess, path: str, headers: str
) -> None:
    assert ask(wire_server, "PUT", f"{path}-new", headers.replace("{path}", path)) == 400
    assert ask(wire_server, "GET", f"{path}-new") == 404


@pytest.mark.parametrize(
    "headers",
    [
        "",
        "content-type:\r\n",
        "content-type: text\r\n",
        "content-type: text/plain;\xff\r\n",
        TEXT + "stream-seq:\r\n",
        TEXT + f"stream-seq: {'x' * 1025}\r\n",
        TEXT + "stream-seq: a\r\nstream-seq: b\r\n",
        TEXT + "producer-id: p\r\n",
        TEXT + "producer-epoch: 0\r\nproducer-seq: 0\r\n",
        TEXT + "producer-id: p\r\nproducer-seq: 0\r\n",
        TEXT + PRODUCER + "producer-id: q\r\n",
        TEXT + PRODUCER + "producer-seq: 0\r\n",
        producer(producer_id=""),
        producer(producer_id="x" * 1025),
        producer(epoch=""),
        producer(epoch="-1"),
        producer(epoch="+1"),
        producer(epoch="1.0"),
        producer(epoch="1e3"),
        producer(epoch="0xyz"),
        producer(epoch="0x10"),
        producer(epoch="\xb2"),
        producer(epoch="\xd9\xa3"),
        producer(epoch="9007199254740992"),
        producer(epoch="9" * 5000),
        producer(seq=""),
        producer(seq="-1"),
        producer(seq="1e0"),
        producer(seq="1_0"),
        producer(seq="٠".encode().decode("latin-1")),
        producer(seq="9007199254740992"),
        producer(seq="9" * 5000),
        producer(seq="NaN"),
    ],
)
def test_an_append_with_a_malformed_header_is_400_and_appends_nothing(
    wire_server: ServerProcess, path: str, headers: str
) -> None:
    assert ask(wire_server, "POST", f"{path}-text", headers, b"x") == 400
    (read,) = converse(wire_server.port, request_bytes("GET", f"{path}-text"), "GET")
    assert read.body == b"abc"


@pytest.mark.parametrize(
    "body",
    [
        b"",
        b" ",
        b"[]",
        b" [ ] ",
        b"{",
        b"}",
        b"[1",
        b"[1,]",
        b"[,]",
        b"nul",
        b"NaN",
        b"[Infinity]",
        b'{"a":-Infinity}',
        b"01",
        b"1.",
        b"'a'",
        b'"a',
        b'"\x00"',
        b'"\n"',
        b'"\\x"',
        b'"\\ud800"',
        b"{a:1}",
        b'{"a":1,}',
        b"1 2",
        b"{}{}",
        b"[1]\x00",
        b"\xef\xbb\xbf[1]",
        b"\xff",
        b'"\xc3"',
        b'"\xed\xa0\x80"',
        '["a"]'.encode("utf-16"),
        '["a"]'.encode("utf-32"),
        DEEP,
        b'{"a":' * 200 + b"1" + b"}" * 200,
        b"[" * 100_000,
        b"[" * 1_000_000 + b"]" * 1_000_000,
        b'{"a":' * 100_000,
        b"// x\n1",
    ],
)
def test_a_body_that_is_no_json_is_400_and_appends_nothing(
    wire_server: ServerProcess, path: str, body: bytes
) -> None:
    assert ask(wire_server, "POST", path, JSON, body) == 400
    (read,) = converse(wire_server.port, request_bytes("GET", path), "GET")
    assert read.body == b"[1]"


@pytest.mark.parametrize("body", [b"{", b"\xff", DEEP])
def test_a_json_stream_cannot_be_created_with_a_body_that_is_none(
    wire_server: ServerProcess, path: str, body: bytes
) -> None:
    assert ask(wire_server, "PUT", f"{path}-new", JSON, body) == 400
    assert ask(wire_server, "GET", f"{path}-new") == 404


@pytest.mark.parametrize(
    ("body", "read_back"),
    [
        (b"1" * 10_000, b"[1," + b"1" * 10_000 + b"]"),
        (b"-" + b"9" * 5_000 + b"e99999", b"[1,-" + b"9" * 5_000 + b"e99999]"),
        (b'"\\u0000"', b'[1,"\\u0000"]'),
        (b'{"a":1,"a":2}', b'[1,{"a":1,"a":2}]'),
    ],
)
def test_unusual_but_valid_json_is_kept_as_it_is(
    wire_server: ServerProcess, path: str, body: bytes, read_back: bytes
) -> None:
    (appended,) = converse(wire_server.port, request_bytes("POST", path, JSON, body), "POST")
    (read,) = converse(wire_server.port, request_bytes("GET", path), "GET")

    assert appended.status == 204
    assert read.body == read_back


@pytest.mark.parametrize(
    "request_line",
    [
        b"GET /v1/stream/a HTTP/1.1\r\nhost: x\r\ncontent-length: -1\r\n\r\n",
        b"GET /v1/stream/a HTTP/1.1\r\nhost: x\r\ncontent-length: 1\r\ncontent-length: 2\r\n\r\nab",
        b"POST / HTTP/1.1\r\nhost: x\r\ncontent-length: 3\r\ntransfer-encoding: chunked\r\n\r\n0\r\n\r\n",
        b"POST /v1/stream/a HTTP/1.1\r\nhost: x\r\ntransfer-encoding: chunked\r\n\r\nxyz\r\n",
        b"GET /v1/stream/a HTTP/1.1\r\nhost: x\r\nbad header\r\n\r\n",
        b"GET /v1/stream/a HTTP/1.1\r\nhost: x\r\nspaced : 1\r\n\r\n",
        b"GET /v1/stream/a HTTP/1.1\r\nhost: x\r\nnul: a\x00b\r\n\r\n",
        b"GET /v1/stream/a HTTP/1.1\r\nhost: x\r\nfolded: a\r\n b\r\n\r\n",
        b"GET /v1/stream/a b HTTP/1.1\r\nhost: x\r\n\r\n",
        b"GET /v1/stream/a HTTP/9.9\r\nhost: x\r\n\r\n",
        b"BREW /v1/stream/a HTTP/1.1\r\nhost: x\r\n\r\n",
        b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03",
        b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n",
        b"\x00\x00\x00\x00",
    ],
)
def test_what_is_no_http_is_400_and_hung_up_on(wire_server: ServerProcess, request_line: bytes) -> None:
    (answer,) = converse(wire_server.port, request_line, "GET")

    assert answer.status == 400
    assert answer.headers["connection"] == "close"


def test_the_server_has_survived_all_of_this(
    wire_server: ServerProcess, client: httpx.Client, url: str
) -> None:
    assert client.put(url).status_code == 201
    assert "Traceback" not in wire_server.output
