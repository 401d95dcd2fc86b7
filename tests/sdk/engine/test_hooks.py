"""Hooks: state in one line."""

from __future__ import annotations

import anyio
import pytest

from durafold.errors import ConfigurationError
from durafold.hooks import use_provider, use_server_reducer, use_server_state
from durafold.provider import Provider
from support.server import ServerProcess
from support.todos import Add, Todos, todo_reducer

pytestmark = pytest.mark.anyio


async def test_a_hook_gives_the_value_and_a_function_that_sets_it(server: ServerProcess, key: str) -> None:
    async with Provider(server.url):
        count, set_count = use_server_state(0, key)
        assert count == 0

        await set_count(5)
        await set_count(lambda value: value + 1)

        assert use_server_state(0, key)[0] == 6


async def test_a_hook_gives_the_state_and_a_function_that_dispatches(server: ServerProcess, key: str) -> None:
    async with Provider(server.url):
        todos, dispatch = use_server_reducer(todo_reducer, Todos(), key)
        assert todos.texts == []

        await dispatch(Add(text="milk"))

        assert use_server_reducer(todo_reducer, Todos(), key)[0].texts == ["milk"]


async def test_a_change_shows_in_the_next_call_at_once(server: ServerProcess, key: str) -> None:
    async with Provider(server.url):
        _, set_count = use_server_state(0, key)

        set_count(5)

        assert use_server_state(0, key)[0] == 5


async def test_hooks_of_a_key_share_one_handle_however_often_they_are_called(
    server: ServerProcess, key: str
) -> None:
    async with Provider(server.url) as party:
        for _ in range(100):
            use_server_state([], key)

        assert list(party.hook_handles) == [key]


async def test_hooks_that_disagree_about_a_key_are_told(server: ServerProcess, key: str) -> None:
    async with Provider(server.url):
        use_server_state(0, key)

        with pytest.raises(ConfigurationError, match="another default"):
            use_server_state(1, key)
        with pytest.raises(ConfigurationError, match="another reducer"):
            use_server_reducer(todo_reducer, Todos(), key)


async def test_without_a_provider_a_hook_says_what_to_do() -> None:
    with pytest.raises(ConfigurationError, match=r"Call it inside `async with Provider\(url\):`"):
        use_server_state(0, "key")


async def test_the_innermost_provider_counts(server: ServerProcess, key: str) -> None:
    async with Provider(server.url) as outer:
        async with Provider(server.url) as inner:
            use_server_state(0, key)
            assert list(inner.hook_handles) == [key]
        assert outer.hook_handles == {}
        use_server_state(0, key)
        assert list(outer.hook_handles) == [key]


async def test_a_task_that_was_started_elsewhere_can_be_given_a_provider(
    server: ServerProcess, key: str
) -> None:
    seen: list[int] = []

    async def request() -> None:
        with pytest.raises(ConfigurationError):
            use_server_state(0, key)
        with use_provider(party):
            seen.append(use_server_state(0, key)[0])
        with pytest.raises(ConfigurationError):
            use_server_state(0, key)

    async with anyio.create_task_group() as requests:
        party = Provider(server.url)
        await requests.start(party.run)
        requests.start_soon(request)
        await anyio.wait_all_tasks_blocked()
        await party.aclose()

    assert seen == [0]


async def test_leaving_a_provider_leaves_its_context(server: ServerProcess, key: str) -> None:
    async with Provider(server.url):
        pass

    with pytest.raises(ConfigurationError):
        use_server_state(0, key)
