"""ETag, If-None-Match and Cache-Control (PROTOCOL §10.1, RFC 9110 §13.1.2)."""

from __future__ import annotations

import pytest

from durafold_server.protocol import caching

TAG = '"7:0:42"'


def test_the_tag_names_incarnation_and_bytes() -> None:
    assert caching.etag(7, 0, 42, closed=False) == '"7:0:42"'


def test_the_tag_of_a_closed_streams_last_page_differs() -> None:
    assert caching.etag(7, 0, 42, closed=True) == '"7:0:42:c"'


@pytest.mark.parametrize(
    "header",
    [
        '"7:0:42"',
        'W/"7:0:42"',
        '"x", "7:0:42"',
        '"7:0:42","x"',
        '"x" , W/"7:0:42" , "y"',
        ', "7:0:42",,',
        '\t"7:0:42" ',
        "*",
        " * ",
    ],
)
def test_a_list_that_holds_the_tag_matches(header: str) -> None:
    assert caching.matches(header, TAG)


@pytest.mark.parametrize(
    "header",
    [
        None,
        "",
        '""',
        "7:0:42",
        '"7:0:42:c"',
        '"7:0:4"',
        'w/"7:0:42"',
        '"7:0:42',
        '"*"',
        '"x", "y"',
        "**",
        '"x", *',
    ],
)
def test_anything_else_does_not(header: str | None) -> None:
    assert not caching.matches(header, TAG)


def test_the_cache_control_values_are_those_of_the_protocol() -> None:
    assert caching.HISTORICAL == "public, max-age=60, stale-while-revalidate=300"
    assert caching.HISTORICAL_PRIVATE == "private, max-age=60, stale-while-revalidate=300"
    assert caching.NO_STORE == "no-store"
    assert caching.AT_TAIL == "no-cache"
