"""Atoms and families: declared once, alive on a provider, gone when nobody uses them."""

from __future__ import annotations

import gc
from collections.abc import Callable
from typing import assert_type

import anyio
import pytest

from durafold import Atom, AtomFamily, Provider, ServerReducer, ServerState
from durafold.atoms import atom, atom_family, reducer_atom
from durafold.engine import Dispatch
from durafold.errors import ConfigurationError
from durafold.hooks import MAX_IDLE_MEMBERS, use_atom, use_value
from support.server import ServerProcess
from support.todos import Add, Break, Finish, Todos, todo_reducer
from support.waiting import eventually

pytestmark = pytest.mark.anyio

NOWHERE = "http://127.0.0.1:9"


def nowhere() -> Provider:
    return Provider(NOWHERE, close_timeout_s=0, on_error=lambda error: None)


async def test_an_atom_is_declared_without_a_provider_and_used_on_any(
    server: ServerProcess, key: str
) -> None:
    counter = atom(key, 0)

    async with Provider(server.url) as mine, Provider(server.url) as yours:
        await mine.open(counter).increment(3)

        theirs = await yours.open(counter).ready()
        await eventually(lambda: theirs.value == 3)


async def test_an_atom_and_a_server_state_of_one_key_are_one(server: ServerProcess, key: str) -> None:
    async with Provider(server.url) as party:
        handle = party.open(atom(key, 0))
        handle.increment()

        assert party.server_state(0, key).value == 1
        with pytest.raises(ConfigurationError, match="in use with another default"):
            party.open(atom(key, 1))


async def test_use_atom_gives_the_value_of_the_moment_and_the_setter(server: ServerProcess, key: str) -> None:
    counter, todos = atom(key, 0), reducer_atom(f"{key}/todos", todo_reducer, Todos())
    async with Provider(server.url):
        _, set_count = use_atom(counter)
        _, dispatch = use_atom(todos)

        await set_count(lambda value: value + 5)
        await dispatch(Add(text="milk"))

        assert use_atom(counter)[0] == use_value(counter) == 5
        assert use_value(todos).texts == ["milk"]


async def test_iterating_over_a_handle_gives_its_changes(server: ServerProcess, key: str) -> None:
    async with Provider(server.url) as party:
        handle = party.open(atom(key, 0))
        handle.set(1)

        assert [value async for value in _first(handle)] == [1]


async def _first(handle: ServerState[int]):  # type: ignore[no-untyped-def]
    async for value in handle:
        yield value
        return


def test_a_key_that_no_stream_can_have_is_refused_where_it_is_declared() -> None:
    with pytest.raises(ConfigurationError, match="cannot be the key"):
        atom("a//b", 0)


# ---- families ----


def test_a_family_gives_one_atom_for_a_parameter_while_it_is_held() -> None:
    title = atom_family("todos/{}/title", "untitled")

    assert title(7) is title(7)
    seven = title(7)
    assert title("7") is seven
    assert (seven.key, seven.default) == ("todos/7/title", "untitled")


@pytest.mark.parametrize("parameter", ["a/b", "...", "a b", "é", "%2F"])
async def test_a_parameter_is_one_segment_whatever_is_in_it(
    server: ServerProcess, key: str, parameter: str
) -> None:
    family = atom_family(f"{key}/{{}}/value", "")
    async with Provider(server.url) as party:
        member = family(parameter)

        await party.open(member).set("there")

        assert member.key.count("/") == key.count("/") + 2
        assert party.open(family(parameter)).value == "there"


def test_a_family_keeps_no_atom_that_nobody_holds() -> None:
    family = atom_family("rooms/{}", 0)

    held = [family(number) for number in range(1000)]
    before = len(family)
    del held
    gc.collect()

    assert (before, len(family)) == (1000, 0)


def test_defaults_and_keys_may_be_computed() -> None:
    def key_of(point: tuple[int, int]) -> str:
        return f"grid/{point[0]}-{point[1]}"

    def total_of(point: tuple[int, int]) -> int:
        return sum(point)

    cell = atom_family(key_of, default_of=total_of)

    assert (cell((1, 2)).key, cell((1, 2)).default) == ("grid/1-2", 3)


def test_a_template_without_a_place_for_the_parameter_is_refused() -> None:
    with pytest.raises(ConfigurationError, match="needs one place"):
        atom_family("rooms", 0)


async def test_members_that_hooks_have_not_used_for_long_are_closed() -> None:
    family = atom_family("rooms/{}", 0)
    async with nowhere() as party:
        first = use_atom(family(0))

        for number in range(1, MAX_IDLE_MEMBERS + 1):
            use_atom(family(number))

        assert first[0] == 0
        assert len(party.hook_handles) == MAX_IDLE_MEMBERS
        assert "rooms/0" not in party.hook_handles


async def test_with_the_last_handle_of_an_atom_its_engine_ends() -> None:
    counter = atom("counter", 0)
    async with nowhere() as party:
        handles = [party.open(counter) for _ in range(5)]
        before = len(party._engines.shared)
        for handle in handles:
            handle.close()

        await anyio.lowlevel.checkpoint()
        assert (before, len(party._engines.shared)) == (1, 0)


# ---- types ----


async def test_types_are_those_of_the_declaration() -> None:
    counter, todos = atom("count", 0), reducer_atom("todos", todo_reducer, Todos())
    family = atom_family("rooms/{}", 0)
    async with nowhere() as party:
        value, set_value = use_atom(counter)
        state, dispatch = use_atom(todos)

        assert_type(counter, Atom[int])
        assert_type(family, AtomFamily[str | int, int])
        assert_type(family(3), Atom[int])
        assert_type(party.open(counter), ServerState[int])
        assert_type(party.open(todos), ServerReducer[Todos, Add | Finish | Break])
        assert_type(value, int)
        assert_type(set_value(3), Dispatch[int])
        assert_type(state, Todos)
        assert_type(dispatch(Add(text="x")), Dispatch[Todos])
        assert_type(use_value(counter), int)


async def test_ten_thousand_subscribers_of_one_atom_are_told_once_though_one_of_them_raises(
    server: ServerProcess, key: str, errors: list[Exception]
) -> None:
    count = atom(key, 0)
    told = [0] * 10_000

    def subscriber(number: int) -> Callable[[], None]:
        def tell() -> None:
            told[number] += 1
            if number == 5_000:
                raise ZeroDivisionError("one among many")

        return tell

    async with Provider(server.url, on_error=errors.append) as mine, Provider(server.url) as yours:
        handles = [mine.open(count) for _ in range(100)]
        await handles[0].ready()
        unsubscribe = [handles[n % 100].subscribe(subscriber(n)) for n in range(10_000)]

        await yours.open(count).set(7)
        await eventually(lambda: handles[0].value == 7)
        once = list(told)
        for leave in unsubscribe[::2]:
            leave()
        await yours.open(count).set(8)
        await eventually(lambda: handles[0].value == 8)

    assert once == [1] * 10_000
    assert told == [1, 2] * 5_000
    assert [type(error) for error in errors] == [ZeroDivisionError]
