"""What type checkers infer from the adapter, without a plug-in; `make check` runs them over this file."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, assert_type

import pytest

pytest.importorskip("reflex", reason="the Reflex adapter needs: pip install 'durafold[reflex]'")

import reflex as rx
from pydantic import BaseModel
from reflex.vars import ArrayVar, BooleanVar, NumberVar, ObjectVar, StringVar

from durafold import Get, atom, atom_family, derived, reducer_atom, select
from durafold.reflex import DurableState, use_atom, use_connection, use_presence, use_server_state


@dataclass(frozen=True)
class Votes:
    options: list[str]


class Vote(BaseModel):
    option: str


class Person(BaseModel):
    name: str = "Somebody"


def count_vote(state: Votes, action: Vote) -> Votes:
    return Votes([*state.options, action.option])


votes = reducer_atom("typed/votes", count_vote, Votes([]))
limit = atom("typed/limit", 10)
title = atom_family("typed/titles/{}", "untitled")


@derived
def is_full(get: Get) -> bool:
    return len(get(votes).options) >= get(limit)


options = select(votes, lambda state: state.options)


class Poll(DurableState[Votes], store=votes):
    shown: int = 3

    @rx.var(cache=False)
    def first(self) -> list[str]:
        assert_type(self.value, Votes)
        assert_type(self.pending, int)
        return self.value.options[: self.shown]


Limit = use_atom(limit, name="TypedLimit")
Title = use_atom(title, parameter="poll", name="TypedTitle")
VotesState = use_atom(votes, name="TypedVotes")
IsFull = use_atom(is_full, name="TypedIsFull")
Options = use_atom(options, name="TypedOptions", state_type=list[str])
People = use_presence("typed", Person, name="TypedPeople")
Connection = use_connection(name="TypedConnection")
Score = use_server_state(0, "typed/score", name="TypedScore")


def test_vars_are_of_the_kind_of_what_they_hold() -> None:
    assert_type(Limit.value, NumberVar[int])
    assert_type(Title.value, StringVar[str])
    assert_type(VotesState.value, ObjectVar[Votes])
    assert_type(IsFull.value, BooleanVar)
    assert_type(Options.value, ArrayVar[list[str]])
    assert_type(Score.value, NumberVar[int])
    assert_type(Limit.status, StringVar[str])
    assert_type(Limit.pending, NumberVar[int])


def test_declared_classes_have_vars_on_the_class_and_values_in_their_methods() -> None:
    assert_type(Poll.value, ObjectVar[Votes])
    assert_type(Poll.pending, NumberVar[int])
    assert_type(Poll.status, StringVar[str])
    assert callable(Poll.dispatch)


def test_people_and_the_connection_are_typed() -> None:
    assert_type(People.others, ArrayVar[list[Person]])
    assert_type(People.count, NumberVar[int])
    assert_type(People.me, ObjectVar[Person])
    assert_type(Connection.status, StringVar[str])
    assert_type(Connection.reason, StringVar[str])
    assert_type(Connection.pending, NumberVar[int])


def test_wrong_arguments_are_type_errors() -> None:
    def never_called() -> Any:
        Limit.set("many")  # type: ignore[arg-type]  # pyright: ignore[reportArgumentType]
        Limit.dispatch({})  # type: ignore[attr-defined]  # pyright: ignore[reportAttributeAccessIssue]
        IsFull.toggle()  # type: ignore[attr-defined]  # pyright: ignore[reportAttributeAccessIssue]
        use_atom(title)  # type: ignore[call-overload]  # pyright: ignore[reportCallIssue,reportArgumentType]
        use_presence("room", Person, initial=3)  # type: ignore[arg-type]  # pyright: ignore[reportArgumentType]

    assert callable(never_called)
