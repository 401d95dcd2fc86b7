"""Loading states and starting from them, in plain Python."""

from __future__ import annotations

import threading

from durafold.blocking import (
    HydrationBoundary,
    HydrationPayload,
    MemoryStateCache,
    Provider,
    StreamSpec,
    load_stream_with_reducer,
    load_streams,
    set_state_reducer,
    use_server_state,
)
from durafold.testing import ServerProcess
from support.todos import Add, Todos, todo_reducer

NOWHERE = "http://127.0.0.1:9"


def test_only_what_is_new_is_fetched_again(party: Provider, key: str) -> None:
    cache = MemoryStateCache()
    todos = party.server_reducer(todo_reducer, Todos(), key)
    todos.dispatch(Add(text="milk")).wait()

    first = load_stream_with_reducer(party.url, key, todo_reducer, Todos(), cache=cache)
    again = load_stream_with_reducer(party.url, key, todo_reducer, Todos(), cache=cache)
    todos.dispatch(Add(text="bread")).wait()
    newer = load_stream_with_reducer(party.url, key, todo_reducer, Todos(), cache=cache)

    assert [loaded.fetched_count for loaded in (first, again, newer)] == [1, 0, 1]
    assert newer.state.texts == ["milk", "bread"]
    assert cache.stats().paths == (key,)


def test_handles_and_hooks_start_at_the_state_of_a_payload(party: Provider, key: str) -> None:
    party.server_state(0, key).set(5).wait()
    text = load_streams(party.url, [StreamSpec(key, set_state_reducer, 0)]).dump()

    with Provider(NOWHERE, close_timeout_s=0) as offline, HydrationBoundary(HydrationPayload.load(text)):
        counter = offline.server_state(0, key)
        value, _ = use_server_state(0, key)

    assert (counter.value, value) == (5, 5)


def test_a_boundary_holds_for_the_thread_that_enters_it(party: Provider, key: str) -> None:
    party.server_state(0, key).set(5).wait()
    payload = load_streams(party.url, [StreamSpec(key, set_state_reducer, 0)])
    values: list[int] = []

    with Provider(NOWHERE, close_timeout_s=0) as offline, HydrationBoundary(payload):
        thread = threading.Thread(target=lambda: values.append(offline.server_state(0, key).value))
        thread.start()
        thread.join()

    assert values == [0]


def test_functions_for_headers_run_in_worker_threads(server: ServerProcess, key: str) -> None:
    threads: list[threading.Thread] = []

    def token() -> str:
        threads.append(threading.current_thread())
        return "Bearer me"

    load_stream_with_reducer(server.url, key, set_state_reducer, 0, headers={"Authorization": token})

    assert threads
    assert threading.main_thread() not in threads
    assert "durafold-blocking" not in {thread.name for thread in threads}
