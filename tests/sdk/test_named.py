"""Reducers by name: what `module:name` stands for."""

from __future__ import annotations

import pytest

from durafold import StreamSpec
from durafold.errors import ConfigurationError
from durafold.named import UNSAID, UnknownReducer, named_reducer, reducers_in
from durafold.state.reducer import set_state_reducer
from support import cli_reducers, todos

HERE = "support.cli_reducers"


def test_a_function_is_named_with_the_type_of_its_state_and_that_types_empty_value() -> None:
    named = named_reducer(f"{HERE}:basket")

    assert named.reducer is cli_reducers.basket
    assert (named.state_type, named.initial) == (cli_reducers.Basket, cli_reducers.Basket())


@pytest.mark.parametrize("name", ["letters", "impossible"])
def test_a_state_of_unknown_type_or_one_that_needs_arguments_is_unsaid(name: str) -> None:
    named = named_reducer(f"{HERE}:{name}")

    assert named.initial is UNSAID
    with pytest.raises(UnknownReducer, match=f"{name} tells no state before the first message"):
        named.first_state()


def test_a_declared_state_of_nothing_is_one() -> None:
    assert named_reducer(f"{HERE}:optional").first_state() is None


def test_an_atom_says_its_state_before_the_first_message() -> None:
    prices, sums = named_reducer(f"{HERE}:prices"), named_reducer(f"{HERE}:sums")

    assert (prices.reducer, prices.initial) == (set_state_reducer, {"eggs": 3})
    assert (sums.reducer, sums.initial) == (cli_reducers.total, 100)


def test_all_declared_reducers_of_a_module_are_found() -> None:
    assert [named.reducer for named in reducers_in("support.todos")] == []
    assert [named.name for named in reducers_in("support.declared")] == ["support.declared:double"]


@pytest.mark.parametrize(
    ("name", "said"),
    [
        ("no_module_has_this_name:f", "no module 'no_module_has_this_name'"),
        ("support.todos:nothing", "support.todos has no 'nothing'"),
        ("support.todos:Todos.nothing", "has no 'Todos.nothing'"),
        ("support.todos:__all__", "neither a function"),
        ("support.todos:Todos", "neither a function"),
        ("support.todos", "names no reducer"),
        (":f", "names no reducer"),
        ("", "names no reducer"),
    ],
)
def test_a_name_of_nothing_says_what_is_wrong(name: str, said: str) -> None:
    with pytest.raises(UnknownReducer, match=said):
        named_reducer(name)


def test_a_misspelt_name_says_what_may_have_been_meant() -> None:
    with pytest.raises(UnknownReducer) as raised:
        named_reducer("support.declared:duble")

    assert raised.value.hint == "Did you mean 'double'?"


def test_a_stream_to_load_may_name_its_reducer() -> None:
    spec = StreamSpec.named("cart", f"{HERE}:sums")

    assert (spec.path, spec.reducer, spec.initial) == ("cart", cli_reducers.total, 100)


@pytest.mark.parametrize(
    ("name", "said"),
    [
        ("impossible", "impossible tells no state before the first message"),
        ("letters", "letters tells no state before the first message"),
        ("nothing", "has no 'nothing'"),
    ],
)
def test_a_stream_to_load_needs_a_name_that_says_everything(name: str, said: str) -> None:
    with pytest.raises(ConfigurationError, match=said):
        StreamSpec.named("cart", f"{HERE}:{name}")


def test_todos_are_not_declared_but_can_be_named() -> None:
    assert named_reducer("support.todos:todo_reducer").initial == todos.Todos()
