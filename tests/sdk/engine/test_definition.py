"""Keys, URLs and declarations that cannot work."""

from __future__ import annotations

from typing import Any

import pytest
from pydantic import BaseModel

from durafold.engine.definition import Declaration, base_url, define, stream_url
from durafold.errors import ConfigurationError
from durafold.state.reducer import set_state_reducer
from support.todos import Todos, todo_reducer

BASE = "http://127.0.0.1:4437/v1/stream"


@pytest.mark.parametrize(
    ("key", "path"),
    [
        ("demo", "demo"),
        ("demo/counter", "demo/counter"),
        ("my counter", "my%20counter"),
        ("100%", "100%25"),
        ("a?b#c", "a%3Fb%23c"),
        ("naïve/日本", "na%C3%AFve/%E6%97%A5%E6%9C%AC"),
        ("user:7@home,x;y", "user:7@home,x;y"),
        ("__registry__", "__registry__"),
        ("a\\b", "a%5Cb"),
    ],
)
def test_every_segment_of_a_key_is_percent_encoded(key: str, path: str) -> None:
    assert stream_url(BASE, key) == f"{BASE}/{path}"


@pytest.mark.parametrize(
    "key", ["", "/", "/a", "a/", "a//b", ".", "a/..", "../a", "a\n", "\x7f", "\ud800", 0]
)
def test_a_key_that_a_url_could_not_carry_is_refused(key: str) -> None:
    with pytest.raises(ConfigurationError, match="cannot be the key of a stream"):
        stream_url(BASE, key)


def test_query_parameters_of_the_url_stay_behind_the_key() -> None:
    assert stream_url("http://host/v1/stream?tenant=7", "a") == "http://host/v1/stream/a?tenant=7"


@pytest.mark.parametrize(
    ("url", "base"),
    [
        ("http://host:1", "http://host:1/v1/stream"),
        ("http://host:1/", "http://host:1/v1/stream"),
        ("https://host/streams/", "https://host/streams"),
        ("http://host/a/b?x=1#top", "http://host/a/b?x=1"),
    ],
)
def test_a_bare_origin_means_the_default_path(url: str, base: str) -> None:
    assert base_url(url) == base


@pytest.mark.parametrize(
    "url", ["", "host:4437", "ftp://host", "/v1/stream", "http://host:99999", "http://[::1"]
)
def test_what_is_no_http_url_is_refused(url: str) -> None:
    with pytest.raises(ConfigurationError, match="is not an http or https URL"):
        base_url(url)


async def slow(state: int, action: Any) -> int:
    return state


@pytest.mark.parametrize(
    ("declaration", "message"),
    [
        (Declaration[Any]("k", slow, 0), "must be pure"),
        (Declaration("k", "no function", 0), "A reducer is a function"),  # type: ignore[arg-type]
        (Declaration("k", set_state_reducer, {1: 2}), "the key 1"),
        (Declaration("k", set_state_reducer, object()), "state_type="),
        (Declaration("k", set_state_reducer, float("nan")), "nan"),
        (Declaration("k", todo_reducer, Todos(), actions=object()), "is no type of data"),
    ],
    ids=["async reducer", "no reducer", "keys", "no data", "nan", "no action type"],
)
def test_a_declaration_that_cannot_work_says_why(declaration: Declaration[Any], message: str) -> None:
    with pytest.raises(ConfigurationError, match=message):
        define(declaration)


def other_reducer(state: Todos, action: Any) -> Todos:
    return state


@pytest.mark.parametrize(
    ("other", "message"),
    [
        (
            Declaration("k", other_reducer, Todos()),
            r"another reducer \(.*todo_reducer, now .*other_reducer\)",
        ),
        (Declaration("k", todo_reducer, Todos.model_validate({"items": [{"text": "x"}]})), "another default"),
        (Declaration("k", todo_reducer, Todos(), actions=dict), "another type"),
    ],
)
def test_a_second_declaration_that_says_something_else_is_refused(
    other: Declaration[Any], message: str
) -> None:
    with pytest.raises(ConfigurationError, match=message):
        Declaration("k", todo_reducer, Todos()).require_same(other)


def test_a_default_of_another_type_is_another_default_even_if_it_is_equal() -> None:
    with pytest.raises(ConfigurationError, match="another default"):
        Declaration("k", set_state_reducer, 1).require_same(Declaration("k", set_state_reducer, True))


def test_equal_defaults_are_the_same_default() -> None:
    Declaration("k", set_state_reducer, {"a": [1]}).require_same(
        Declaration("k", set_state_reducer, {"a": [1]})
    )


def test_a_modelled_default_may_be_used_as_a_shared_value() -> None:
    class Point(BaseModel):
        x: int = 0

    definition = define(Declaration("k", set_state_reducer, Point()))

    assert definition.states.dump(Point(x=1)) == {"x": 1}
