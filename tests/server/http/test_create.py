"""PUT, HEAD and DELETE over the wire: every status and header literally (PROTOCOL §5.1, §5.4, §5.5, §4.2)."""

from __future__ import annotations

import re

import httpx
import pytest

from support.server import ServerProcess
from support.server_sockets import converse, request_bytes

OFFSET = re.compile(r"\d{16}_\d{16}")


def test_a_new_stream_is_201_with_its_absolute_url(client: httpx.Client, url: str) -> None:
    reply = client.put(url, headers={"Content-Type": "text/plain"})

    assert reply.status_code == 201
    assert reply.headers["location"] == url
    assert reply.headers["content-type"] == "text/plain"
    assert OFFSET.fullmatch(reply.headers["stream-next-offset"])
    assert "stream-closed" not in reply.headers
    assert reply.content == b""


def test_the_same_again_is_200_without_location(client: httpx.Client, url: str) -> None:
    first = client.put(url, headers={"Content-Type": "text/plain", "Stream-TTL": "3600"})

    again = client.put(url, headers={"Content-Type": "TEXT/plain", "Stream-TTL": "3600"}, content=b"ignored")

    assert again.status_code == 200
    assert "location" not in again.headers
    assert again.headers["content-type"] == "text/plain"
    assert again.headers["stream-next-offset"] == first.headers["stream-next-offset"]
    assert client.get(url).content == b""


@pytest.mark.parametrize(
    "headers",
    [
        {"Content-Type": "text/html"},
        {"Content-Type": "text/plain", "Stream-TTL": "60"},
        {"Content-Type": "text/plain", "Stream-Expires-At": "2099-01-01T00:00:00Z"},
        {"Content-Type": "text/plain", "Stream-Closed": "true"},
        {},
    ],
)
def test_another_configuration_is_409(client: httpx.Client, url: str, headers: dict[str, str]) -> None:
    client.put(url, headers={"Content-Type": "text/plain"})

    assert client.put(url, headers=headers).status_code == 409


def test_a_stream_without_a_type_is_octets(client: httpx.Client, url: str) -> None:
    assert client.put(url).headers["content-type"] == "application/octet-stream"


def test_a_stream_may_begin_with_data_and_closed(client: httpx.Client, url: str) -> None:
    reply = client.put(
        url, headers={"Content-Type": "application/json", "Stream-Closed": "true"}, content=b"[1,2]"
    )

    assert reply.status_code == 201
    assert reply.headers["stream-closed"] == "true"
    read = client.get(url)
    assert read.content == b"[1,2]"
    assert read.headers["stream-closed"] == "true"
    assert read.headers["stream-next-offset"] == reply.headers["stream-next-offset"]


def test_a_json_stream_may_begin_with_an_empty_array(client: httpx.Client, url: str) -> None:
    assert client.put(url, headers={"Content-Type": "application/json"}, content=b"[]").status_code == 201
    assert client.get(url).content == b"[]"


@pytest.mark.parametrize(
    ("host", "origin"),
    [
        ("host: example.com\r\n", "http://example.com"),
        ("host: example.com:8080\r\n", "http://example.com:8080"),
        ("host:\r\n", "http://127.0.0.1:{port}"),
    ],
)
def test_the_location_is_on_the_host_that_the_client_knows(
    wire_server: ServerProcess, url: str, host: str, origin: str
) -> None:
    path = httpx.URL(url).path
    sent = f"PUT {path} HTTP/1.1\r\n{host}connection: close\r\ncontent-length: 0\r\n\r\n".encode()

    (answer,) = converse(wire_server.port, sent, "PUT")

    assert answer.status == 201
    assert answer.headers["location"] == origin.format(port=wire_server.port) + path


@pytest.mark.parametrize(
    ("name", "canonical"),
    [
        ("a%2Fb", "a%2Fb"),
        ("a%2fb", "a%2Fb"),
        ("%61", "a"),
        ("caf%C3%A9", "caf%C3%A9"),
        ("a%20b", "a%20b"),
        ("a%3Fb%23c", "a%3Fb%23c"),
        ("a//b/", "a//b/"),
        ("http://b/c", "http://b/c"),
        ("(a),;=&$!'*+@:~", "(a),;=&$!'*+@:~"),
        ("%F0%9F%98%80", "%F0%9F%98%80"),
    ],
)
def test_the_location_of_any_name_leads_to_the_stream(
    client: httpx.Client, wire_server: ServerProcess, url: str, name: str, canonical: str
) -> None:
    path = httpx.URL(url).path
    (made,) = converse(wire_server.port, request_bytes("PUT", f"{path}/{name}", body=b"x"), "PUT")

    location = made.headers["location"].removeprefix("http://localhost")

    assert location == f"{path}/{canonical}"
    (read,) = converse(wire_server.port, request_bytes("GET", location), "GET")
    assert read.body == b"x"


def test_an_encoded_slash_names_another_stream_than_a_slash(
    wire_server: ServerProcess, client: httpx.Client, url: str
) -> None:
    path = httpx.URL(url).path
    converse(wire_server.port, request_bytes("PUT", f"{path}%2Fx", body=b"encoded"), "PUT")

    assert client.get(f"{url}/x").status_code == 404


