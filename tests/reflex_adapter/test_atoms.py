"""What `use_atom` and `DurableState` make of declarations, before any app runs."""

from __future__ import annotations

from typing import Any

import pytest

pytest.importorskip("reflex", reason="the Reflex adapter needs: pip install 'durafold[reflex]'")

import reflex as rx
from pydantic import BaseModel

from durafold import Get, atom, atom_family, derived, reducer, reducer_atom, select
from durafold.errors import ConfigurationError
from durafold.reflex import DurableState, use_atom


class Vote(BaseModel):
    option: str


class Votes(BaseModel):
    options: list[str] = []


def count_vote(state: Votes, action: Vote) -> Votes:
    return Votes(options=[*state.options, action.option])


def built(shared: Any) -> Any:
    """The values that pages are built with."""
    root: Any = rx.State
    return root(_reflex_internal_init=True).get_substate(shared.get_full_name().split("."))


def test_an_atom_is_a_value_with_what_its_type_can_do() -> None:
    speed = use_atom(atom("atoms/speed", 3))

    assert (speed.__name__, speed.__module__) == ("AtomsSpeed", __name__)
    assert [*speed.event_handlers] == ["setvar", "set_value", "increment"]
    assert built(speed).value == 3


def test_a_reducer_atom_takes_actions_and_undoes_them_if_it_can() -> None:
    undoable = reducer(Vote, inverse=lambda before, action: None)(count_vote)

    plain = use_atom(reducer_atom("atoms/plain", count_vote, Votes()))
    undo = use_atom(reducer_atom("atoms/undo", undoable, Votes()))

    assert [*plain.event_handlers] == ["setvar", "dispatch"]
    assert [*undo.event_handlers] == ["setvar", "dispatch", "undo", "redo"]
    assert plain.value.options._var_type == list[str]


def test_a_reducer_atom_whose_actions_may_be_anything_is_not_shown_to_browsers() -> None:
    def anything(state: int, action: Any) -> int:
        return state

    with pytest.raises(ConfigurationError, match="Nothing says which actions"):
        use_atom(reducer_atom("atoms/anything", anything, 0))


def test_a_family_needs_the_name_of_its_parameter() -> None:
    title = atom_family("atoms/titles/{}", "untitled")

    with pytest.raises(ConfigurationError, match="Which atom of the family"):
        use_atom(title)  # type: ignore[call-overload]  # pyright: ignore[reportCallIssue,reportArgumentType]

    assert built(use_atom(title, parameter="poll")).value == "untitled"


def test_pages_are_built_with_what_is_computed_from_defaults() -> None:
    price, count = atom("atoms/price", 2), atom("atoms/count", 5)

    @derived
    def total(get: Get) -> int:
        return get(price) * get(count)

    doubled = select(total, lambda value: value * 2)

    assert built(use_atom(total)).value == 10
    assert built(use_atom(doubled, name="DoubledTotal")).value == 20


def test_a_computed_value_has_the_type_that_its_function_says() -> None:
    nobody: list[str] = []

    @derived(initial=nobody)
    async def names(get: Get) -> list[str]:
        return []

    assert use_atom(names).value._var_type == list[str]
    assert built(use_atom(names, name="OtherNames")).value == []


def test_a_computed_value_without_a_name_or_type_is_refused() -> None:
    name = atom("atoms/name", "")

    with pytest.raises(ConfigurationError, match="needs a name"):
        use_atom(select(name, str.upper))
    with pytest.raises(ConfigurationError, match="Pass state_type"):
        use_atom(select(name, lambda _: None), name="Nothing")


def test_a_computed_value_can_only_be_read() -> None:
    upper = use_atom(select(atom("atoms/word", "a"), str.upper), name="UpperWord")

    assert [*upper.event_handlers] == ["setvar"]


def test_what_was_never_declared_is_refused() -> None:
    with pytest.raises(ConfigurationError, match="cannot be shown"):
        use_atom("atoms/speed")  # type: ignore[call-overload]  # pyright: ignore[reportCallIssue,reportArgumentType]


poll = reducer_atom("atoms/poll", count_vote, Votes(options=["tea"]))


class Poll(DurableState[Votes], store=poll):
    size: int = 1

    @rx.var(cache=False)
    def first(self) -> list[str]:
        return self.value.options[: self.size]

    @rx.event
    def grow(self) -> None:
        self.size += 1


def test_a_declared_class_is_one_state_with_what_is_durable_and_what_is_not() -> None:
    shared: Any = Poll

    assert shared.get_parent_state() is rx.State
    assert [*shared.event_handlers] == ["setvar", "dispatch", "grow"]
    assert {*shared.base_vars, *shared.computed_vars} >= {"size", "first", "value", "status", "pending"}
    assert built(Poll).first == ["tea"]


def test_a_declared_class_can_be_derived_from() -> None:
    class Short(Poll):
        @rx.var(cache=False)
        def count(self) -> int:
            return len(self.value.options)

    assert built(Short).count == 1


def test_a_declared_class_has_the_vars_of_the_state_that_it_derives_from() -> None:
    class Settings(rx.State):
        unit: str = "cups"

    class Amount(DurableState[int], Settings, store=atom("atoms/amount", 2)):
        @rx.var(cache=False)
        def said(self) -> str:
            return f"{self.value} {self.unit}"

    assert built(Amount).said == "2 cups"


def test_a_declared_class_without_a_store_is_refused() -> None:
    with pytest.raises(ConfigurationError, match=r"NoStore\(DurableState, store=\.\.\.\)"):

        class NoStore(DurableState[int]):
            pass


def test_a_declared_class_may_not_define_what_its_store_brings() -> None:
    with pytest.raises(ConfigurationError, match="Doubled defines dispatch, value"):

        class Doubled(DurableState[Votes], store=poll):
            value: int = 3  # type: ignore[assignment]  # pyright: ignore[reportAssignmentType]

            def dispatch(self) -> None: ...  # type: ignore[override]  # pyright: ignore[reportIncompatibleMethodOverride]
