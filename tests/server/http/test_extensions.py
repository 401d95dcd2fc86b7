"""What our server adds to the protocol, over the wire: registry, listing and retention."""

from __future__ import annotations

import json
import time
from collections.abc import Iterator
from typing import Any
from urllib.parse import quote
from uuid import uuid4

import httpx
import pytest

from support.registry import fold
from support.server import ServerProcess
from support.sse_parser import parse_events

TEXT = {"Content-Type": "text/plain"}
JSON = {"Content-Type": "application/json"}


@pytest.fixture
def registry(wire_server: ServerProcess) -> str:
    return f"{wire_server.url}/__registry__"


@pytest.fixture
def root(wire_server: ServerProcess) -> str:
    """URL of the listing: the stream root with its slash."""
    return f"{wire_server.url}/"


@pytest.fixture
def prefix() -> str:
    """Beginning of names that no other test uses."""
    return f"{uuid4()}/"


def changes(client: httpx.Client, registry: str, offset: str, key: str) -> list[dict[str, Any]]:
    """What the registry tells of a stream from an offset on."""
    found: list[dict[str, Any]] = []
    while True:
        reply = client.get(registry, params={"offset": offset}).raise_for_status()
        found += [message for message in reply.json() if message["key"] == key]
        offset = reply.headers["stream-next-offset"]
        if "stream-up-to-date" in reply.headers:
            return found


def tail(client: httpx.Client, url: str) -> str:
    return str(client.head(url).headers["stream-next-offset"])


# Registry


def test_the_registry_is_a_json_stream_in_all_modes(client: httpx.Client, registry: str, url: str) -> None:
    offset = tail(client, registry)
    client.put(url, headers=TEXT)
    name = url.rpartition("/")[2]

    head = client.head(registry)
    page = client.get(registry, params={"offset": offset})
    polled = client.get(registry, params={"offset": offset, "live": "long-poll"})
    with client.stream("GET", registry, params={"offset": offset, "live": "sse"}) as response:
        first = next(response.iter_text())
    again = client.get(registry, params={"offset": offset}, headers={"If-None-Match": page.headers["etag"]})

    assert head.headers["content-type"] == page.headers["content-type"] == "application/json"
    assert name in [message["key"] for message in page.json()]
    assert name in [message["key"] for message in polled.json()]
    assert f'"key":"{name}"' in parse_events(first.encode())[0].data
    assert again.status_code in (200, 304)  # other tests may make streams meanwhile


def test_the_registry_tells_a_streams_whole_life(client: httpx.Client, registry: str, url: str) -> None:
    offset = tail(client, registry)
    client.put(url, headers=TEXT)
    client.post(url, headers=TEXT, content=b"abc")
    client.post(url, headers={"Stream-Closed": "true"})
    client.delete(url)

    insert, update, delete = changes(client, registry, offset, url.rpartition("/")[2])

    assert insert["type"] == "stream"
    assert insert["value"]["contentType"] == "text/plain"
    assert abs(insert["value"]["createdAt"] / 1000 - time.time()) < 3600
    assert insert["headers"]["operation"] == "insert"
    assert update["value"] == {**insert["value"], "closed": True}
    assert delete["old_value"] == update["value"]
    assert delete["headers"]["reason"] == "deleted"


@pytest.mark.parametrize(
    ("method", "headers", "body"),
    [
        ("PUT", JSON, b""),
        ("POST", JSON, b"{}"),
        ("POST", {"Stream-Closed": "true"}, b""),
        ("DELETE", {}, b""),
    ],
)
def test_the_registry_cannot_be_changed(
    client: httpx.Client, registry: str, method: str, headers: dict[str, str], body: bytes
) -> None:
    reply = client.request(method, registry, headers=headers, content=body)

    assert reply.status_code == 403
    assert reply.text == (
        "__registry__ is kept by the server itself: it can be read, but not created, written, closed, "
        "deleted or forked. Use another name.\n"
    )


def test_the_registry_cannot_be_forked_nor_be_a_fork(client: httpx.Client, registry: str, url: str) -> None:
    client.put(url, headers=JSON)

    over = client.put(registry, headers={**JSON, "Stream-Forked-From": httpx.URL(url).path})
    of_it = client.put(f"{url}-fork", headers={"Stream-Forked-From": "/v1/stream/__registry__"})

    assert (over.status_code, of_it.status_code) == (403, 403)


