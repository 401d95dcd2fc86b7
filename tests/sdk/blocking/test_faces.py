"""The blocking classes have every name, argument and word of documentation of the asynchronous ones."""

from __future__ import annotations

import inspect
from typing import Any

import pytest

import durafold
from durafold import blocking, client, computed, engine
from durafold.blocking import handles
from durafold.blocking.mirror import blocking_words
from durafold.client.reader import Items, Pages
from durafold.engine.readable import Changes
from durafold.state_protocol import StreamDB

FACES = [
    (client.DurableStream, blocking.DurableStream, {"aclose": "disconnect"}),
    (client.Follower, blocking.Follower, {"aclose": "close"}),
    (client.IdempotentProducer, blocking.IdempotentProducer, {"aclose": "close"}),
    (client.Delivery, blocking.Delivery, {}),
    (StreamDB, blocking.StreamDB, {}),
    (Pages, blocking.Pages, {}),
    (Items, blocking.Items, {}),
    (durafold.Provider, blocking.Provider, {"aclose": "close", "run": "start"}),
    (durafold.Dispatch, blocking.Dispatch, {}),
    (durafold.Reading, blocking.Reading, {}),
    (engine.Handle, handles.Handle, {}),
    (durafold.ServerState, blocking.ServerState, {}),
    (durafold.ServerReducer, blocking.ServerReducer, {}),
    (computed.DerivedValue, blocking.DerivedValue, {}),
    (durafold.Presence, blocking.Presence, {}),
    (Changes, blocking.Changes, {}),
]
# What only the other half of the library calls.
INTERNAL = {"post_once", "post", "encode", "check_open", "buffer_full", "settle", "is_unseen_failure"}
INTERNAL |= {"attach", "detach", "report", "start_soon"}


def members(original: type) -> dict[str, None]:
    ours = [base for base in original.__mro__ if base.__module__.startswith("durafold.")]
    return {name: None for base in ours for name in vars(base)}


MEMBERS = [
    pytest.param(original, face, name, renamed.get(name, name), id=f"{original.__name__}.{name}")
    for original, face, renamed in FACES
    for name in members(original)
    if not name.startswith("_") and name not in INTERNAL
]
# Arguments that an asynchronous and a blocking caller give in different types.
ASYNC_TYPES = {"chunks", "declared", "on_done", "stream"}
# What is the same in both: declarations, values, errors. The others have a face.
FACED = {
    "batch",
    "use_connection",
    "Dispatch",
    "DurableStream",
    "IdempotentProducer",
    "Presence",
    "Provider",
    "Reading",
    "ServerReducer",
    "ServerState",
    "Token",
    "load_stream_with_reducer",
    "load_streams",
    "use_atom",
    "use_provider",
    "use_server_reducer",
    "use_server_state",
    "use_value",
}
FUNCTIONS = sorted(name for name in FACED if name[0].islower())


def arguments(function: Any) -> list[tuple[str, Any, Any, Any]]:
    # What waits may be given a time-out, for which asynchronous callers have `anyio.fail_after`.
    return [
        (given.name, given.kind, given.default, None if given.name in ASYNC_TYPES else given.annotation)
        for given in inspect.signature(function).parameters.values()
        if given.name not in {"timeout_s", "task_status"}
    ]


def test_every_name_of_durafold_is_there_too() -> None:
    assert set(durafold.__all__) <= set(blocking.__all__)


@pytest.mark.parametrize("name", sorted(set(durafold.__all__) - FACED))
def test_what_is_declared_or_a_value_is_the_very_same_object(name: str) -> None:
    assert getattr(blocking, name) is getattr(durafold, name)


@pytest.mark.parametrize("name", sorted(FACED & set(durafold.__all__)))
def test_what_waits_is_another_and_documented(name: str) -> None:
    face = getattr(blocking, name)

    assert face is not getattr(durafold, name)
    assert "await " not in (face.__doc__ or "await ")


@pytest.mark.parametrize("name", FUNCTIONS)
def test_functions_take_the_same_arguments(name: str) -> None:
    assert arguments(getattr(blocking, name)) == arguments(getattr(durafold, name))


@pytest.mark.parametrize("name", blocking.__all__)
def test_every_name_can_be_imported(name: str) -> None:
    assert getattr(blocking, name) is not None
    assert name in dir(blocking)


def test_a_name_that_is_not_there_is_an_attribute_error() -> None:
    with pytest.raises(AttributeError, match="'use_states'"):
        _ = blocking.use_states


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
        (durafold.Provider, blocking.Provider),
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