def test_head_tells_everything_but_the_data(client: httpx.Client, url: str) -> None:
    client.put(url, headers={"Content-Type": "text/plain", "Stream-TTL": "3600"}, content=b"abc")

    reply = client.head(url)

    assert reply.status_code == 200
    assert reply.content == b""
    assert reply.headers["content-type"] == "text/plain"
    assert reply.headers["stream-ttl"] == "3600"
    assert reply.headers["cache-control"] == "no-store"
    assert reply.headers["stream-next-offset"] == client.get(url).headers["stream-next-offset"]
    assert "stream-closed" not in reply.headers


def test_head_does_not_promise_another_length_than_get(client: httpx.Client, url: str) -> None:
    client.put(url, content=b"abc")

    assert client.head(url).headers.get("content-length", "3") == "3"


def test_head_tells_expiry_as_it_was_given_and_closure(client: httpx.Client, url: str) -> None:
    client.put(url, headers={"Stream-Expires-At": "2099-01-01T01:00:00+01:00", "Stream-Closed": "true"})

    reply = client.head(url)

    assert reply.headers["stream-expires-at"] == "2099-01-01T01:00:00+01:00"
    assert reply.headers["stream-closed"] == "true"


def test_delete_is_204_and_then_everything_404(client: httpx.Client, url: str) -> None:
    client.put(url)

    assert client.delete(url).status_code == 204

    assert client.delete(url).status_code == 404
    assert client.head(url).status_code == 404
    assert client.get(url).status_code == 404
    assert client.post(url, content=b"x", headers={"Content-Type": "text/plain"}).status_code == 404
    assert client.post(url, headers={"Stream-Closed": "true"}).status_code == 404


def test_a_stream_made_anew_answers_410_for_old_offsets(client: httpx.Client, url: str) -> None:
    old = client.put(url, content=b"abc").headers["stream-next-offset"]
    client.delete(url)
    new = client.put(url, content=b"abcdef").headers["stream-next-offset"]

    assert client.get(url, params={"offset": old}).status_code == 410
    assert new > old


def test_a_fork_reads_on_from_its_source(client: httpx.Client, url: str) -> None:
    path = httpx.URL(url).path
    middle = client.put(url, headers={"Content-Type": "text/plain"}, content=b"abc").headers[
        "stream-next-offset"
    ]
    client.post(url, headers={"Content-Type": "text/plain"}, content=b"source")

    made = client.put(
        f"{url}-fork",
        headers={"Stream-Forked-From": path, "Stream-Fork-Offset": middle, "Stream-Fork-Sub-Offset": "1"},
    )
    client.post(f"{url}-fork", headers={"Content-Type": "text/plain"}, content=b"fork")

    assert made.status_code == 201
    assert made.headers["content-type"] == "text/plain"
    assert not any(name.startswith("stream-fork") for name in made.headers)
    assert client.get(f"{url}-fork").content == b"abcsfork"
    assert client.get(url).content == b"abcsource"


@pytest.mark.parametrize(
    ("headers", "status"),
    [
        ({"Stream-Forked-From": "/v1/stream/nowhere-at-all"}, 404),
        ({"Stream-Forked-From": "{path}", "Stream-Fork-Offset": "9999999999999999_0000000000000000"}, 400),
        ({"Stream-Forked-From": "{path}", "Stream-Fork-Offset": "abc"}, 400),
        ({"Stream-Forked-From": "{path}", "Stream-Fork-Offset": "-1", "Stream-Fork-Sub-Offset": "4"}, 400),
        ({"Stream-Forked-From": "{path}", "Content-Type": "text/html"}, 409),
        ({"Stream-Fork-Sub-Offset": "0"}, 400),
    ],
)
def test_a_refused_fork_holds_no_reference(
    client: httpx.Client, url: str, headers: dict[str, str], status: int
) -> None:
    path = httpx.URL(url).path
    client.put(url, headers={"Content-Type": "text/plain"}, content=b"abc")

    refused = client.put(f"{url}-fork", headers={name: v.format(path=path) for name, v in headers.items()})

    assert refused.status_code == status
    assert client.delete(url).status_code == 204
    assert client.head(url).status_code == 404


def test_a_source_lives_on_for_its_forks_and_is_410_for_everybody_else(
    client: httpx.Client, url: str
) -> None:
    path = httpx.URL(url).path
    client.put(url, headers={"Content-Type": "text/plain"}, content=b"abc")
    client.put(f"{url}-fork", headers={"Stream-Forked-From": path})

    assert client.delete(url).status_code == 204

    assert client.head(url).status_code == 410
    assert client.get(url).status_code == 410
    assert client.delete(url).status_code == 410
    assert client.post(url, headers={"Content-Type": "text/plain"}, content=b"x").status_code == 410
    assert client.put(url, headers={"Content-Type": "text/plain"}).status_code == 409
    assert client.put(f"{url}-2", headers={"Stream-Forked-From": path}).status_code == 409
    assert client.get(f"{url}-fork").content == b"abc"

    assert client.delete(f"{url}-fork").status_code == 204
    assert client.head(url).status_code == 404
    assert client.put(url).status_code == 201