def test_without_a_registry_its_name_is_free() -> None:
    with ServerProcess(options=["--no-registry"]) as server:
        assert httpx.get(f"{server.url}/__registry__").status_code == 404
        assert httpx.put(f"{server.url}/__registry__", headers=TEXT).status_code == 201


# Listing


def test_streams_are_listed_with_what_is_known_of_them(client: httpx.Client, root: str, prefix: str) -> None:
    made = client.put(f"{root}{prefix}a", headers={**TEXT, "Stream-TTL": "3600"}, content=b"abc")

    reply = client.get(root, params={"prefix": prefix})

    assert reply.status_code == 200
    assert reply.headers["content-type"] == "application/json"
    assert reply.headers["cache-control"] == "no-store"
    (stream,) = reply.json()["streams"]
    assert reply.json()["next"] is None
    assert (stream["path"], stream["content_type"], stream["ttl_s"]) == (f"{prefix}a", "text/plain", 3600)
    assert (stream["next_offset"], stream["bytes"]) == (made.headers["stream-next-offset"], 3)
    assert stream["closed"] is False


def test_a_listing_comes_in_pages(client: httpx.Client, root: str, prefix: str) -> None:
    for name in ("c", "a", "e", "b", "d"):
        client.put(f"{root}{prefix}{name}")

    first = client.get(root, params={"prefix": prefix, "limit": "2"}).json()
    second = client.get(root, params={"prefix": prefix, "limit": "2", "after": first["next"]}).json()
    third = client.get(root, params={"prefix": prefix, "limit": "2", "after": second["next"]}).json()

    names = [[stream["path"][-1] for stream in page["streams"]] for page in (first, second, third)]
    assert names == [["a", "b"], ["c", "d"], ["e"]]
    assert third["next"] is None


def test_what_clients_cannot_see_is_not_listed(client: httpx.Client, root: str, prefix: str) -> None:
    for name in ("a", "b", "c"):
        client.put(f"{root}{prefix}{name}")
    client.put(f"{root}{prefix}f", headers={"Stream-Forked-From": httpx.URL(f"{root}{prefix}b").path})
    client.put(f"{root}{prefix}expired", headers={"Stream-TTL": "0"})
    client.delete(f"{root}{prefix}a")
    client.delete(f"{root}{prefix}b")

    page = client.get(root, params={"prefix": prefix, "limit": "2"}).json()

    assert [stream["path"].removeprefix(prefix) for stream in page["streams"]] == ["c", "f"]
    assert page["next"] is None
    assert client.get(root, params={"prefix": "__registry__"}).json() == {"streams": [], "next": None}


def test_odd_names_can_be_listed_and_asked_for_by_what_is_listed(
    client: httpx.Client, root: str, prefix: str
) -> None:
    for name in ("é/a", "é/b", "x%2Fy"):
        client.put(root + prefix + quote(name, safe="/%"))

    paths = [s["path"] for s in client.get(root, params={"prefix": prefix}).json()["streams"]]
    below = client.get(root, params={"prefix": f"{prefix}%C3%A9/", "after": f"{prefix}%C3%A9/a"}).json()

    assert paths == [f"{prefix}%C3%A9/a", f"{prefix}%C3%A9/b", f"{prefix}x%2Fy"]
    assert [stream["path"] for stream in below["streams"]] == [f"{prefix}%C3%A9/b"]


@pytest.mark.parametrize(
    "query", ["limit=0", "limit=1001", "limit=x", "limit=", "limit=1&limit=1", "after=", "prefix=a&prefix=b"]
)
def test_a_listing_with_a_bad_parameter_is_400(client: httpx.Client, root: str, query: str) -> None:
    assert client.get(f"{root}?{query}").status_code == 400


def test_the_root_can_only_be_listed(client: httpx.Client, root: str) -> None:
    assert client.head(root).status_code == 200
    assert client.put(root, headers=TEXT).status_code == 400
    assert client.post(root, headers=TEXT, content=b"x").status_code == 400
    assert client.delete(root).status_code == 400


