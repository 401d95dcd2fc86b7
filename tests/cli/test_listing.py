"""`ls` and the completion of names, over servers with a listing, with a registry, and with neither."""

from __future__ import annotations

import json
from collections.abc import Callable
from types import SimpleNamespace
from typing import Any, Final
from urllib.parse import parse_qs, urlsplit

import pytest

from durafold.cli.completion import complete_stream
from durafold.cli.listing import FIELDS, Registry
from support.command_line import CommandLine

Respond = Callable[[str], tuple[int, bytes]]
Start = Callable[[Respond], str]

STREAMS: Final = [
    {"path": "a", "content_type": "text/plain", "bytes": 1500, "next_offset": "0_15", "closed": True},
    {"path": "b%20c", "content_type": "application/json", "bytes": 2, "next_offset": "0_2", "closed": False},
    {"path": "d%2Fe", "content_type": "application/json", "bytes": 0, "next_offset": "0_0", "closed": False},
]


def listing(path: str) -> tuple[int, bytes]:
    """A server that lists one stream a page."""
    query = parse_qs(urlsplit(path).query)
    after, prefix = query.get("after", [""])[0], query.get("prefix", [""])[0]
    found = [one for one in STREAMS if str(one["path"]) > after and str(one["path"]).startswith(prefix)]
    more = found[0]["path"] if len(found) > 1 else None
    return 200, json.dumps({"streams": found[:1], "next": more}).encode()


def test_all_pages_of_a_listing_are_printed(durafold: CommandLine, other_server: Start) -> None:
    origin = other_server(listing)

    assert durafold.ok("ls", "--url", origin).out == f"a\nb c\n{origin}/v1/stream/d%2Fe\n"


def test_query_parameters_of_the_url_are_sent_along(durafold: CommandLine, other_server: Start) -> None:
    seen: list[str] = []
    origin = other_server(lambda path: (seen.append(path), listing(path))[1])

    durafold.ok("ls", "a", "--url", f"{origin}?key=secret")
    complete_stream(context(url=f"{origin}?key=secret"), "a")

    assert [path.startswith("/v1/stream/?") and "key=secret" in path for path in seen] == [True, True]


def test_a_prefix_may_need_encoding(durafold: CommandLine, other_server: Start) -> None:
    assert durafold.ok("ls", "b c", "--url", other_server(listing)).out == "b c\n"


def test_long_shows_more_in_columns(durafold: CommandLine, other_server: Start) -> None:
    lines = durafold.ok("ls", "a", "--long", "--url", other_server(listing)).out.splitlines()

    assert lines == ["a\ttext/plain\t1.5 kB\t0_15\tclosed"]


def test_a_record_says_of_each_field_what_it_is_or_that_it_is_unknown(
    durafold: CommandLine, other_server: Start
) -> None:
    (record,) = durafold.ok("ls", "a", "--json", "--url", other_server(listing)).records

    assert tuple(record) == ("stream", *FIELDS)
    assert (record["bytes"], record["ttl_s"]) == (1500, None)


def change(key: str, operation: str, value: Any = None) -> dict[str, Any]:
    return {"type": "stream", "key": key, "value": value, "headers": {"operation": operation}}


def test_the_registry_tells_which_streams_there_are() -> None:
    registry = Registry("http://host/v1/stream")
    registry.take(change("b", "insert", {"contentType": "text/plain"}))
    registry.take(change("a", "insert", {"contentType": "application/json"}))
    registry.take(change("gone", "insert", {}))
    registry.take(change("gone", "delete"))
    registry.take({"type": "other", "key": "x", "headers": {"operation": "insert"}})
    registry.take("not a change")

    found = [(record["stream"], record["content_type"]) for record in registry.records()]
    assert found == [("a", "application/json"), ("b", "text/plain")]


def test_a_reset_of_the_registry_forgets_all() -> None:
    registry = Registry("http://host/v1/stream")
    registry.take(change("a", "insert", {}))
    registry.take({"headers": {"control": "reset"}})

    assert registry.records() == []


def test_a_server_with_neither_says_so(durafold: CommandLine, other_server: Start) -> None:
    outcome = durafold("ls", "--url", other_server(lambda _: (404, b"no")))

    assert outcome.code == 1
    assert "no listing and no registry" in outcome.err


def context(**params: str) -> Any:
    return SimpleNamespace(params=params)


def test_names_are_completed(other_server: Start) -> None:
    origin = other_server(lambda _: listing("/?after="))

    assert complete_stream(context(url=origin), "a") == ["a"]


@pytest.mark.parametrize("body", [b"[]", b"{", b'{"streams": 5}', b'{"streams": [5]}'])
def test_completion_is_silent_where_there_is_no_listing(other_server: Start, body: bytes) -> None:
    origin = other_server(lambda _: (200, body))

    assert complete_stream(context(url=origin), "") == []


def test_completion_is_silent_without_a_server() -> None:
    assert complete_stream(context(url="http://127.0.0.1:1"), "") == []
    assert complete_stream(context(url="nonsense"), "") == []
