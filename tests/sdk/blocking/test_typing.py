"""What type checkers infer from the blocking face; `make check` runs mypy and pyright over this file."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from typing import Any, assert_type

from durafold.blocking import (
    AppendResult,
    Changes,
    Checkpoint,
    CloseResult,
    Delivery,
    DerivedValue,
    Dispatch,
    DurableStream,
    Follower,
    History,
    HydrationPayload,
    IdempotentProducer,
    LoadedState,
    Page,
    Pages,
    Presence,
    Provider,
    ServerReducer,
    ServerState,
    StreamEvent,
    StreamInfo,
    StreamSpec,
    atom,
    derived,
    load_stream_with_reducer,
    load_streams,
    reducer_atom,
    select,
    set_state_reducer,
    use_atom,
    use_server_reducer,
    use_server_state,
    use_value,
)
from durafold.client import Offset
from durafold.computed import Get
from support.todos import Add, Break, Finish, Todos, todo_reducer


def test_results_and_arguments_are_those_of_the_asynchronous_methods(stream: DurableStream) -> None:
    assert_type(stream.create(), StreamInfo)
    assert_type(stream.head(), StreamInfo)
    assert_type(stream.append({"n": 1}, seq="1"), AppendResult)
    assert_type(stream.read(), Page)
    assert_type(stream.read_json(), list[Any])
    assert_type(stream.pages(), Pages)
    assert_type(stream.follow(live="off"), Follower)
    assert_type(stream.fork("typed-fork"), DurableStream)
    assert_type(stream.close(), CloseResult)


def test_wrong_arguments_are_type_errors() -> None:
    def never_called(stream: DurableStream) -> None:
        stream.create(ttl="60")  # type: ignore[call-arg]  # pyright: ignore[reportCallIssue]
        stream.append()  # type: ignore[call-arg]  # pyright: ignore[reportCallIssue]
        stream.follow(live="sometimes")  # type: ignore[arg-type]  # pyright: ignore[reportArgumentType]

    assert callable(never_called)


def test_iterators_are_plain_and_typed(stream: DurableStream) -> None:
    stream.append("a")
    with stream.follow(live="off") as follower:
        assert_type(next(follower), Page)
        assert_type(follower.checkpoint, Checkpoint)
        assert_type(follower.offset, Offset)
        assert_type(list(follower.iter_batches()), list[list[Any]])
        assert_type(list(follower.iter_text()), list[str])
        assert_type(list(follower.iter_events()), list[StreamEvent])


def test_a_producer_is_typed(stream: DurableStream) -> None:
    with IdempotentProducer(stream, "typed") as producer:
        assert_type(producer, IdempotentProducer)
        assert_type(producer.append(1), Delivery)
        assert_type(producer.append(1).wait(), AppendResult)
        assert_type(producer.flush(), None)


# ---- shared state ----

count_atom = atom("typed/count", 0)
todos_atom = reducer_atom("typed/todos", todo_reducer, Todos())


@derived
def doubled(get: Get) -> int:
    return 2 * get(count_atom)


def test_the_type_of_a_shared_value_is_that_of_its_default(party: Provider, key: str) -> None:
    count = party.server_state(0, key)
    names: ServerState[list[str]] = party.server_state([], f"{key}/names")

    assert_type(count, ServerState[int])
    assert_type(count.value, int)
    assert_type(count.confirmed, int)
    assert_type(count.offset, Offset)
    assert_type(count.set(5), Dispatch[int])
    assert_type(count.set(lambda value: value + 1), Dispatch[int])
    assert_type(count.increment(2), Dispatch[int])
    assert_type(count.increment().wait(timeout_s=60), int)
    assert_type(count.increment().sent.wait(), None)
    assert_type(names.append("Ann"), Dispatch[list[str]])
    assert_type(count.changes(), Changes[int])
    assert_type(next(iter(count)), int)
    assert_type(iter(count), Iterator[int])
    assert_type(count.subscribe(lambda: None), Callable[[], None])
    assert_type(count.ready(), ServerState[int])
    assert_type(count.undo(), Dispatch[int] | None)
    assert_type(count.history(), History[int])
    assert_type(count.at(count.offset), int)


def test_wrong_arguments_of_operations_are_type_errors() -> None:
    def never_called(count: ServerState[int]) -> None:
        count.set("one")  # type: ignore[arg-type]  # pyright: ignore[reportArgumentType]
        count.increment("one")  # type: ignore[arg-type]  # pyright: ignore[reportArgumentType]
        count.put(1)  # type: ignore[call-arg]  # pyright: ignore[reportCallIssue]

    assert callable(never_called)


def test_state_and_actions_are_those_of_the_reducer(party: Provider, key: str) -> None:
    todos = party.server_reducer(todo_reducer, Todos(), key)

    assert_type(todos, ServerReducer[Todos, Add | Finish | Break])
    assert_type(todos.value, Todos)
    assert_type(todos.dispatch(Add(text="milk")), Dispatch[Todos])
    assert_type(todos.dispatch(Add(text="bread")).wait(), Todos)
    assert_type(todos.wait_for(todos.offset), ServerReducer[Todos, Add | Finish | Break])
    assert_type(party.fork(todos, f"{key}-fork"), ServerReducer[Todos, Add | Finish | Break])


def test_declarations_are_opened_as_what_they_declare(party: Provider) -> None:
    assert_type(party.open(count_atom), ServerState[int])
    assert_type(party.open(todos_atom), ServerReducer[Todos, Add | Finish | Break])
    assert_type(party.open(doubled), DerivedValue[int])
    assert_type(party.open(select(todos_atom, lambda state: state.texts)), DerivedValue[list[str]])
    assert_type(party.presence("typed", str), Presence[str])
    assert_type(party.presence("typed", str).others, Mapping[str, str])


def test_hooks_give_typed_values_and_setters(party: Provider, key: str) -> None:
    count, set_count = use_server_state(0, key)
    todos, dispatch = use_server_reducer(todo_reducer, Todos(), f"{key}/todos")
    shared, set_shared = use_atom(count_atom)
    listed, act = use_atom(todos_atom)

    assert_type(count, int)
    assert_type(set_count(1), Dispatch[int])
    assert_type(set_count(lambda value: value + 1), Dispatch[int])
    assert_type(todos, Todos)
    assert_type(dispatch(Add(text="milk")), Dispatch[Todos])
    assert_type(shared, int)
    assert_type(set_shared(1).wait(), int)
    assert_type(listed, Todos)
    assert_type(act(Add(text="tea")), Dispatch[Todos])
    assert_type(use_value(doubled), int)


def test_loading_gives_the_state_of_the_reducer(party: Provider, key: str) -> None:
    todos = load_stream_with_reducer(party.url, key, todo_reducer, Todos())
    count = load_stream_with_reducer(party.url, key, set_state_reducer, 0)

    assert_type(todos, LoadedState[Todos])
    assert_type(todos.state, Todos)
    assert_type(count, LoadedState[int])
    assert_type(load_streams(party.url, [StreamSpec(key, todo_reducer, Todos())]), HydrationPayload)