# Retention


@pytest.fixture(scope="module")
def keeping() -> Iterator[ServerProcess]:
    """A server that keeps little, unless told otherwise."""
    with ServerProcess(options=["--retention-bytes", "5", "--long-poll-timeout-s", "0.3"]) as server:
        yield server


def until_trimmed(client: httpx.Client, url: str) -> httpx.Response:
    """HEAD once the server has trimmed the stream; it does so every two seconds."""
    before = head = client.head(url)
    while head.headers["stream-earliest-offset"] == before.headers["stream-earliest-offset"]:
        time.sleep(0.05)
        head = client.head(url)
    return head


def test_a_streams_retention_is_shown_and_compared(client: httpx.Client, url: str) -> None:
    limits = {**TEXT, "Stream-Retention-Bytes": "1000", "Stream-Retention-Age": "3600"}
    client.put(url, headers=limits)

    head = client.head(url)

    assert head.headers["stream-retention-bytes"] == "1000"
    assert head.headers["stream-retention-age"] == "3600"
    assert head.headers["stream-earliest-offset"] == head.headers["stream-next-offset"]
    assert client.put(url, headers=limits).status_code == 200
    assert client.put(url, headers={**limits, "Stream-Retention-Bytes": "1001"}).status_code == 409
    assert client.put(url, headers=TEXT).status_code == 409


@pytest.mark.parametrize("name", ["Stream-Retention-Bytes", "Stream-Retention-Age"])
@pytest.mark.parametrize("value", ["-1", "+1", "01", "1.5", "x", ""])
def test_a_malformed_retention_is_400(client: httpx.Client, url: str, name: str, value: str) -> None:
    reply = client.put(url, headers={name: value})

    assert reply.status_code == 400
    assert name in reply.text


def test_what_is_no_longer_kept_is_410_and_names_the_earliest_offset(
    client: httpx.Client, keeping: ServerProcess
) -> None:
    url = f"{keeping.url}/gone"
    client.put(url, headers=JSON)
    offsets = [
        client.post(url, headers=JSON, content=json.dumps([n, n])).headers["stream-next-offset"]
        for n in range(5)
    ]

    head = until_trimmed(client, url)
    gone = client.get(url, params={"offset": offsets[0]})
    polled = client.get(url, params={"offset": offsets[0], "live": "long-poll"})
    followed = client.get(url, params={"offset": offsets[0], "live": "sse"})
    start = client.get(url, params={"offset": "-1"})

    assert head.headers["stream-retention-bytes"] == "5"
    assert head.headers["stream-earliest-offset"] == offsets[2]
    assert {gone.status_code, polled.status_code, followed.status_code} == {410}
    assert gone.headers["stream-earliest-offset"] == offsets[2]
    assert offsets[2] in gone.text
    assert start.json() == [3, 3, 4, 4]
    assert start.headers["stream-earliest-offset"] == offsets[2]
    assert client.get(url, params={"offset": offsets[2]}).content == start.content


def test_a_stream_may_ask_to_be_kept_whole(client: httpx.Client, keeping: ServerProcess) -> None:
    kept, other = f"{keeping.url}/kept", f"{keeping.url}/other"
    client.put(kept, headers={**TEXT, "Stream-Retention-Bytes": "0"}, content=b"0123456789")
    client.put(other, headers=TEXT, content=b"0123456789")
    client.post(kept, headers=TEXT, content=b"0123456789")
    client.post(other, headers=TEXT, content=b"0123456789")

    until_trimmed(client, other)

    assert "stream-earliest-offset" not in client.get(kept).headers
    assert client.get(kept).content == b"0123456789" * 2
    assert client.get(other).content == b"0123456789"


def test_the_registry_and_its_fold_agree_with_the_listing(
    client: httpx.Client, keeping: ServerProcess
) -> None:
    client.put(f"{keeping.url}/listed", headers=TEXT)

    told = client.get(f"{keeping.url}/__registry__").json()
    listed = client.get(f"{keeping.url}/", params={"limit": "1000"}).json()["streams"]

    assert sorted(fold(told)) == [stream["path"] for stream in listed]
