"""The blocking classes have every name, argument and word of documentation of the asynchronous ones."""

from __future__ import annotations

import inspect
from typing import Any

import pytest

from durafold import blocking, client
from durafold.blocking.mirror import blocking_words
from durafold.client.reader import Items, Pages
from durafold.state_protocol import StreamDB

FACES = [
    (client.DurableStream, blocking.DurableStream, {"aclose": "disconnect"}),
    (client.Follower, blocking.Follower, {"aclose": "close"}),
    (client.IdempotentProducer, blocking.IdempotentProducer, {"aclose": "close"}),
    (client.Delivery, blocking.Delivery, {}),
    (StreamDB, blocking.StreamDB, {}),
    (Pages, blocking.Pages, {}),
    (Items, blocking.Items, {}),
]
# What only the other half of the library calls.
INTERNAL = {"post_once", "post", "encode", "check_open", "buffer_full", "settle", "is_unseen_failure"}
MEMBERS = [
    pytest.param(original, face, name, renamed.get(name, name), id=f"{original.__name__}.{name}")
    for original, face, renamed in FACES
    for name in vars(original)
    if not name.startswith("_") and name not in INTERNAL
]
# Arguments that an asynchronous and a blocking caller give in different types.
ASYNC_TYPES = {"chunks", "on_done", "stream"}


def arguments(function: Any) -> list[tuple[str, Any, Any, Any]]:
    return [
        (given.name, given.kind, given.default, None if given.name in ASYNC_TYPES else given.annotation)
        for given in inspect.signature(function).parameters.values()
    ]


@pytest.mark.parametrize(("original", "face", "name", "blocking_name"), MEMBERS)
def test_every_member_is_there_and_documented(
    original: type, face: type, name: str, blocking_name: str
) -> None:
    assert getattr(face, blocking_name).__doc__ or not getattr(original, name).__doc__


@pytest.mark.parametrize(
    ("original", "face", "name", "blocking_name"),
    [member for member in MEMBERS if inspect.isfunction(getattr(member.values[0], str(member.values[2])))],
)
def test_methods_take_the_same_arguments(original: type, face: type, name: str, blocking_name: str) -> None:
    assert arguments(getattr(face, blocking_name)) == arguments(getattr(original, name))


@pytest.mark.parametrize(
    ("original", "face"),
    [
        (client.DurableStream, blocking.DurableStream),
        (client.IdempotentProducer, blocking.IdempotentProducer),
        (StreamDB, blocking.StreamDB),
    ],
)
def test_they_are_made_with_the_same_arguments(original: Any, face: Any) -> None:
    assert arguments(face.__init__) == arguments(original.__init__)


@pytest.mark.parametrize(("face", "words"), [(face, face.__doc__) for _, face, _ in FACES])
def test_examples_do_not_speak_of_await(face: type, words: str | None) -> None:
    assert words
    assert "await " not in words
    assert "async " not in words


@pytest.mark.parametrize(
    ("asynchronous", "plain"),
    [
        ("async with stream:", "with stream:"),
        ("async for page in pages:", "for page in pages:"),
        ("result = await stream.head()", "result = stream.head()"),
        ("An asynchronous iterator", "An iterator"),
        ("or call `aclose`", "or call `close`"),
    ],
)
def test_words_of_asynchronous_code_are_left_out(asynchronous: str, plain: str) -> None:
    assert blocking_words(asynchronous) == plain
