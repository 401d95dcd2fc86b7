"""POST over the wire: appends, producers and closing (PROTOCOL §5.2, §5.2.1, §5.3)."""

from __future__ import annotations

import httpx
import pytest

TEXT = {"Content-Type": "text/plain"}
JSON = {"Content-Type": "application/json"}
CLOSE = {"Stream-Closed": "true"}


def producer(epoch: int, seq: int, producer_id: str = "p") -> dict[str, str]:
    return {"Producer-Id": producer_id, "Producer-Epoch": str(epoch), "Producer-Seq": str(seq)}


@pytest.fixture
def stream(client: httpx.Client, url: str) -> str:
    """URL of an empty text stream."""
    client.put(url, headers=TEXT)
    return url


def test_a_plain_append_is_204_with_the_new_tail(client: httpx.Client, stream: str) -> None:
    before = client.head(stream).headers["stream-next-offset"]

    reply = client.post(stream, headers=TEXT, content=b"abc")

    assert reply.status_code == 204
    assert reply.content == b""
    assert reply.headers["stream-next-offset"] > before
    assert "stream-closed" not in reply.headers
    assert "content-length" not in reply.headers


def test_offsets_of_appends_grow_as_strings(client: httpx.Client, stream: str) -> None:
    offsets = [
        client.post(stream, headers=TEXT, content=b"x" * n).headers["stream-next-offset"]
        for n in range(1, 20)
    ]

    assert offsets == sorted(set(offsets))


@pytest.mark.parametrize(
    ("headers", "content", "status"),
    [
        ({}, b"x", 400),
        (TEXT, b"", 400),
        ({"Content-Type": "text"}, b"x", 400),
        ({"Content-Type": "text/html"}, b"x", 409),
        (JSON, b"1", 409),
        ({**TEXT, "Stream-Closed": "false"}, b"", 400),
    ],
)
def test_an_append_that_does_not_fit_is_refused(
    client: httpx.Client, stream: str, headers: dict[str, str], content: bytes, status: int
) -> None:
    reply = client.post(stream, headers=headers, content=content)

    assert reply.status_code == status
    assert reply.headers["content-type"] == "text/plain; charset=utf-8"
    assert reply.headers["cache-control"] == "no-store"
    assert client.get(stream).content == b""


def test_a_chunked_body_is_one_append(client: httpx.Client, stream: str) -> None:
    reply = client.post(stream, headers=TEXT, content=iter([b"ab", b"", b"cd"]))

    assert reply.status_code == 204
    assert client.get(stream).content == b"abcd"


@pytest.mark.parametrize(
    ("first", "second", "status"),
    [("2", "10", 409), ("09", "10", 204), ("a", "a", 409), ("a", "B", 409), ("a", "b", 204)],
)
def test_stream_seq_compares_byte_by_byte(
    client: httpx.Client, stream: str, first: str, second: str, status: int
) -> None:
    client.post(stream, headers={**TEXT, "Stream-Seq": first}, content=b"1")

    assert client.post(stream, headers={**TEXT, "Stream-Seq": second}, content=b"2").status_code == status


def test_a_producers_append_is_200_and_its_duplicate_204(client: httpx.Client, stream: str) -> None:
    new = [client.post(stream, headers={**TEXT, **producer(0, seq)}, content=b"x") for seq in range(3)]
    duplicate = client.post(stream, headers={**TEXT, **producer(0, 1)}, content=b"other")

    assert [reply.status_code for reply in new] == [200, 200, 200]
    assert duplicate.status_code == 204
    assert (duplicate.headers["producer-epoch"], duplicate.headers["producer-seq"]) == ("0", "2")
    assert duplicate.headers["stream-next-offset"] == new[2].headers["stream-next-offset"]
    assert client.get(stream).content == b"xxx"


def test_a_stale_epoch_is_403_and_told_the_current_one(client: httpx.Client, stream: str) -> None:
    client.post(stream, headers={**TEXT, **producer(5, 0)}, content=b"x")

    reply = client.post(stream, headers={**TEXT, **producer(4, 1)}, content=b"y")

    assert reply.status_code == 403
    assert reply.headers["producer-epoch"] == "5"


