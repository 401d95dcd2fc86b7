"""Glob patterns: `*` is one segment, `**` zero or more (PROTOCOL §6.2)."""

from __future__ import annotations

import re

import pytest
from hypothesis import given
from hypothesis import strategies as st

from durafold_server.protocol.errors import ProtocolError
from durafold_server.subscriptions.errors import InvalidSubscription
from durafold_server.subscriptions.patterns import Pattern

SEGMENTS = st.sampled_from(["a", "b", "ab"])
PATHS = st.lists(SEGMENTS, min_size=1, max_size=6).map("/".join)
PATTERNS = st.lists(st.one_of(SEGMENTS, st.sampled_from(["*", "**"])), min_size=1, max_size=6)


@pytest.mark.parametrize(
    ("pattern", "path"),
    [
        ("a", "a"),
        ("a/b", "a/b"),
        ("*", "a"),
        ("a/*", "a/b"),
        ("*/b", "a/b"),
        ("a/*/c", "a/b/c"),
        ("**", "a"),
        ("**", "a/b/c"),
        ("a/**", "a"),
        ("a/**", "a/b"),
        ("a/**", "a/b/c"),
        ("**/c", "c"),
        ("**/c", "a/b/c"),
        ("a/**/d", "a/d"),
        ("a/**/d", "a/b/c/d"),
        ("a/**/b/**/c", "a/x/b/b/y/c"),
        ("**/**", "a"),
        ("**/*", "a"),
        ("caf%C3%A9/*", "caf%C3%A9/1"),
        ("café/*", "caf%C3%A9/1"),
        ("%61/*", "a/b"),
        ("a/%2A", "a/*"),
        ("x%2Ay", "x*y"),
    ],
)
def test_a_path_matches(pattern: str, path: str) -> None:
    assert Pattern(pattern).matches(path)


@pytest.mark.parametrize(
    ("pattern", "path"),
    [
        ("a", "b"),
        ("a", "a/b"),
        ("a", "ab"),
        ("*", "a/b"),
        ("a/*", "a"),
        ("a/*", "ab"),
        ("a/*", "a/b/c"),
        ("a/*", "b/a"),
        ("a/**", "ab"),
        ("a/**", "b"),
        ("**/c", "a/b"),
        ("**/*/*", "a"),
        ("a/%2A", "a/b"),
        ("a/*", "a%2Fb"),
    ],
)
def test_a_path_does_not_match(pattern: str, path: str) -> None:
    assert not Pattern(pattern).matches(path)


@given(PATTERNS, PATHS)
def test_matching_agrees_with_a_regular_expression(segments: list[str], path: str) -> None:
    wildcards = {"*": "/[^/]+", "**": "(?:/[^/]+)*"}
    expression = "".join(wildcards.get(segment, f"/{segment}") for segment in segments)

    assert Pattern("/".join(segments)).matches(path) == bool(re.fullmatch(expression, f"/{path}"))


@given(PATTERNS, PATHS)
def test_every_path_that_matches_begins_with_the_prefix(segments: list[str], path: str) -> None:
    pattern = Pattern("/".join(segments))

    assert path.startswith(pattern.prefix) or not pattern.matches(path)


@pytest.mark.parametrize(
    ("pattern", "prefix"),
    [("a/b/*", "a/b/"), ("a/b/**", "a/b"), ("*", ""), ("**/a", ""), ("a/b", "a/b"), ("a/*/b", "a/")],
)
def test_the_prefix_is_as_long_as_it_can_be(pattern: str, prefix: str) -> None:
    assert Pattern(pattern).prefix == prefix


def test_many_double_wildcards_take_no_exponential_time() -> None:
    pattern = Pattern("/".join(["**", "a"] * 32))

    assert not pattern.matches("/".join(["a"] * 500 + ["b"]))


@pytest.mark.parametrize("text", ["a*", "*a", "user-*/x", "a/***", "a/**b"])
def test_an_asterisk_beside_other_characters_is_refused(text: str) -> None:
    with pytest.raises(InvalidSubscription, match="%2A"):
        Pattern(text)


@pytest.mark.parametrize("text", ["", "a/../b", "a/%zz", "__ds/*", "a/%00"])
def test_what_could_not_be_a_path_is_refused(text: str) -> None:
    with pytest.raises(ProtocolError):
        Pattern(text)


def test_a_pattern_of_too_many_segments_is_refused() -> None:
    with pytest.raises(InvalidSubscription, match="64"):
        Pattern("/".join(["a"] * 65))


@pytest.mark.parametrize(("text", "normal"), [("%61/*", "a/*"), ("a/%2a", "a/%2A"), ("a%2fb", "a%2Fb")])
def test_equal_patterns_have_equal_texts(text: str, normal: str) -> None:
    assert Pattern(text).text == normal
    assert Pattern(normal).text == normal
