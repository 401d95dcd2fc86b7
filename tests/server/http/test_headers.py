"""What every response carries, and CORS (PROTOCOL §12.7)."""

from __future__ import annotations

import httpx
import pytest

TEXT = {"Content-Type": "text/plain"}


def replies_of_every_status(client: httpx.Client, url: str) -> dict[int, httpx.Response]:
    path = httpx.URL(url).path
    replies = [
        client.put(url, headers=TEXT, content=b"abc"),
        client.put(url, headers=TEXT),
        client.get(url),
        client.get(url, headers={"If-None-Match": "*"}),
        client.post(url, headers=TEXT, content=b"d"),
        client.post(url, content=b""),
        client.get(f"{url}-missing"),
        client.patch(url),
        client.post(url, headers={"Content-Type": "text/html"}, content=b"x"),
        client.post(url, headers=TEXT, content=bytes(5 * 1024 * 1024)),
        client.get(f"{url}{'x' * 3000}"),
        client.put(f"{url}-fork", headers={"Stream-Forked-From": path}),
        client.delete(url),
        client.get(url),
        client.get(f"{url}-fork", params={"offset": "-1", "live": "long-poll"}),
        client.options(url),
    ]
    return {reply.status_code: reply for reply in replies}


def test_every_response_has_the_security_headers(client: httpx.Client, url: str) -> None:
    replies = replies_of_every_status(client, url)

    assert sorted(replies) == [200, 201, 204, 304, 400, 404, 405, 409, 410, 413, 414]
    assert {reply.headers["x-content-type-options"] for reply in replies.values()} == {"nosniff"}
    assert {reply.headers["cross-origin-resource-policy"] for reply in replies.values()} == {"cross-origin"}
    assert {"sandbox" in reply.headers["content-security-policy"] for reply in replies.values()} == {True}
    assert {reply.headers["access-control-allow-origin"] for reply in replies.values()} == {"*"}
    assert {"server" in reply.headers for reply in replies.values()} == {False}
    assert {len(reply.headers.get_list("date")) for reply in replies.values()} == {1}


@pytest.mark.parametrize(
    "name",
    [
        "Stream-Next-Offset",
        "Stream-Cursor",
        "Stream-Up-To-Date",
        "Stream-Closed",
        "Stream-TTL",
        "Stream-Expires-At",
        "Stream-Retention-Bytes",
        "Stream-Retention-Age",
        "Stream-Earliest-Offset",
        "Stream-SSE-Data-Encoding",
        "Producer-Epoch",
        "Producer-Seq",
        "Producer-Expected-Seq",
        "Producer-Received-Seq",
        "ETag",
        "Location",
    ],
)
def test_browsers_may_see_the_protocols_headers(client: httpx.Client, url: str, name: str) -> None:
    exposed = client.put(url).headers["access-control-expose-headers"].lower().split(", ")

    assert name.lower() in exposed


def test_a_preflight_allows_what_the_protocol_needs(client: httpx.Client, url: str) -> None:
    reply = client.options(url, headers={"Origin": "http://x", "Access-Control-Request-Method": "PUT"})

    assert reply.status_code == 204
    assert set(reply.headers["access-control-allow-methods"].split(", ")) >= {
        "GET",
        "HEAD",
        "POST",
        "PUT",
        "DELETE",
    }
    allowed = {name.lower() for name in reply.headers["access-control-allow-headers"].split(", ")}
    assert allowed >= {
        "content-type",
        "authorization",
        "if-none-match",
        "stream-seq",
        "stream-ttl",
        "stream-expires-at",
        "stream-closed",
        "stream-forked-from",
        "stream-fork-offset",
        "stream-fork-sub-offset",
        "producer-id",
        "producer-epoch",
        "producer-seq",
    }


@pytest.mark.parametrize("path", ["/health", "/healthz"])
def test_health_is_ok(client: httpx.Client, url: str, path: str) -> None:
    reply = client.get(httpx.URL(url).join(path))

    assert (reply.status_code, reply.text) == (200, "ok\n")


def test_head_of_any_status_has_no_body(client: httpx.Client, url: str) -> None:
    assert (client.head(url).status_code, client.head(url).content) == (404, b"")
    client.put(url, content=b"abc")
    assert (client.head(url).status_code, client.head(url).content) == (200, b"")