def test_a_gap_is_409_and_told_what_was_expected(client: httpx.Client, stream: str) -> None:
    client.post(stream, headers={**TEXT, **producer(0, 0)}, content=b"x")

    reply = client.post(stream, headers={**TEXT, **producer(0, 5)}, content=b"y")

    assert reply.status_code == 409
    assert (reply.headers["producer-expected-seq"], reply.headers["producer-received-seq"]) == ("1", "5")
    assert "stream-closed" not in reply.headers


def test_a_new_epoch_that_does_not_begin_at_0_is_400(client: httpx.Client, stream: str) -> None:
    client.post(stream, headers={**TEXT, **producer(0, 0)}, content=b"x")

    assert client.post(stream, headers={**TEXT, **producer(1, 1)}, content=b"y").status_code == 400


def test_a_duplicate_with_an_old_stream_seq_is_still_204(client: httpx.Client, stream: str) -> None:
    headers = {**TEXT, **producer(0, 0), "Stream-Seq": "a"}
    client.post(stream, headers=headers, content=b"x")

    assert client.post(stream, headers=headers, content=b"x").status_code == 204


def test_a_refused_append_does_not_take_the_producers_number(client: httpx.Client, url: str) -> None:
    client.put(url, headers=JSON)
    refused = [
        client.post(url, headers={**JSON, **producer(0, 0)}, content=b"{").status_code,
        client.post(url, headers={**JSON, **producer(0, 0)}, content=b"[]").status_code,
        client.post(url, headers={**TEXT, **producer(0, 0)}, content=b"x").status_code,
    ]

    assert refused == [400, 400, 409]
    assert client.post(url, headers={**JSON, **producer(0, 0)}, content=b"1").status_code == 200


def test_closing_is_204_and_can_be_repeated(client: httpx.Client, stream: str) -> None:
    tail = client.post(stream, headers=TEXT, content=b"x").headers["stream-next-offset"]

    replies = [client.post(stream, headers={**CLOSE, "Content-Type": "not a type"}) for _ in range(2)]

    assert [reply.status_code for reply in replies] == [204, 204]
    assert [reply.headers["stream-closed"] for reply in replies] == ["true", "true"]
    assert [reply.headers["stream-next-offset"] for reply in replies] == [tail, tail]


def test_append_and_close_is_one_step(client: httpx.Client, stream: str) -> None:
    reply = client.post(stream, headers={**TEXT, **CLOSE}, content=b"last")

    assert reply.status_code == 204
    assert reply.headers["stream-closed"] == "true"
    assert client.get(stream).content == b"last"


@pytest.mark.parametrize(
    "headers", [TEXT, {**TEXT, **CLOSE}, {"Content-Type": "text/html"}, {**TEXT, **producer(0, 0)}, {}]
)
def test_an_append_to_a_closed_stream_is_409_with_its_final_offset(
    client: httpx.Client, stream: str, headers: dict[str, str]
) -> None:
    tail = client.post(stream, headers={**TEXT, **CLOSE}, content=b"x").headers["stream-next-offset"]

    reply = client.post(stream, headers=headers, content=b"y")

    assert reply.status_code == 409
    assert reply.headers["stream-closed"] == "true"
    assert reply.headers["stream-next-offset"] == tail


def test_a_producers_close_is_known_again(client: httpx.Client, stream: str) -> None:
    headers = {**TEXT, **CLOSE, **producer(0, 0)}

    first = client.post(stream, headers=headers, content=b"last")
    again = client.post(stream, headers=headers, content=b"another body")
    other = client.post(stream, headers={**headers, "Producer-Seq": "1"}, content=b"")

    assert [first.status_code, again.status_code, other.status_code] == [200, 204, 409]
    assert (again.headers["producer-epoch"], again.headers["producer-seq"]) == ("0", "0")
    assert again.headers["stream-closed"] == "true"
    assert client.get(stream).content == b"last"


def test_a_producers_close_without_data_is_204(client: httpx.Client, stream: str) -> None:
    reply = client.post(stream, headers={**CLOSE, **producer(3, 0)})

    assert reply.status_code == 204
    assert (reply.headers["producer-epoch"], reply.headers["producer-seq"]) == ("3", "0")


def test_a_closed_stream_can_be_deleted(client: httpx.Client, stream: str) -> None:
    client.post(stream, headers=CLOSE)

    assert client.delete(stream).status_code == 204
    assert client.head(stream).status_code == 404
