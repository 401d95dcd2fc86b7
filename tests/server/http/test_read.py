"""GET without `live` over the wire (PROTOCOL §5.6, §8, §9.1, §10.1)."""

from __future__ import annotations

import httpx
import pytest

TEXT = {"Content-Type": "text/plain"}
JSON = {"Content-Type": "application/json"}


@pytest.fixture
def stream(client: httpx.Client, url: str) -> str:
    """URL of a text stream that holds `abc`."""
    client.put(url, headers=TEXT, content=b"abc")
    return url


@pytest.mark.parametrize(
    "params",
    [{}, {"offset": "-1"}, {"offset": "0000000000000000_0000000000000000"}, {"offset": "-1", "unknown": "x"}],
)
def test_a_read_from_the_start(client: httpx.Client, stream: str, params: dict[str, str]) -> None:
    reply = client.get(stream, params=params)

    assert reply.status_code == 200
    assert reply.content == b"abc"
    assert reply.headers["content-type"] == "text/plain"
    assert reply.headers["content-length"] == "3"
    assert reply.headers["stream-up-to-date"] == "true"
    assert reply.headers["stream-next-offset"] == client.head(stream).headers["stream-next-offset"]
    assert reply.headers["cache-control"] == "public, max-age=60, stale-while-revalidate=300"
    assert "stream-closed" not in reply.headers


def test_a_read_at_the_tail_is_empty_and_must_be_asked_for_again(client: httpx.Client, stream: str) -> None:
    tail = client.head(stream).headers["stream-next-offset"]

    reply = client.get(stream, params={"offset": tail})

    assert (reply.status_code, reply.content) == (200, b"")
    assert reply.headers["stream-next-offset"] == tail
    assert reply.headers["stream-up-to-date"] == "true"
    assert reply.headers["cache-control"] == "no-cache"
    assert reply.headers["etag"]


def test_a_read_from_now_is_empty_and_never_stored(client: httpx.Client, stream: str) -> None:
    reply = client.get(stream, params={"offset": "now"})

    assert (reply.status_code, reply.content) == (200, b"")
    assert reply.headers["stream-next-offset"] == client.head(stream).headers["stream-next-offset"]
    assert reply.headers["stream-up-to-date"] == "true"
    assert reply.headers["cache-control"] == "no-store"
    assert "etag" not in reply.headers


def test_a_json_read_is_one_array(client: httpx.Client, url: str) -> None:
    client.put(url, headers=JSON)
    assert client.get(url).content == b"[]"

    client.post(url, headers=JSON, content=b'[{"n":9007199254740993}, [1.10]]')
    middle = client.post(url, headers=JSON, content=b'"x"').headers["stream-next-offset"]
    client.post(url, headers=JSON, content=b"null")

    assert client.get(url).content == b'[{"n":9007199254740993},[1.10],"x",null]'
    assert client.get(url, params={"offset": middle}).content == b"[null]"
    assert client.get(url, params={"offset": "now"}).content == b"[]"
    assert client.get(url).headers["content-type"] == "application/json"


def test_a_long_stream_comes_in_pages_that_join_without_a_gap(client: httpx.Client, url: str) -> None:
    client.put(url)
    parts = [bytes([n]) * 400_000 for n in range(5)]
    for part in parts:
        client.post(url, headers={"Content-Type": "application/octet-stream"}, content=part)

    pages = [client.get(url)]
    while "stream-up-to-date" not in pages[-1].headers:
        pages.append(client.get(url, params={"offset": pages[-1].headers["stream-next-offset"]}))

    assert b"".join(page.content for page in pages) == b"".join(parts)
    assert len(pages) == 3
    assert max(len(page.content) for page in pages) <= 1024 * 1024


def test_closure_shows_only_where_the_stream_ends(client: httpx.Client, url: str) -> None:
    client.put(url)
    client.post(url, headers={"Content-Type": "application/octet-stream"}, content=b"x" * 1_000_000)
    client.post(url, headers={"Content-Type": "application/octet-stream"}, content=b"y" * 1_000_000)
    client.post(url, headers={"Stream-Closed": "true"})

    first = client.get(url)
    last = client.get(url, params={"offset": first.headers["stream-next-offset"]})
    end = client.get(url, params={"offset": last.headers["stream-next-offset"]})
    now = client.get(url, params={"offset": "now"})

    assert "stream-closed" not in first.headers
    assert "stream-up-to-date" not in first.headers
    assert [reply.headers["stream-closed"] for reply in (last, end, now)] == ["true"] * 3
    assert (end.status_code, end.content) == (200, b"")


@pytest.mark.parametrize("form", ["{}", "W/{}", '"other", {}', "*", "{} , *"])
def test_a_page_that_the_client_has_is_304_without_a_body(
    client: httpx.Client, stream: str, form: str
) -> None:
    first = client.get(stream)

    reply = client.get(stream, headers={"If-None-Match": form.format(first.headers["etag"])})

    assert (reply.status_code, reply.content) == (304, b"")
    assert reply.headers["etag"] == first.headers["etag"]
    assert reply.headers["stream-next-offset"] == first.headers["stream-next-offset"]
    assert "content-length" not in reply.headers


def test_new_data_and_closing_change_the_tag(client: httpx.Client, stream: str) -> None:
    tags = [client.get(stream).headers["etag"]]
    client.post(stream, headers=TEXT, content=b"d")
    tags.append(client.get(stream).headers["etag"])
    client.post(stream, headers={"Stream-Closed": "true"})
    tags.append(client.get(stream).headers["etag"])

    assert len(set(tags)) == 3
    assert client.get(stream, headers={"If-None-Match": ", ".join(tags[:2])}).status_code == 200


def test_a_stream_made_anew_has_other_tags(client: httpx.Client, stream: str) -> None:
    old = client.get(stream).headers["etag"]
    client.delete(stream)
    client.put(stream, headers=TEXT, content=b"xyz")

    reply = client.get(stream, headers={"If-None-Match": old})

    assert (reply.status_code, reply.content) == (200, b"xyz")


def test_a_private_looking_request_is_answered_like_any_other(client: httpx.Client, stream: str) -> None:
    reply = client.get(stream, headers={"Authorization": "Bearer x", "Range": "bytes=0-1"})

    assert (reply.status_code, reply.content) == (200, b"abc")


@pytest.mark.parametrize("body", [b"", b"ignored"])
def test_a_read_may_carry_a_body(client: httpx.Client, stream: str, body: bytes) -> None:
    assert client.request("GET", stream, content=body).content == b"abc"


def test_unknown_streams_are_404_in_every_mode(client: httpx.Client, url: str) -> None:
    statuses = [
        client.get(url).status_code,
        client.get(url, params={"offset": "now"}).status_code,
        client.get(url, params={"offset": "now", "live": "long-poll"}).status_code,
        client.get(url, params={"offset": "now", "live": "sse"}).status_code,
        client.head(url).status_code,
    ]

    assert statuses == [404] * 5
