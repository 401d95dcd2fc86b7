"""One message folded: verdicts, payloads, purity."""

from __future__ import annotations

import datetime as dt
import itertools
import typing
from typing import Annotated, Any, Literal

import pytest
from pydantic import BaseModel, ConfigDict, Field
from typing_extensions import TypedDict

from durafold.state.json_values import NotJson
from durafold.state.models import PLAIN, UnresolvedModel, action_model, model_of
from durafold.state.outcomes import APPLIED, CONFLICT, ImpureReducer, Reject
from durafold.state.reducer import (
    DeclaredReducer,
    action_step,
    actions_of,
    fold,
    name_of,
    reducer,
    replay,
    set_state_reducer,
    set_state_step,
    strict_step,
    version_of,
)
from support.logs import action, line, notes

step = action_step(notes)


class Add(BaseModel):
    model_config = ConfigDict(strict=True)
    type: Literal["add"] = "add"
    text: str
    due: dt.date | None = None


class Toggle(BaseModel):
    type: Literal["toggle"] = "toggle"
    id: int


TodoAction = Annotated[Add | Toggle, Field(discriminator="type")]


class Left(TypedDict):
    type: Literal["left"]
    by: int


class Right(TypedDict):
    type: Literal["right"]
    by: int


def last_action(state: object, action: TodoAction) -> object:
    return action


def move(state: int, action: Left | Right) -> int:
    return state - action["by"] if action["type"] == "left" else state + action["by"]


def test_a_message_that_the_reducer_takes_is_applied() -> None:
    assert fold(step, (), action("milk"), 0) == (("milk",), APPLIED)


def test_a_reject_leaves_the_state_and_keeps_the_reason() -> None:
    state, outcome = fold(step, ("milk",), action("milk"), 1)

    assert state == ("milk",)
    assert outcome.verdict == "rejected"
    assert isinstance(outcome.error, Reject)
    assert outcome.error.reason == "milk is there already"


def test_any_other_exception_is_poison_and_leaves_the_state() -> None:
    state, outcome = fold(step, ("milk",), action("boom"), 1)

    assert state == ("milk",)
    assert outcome.verdict == "poison"
    assert isinstance(outcome.error, ValueError)


def test_an_unknown_action_is_told_apart_from_poison() -> None:
    assert fold(step, (), action("new"), 0)[1].verdict == "unknown"


def test_a_message_of_a_newer_kind_is_unknown_to_a_reducer() -> None:
    assert fold(step, (), line("patch", {}), 0)[1].verdict == "unknown"


@pytest.mark.parametrize(("revision", "verdict"), [(4, "applied"), (3, "conflict"), (5, "conflict")])
def test_a_compare_and_set_is_applied_at_its_revision_only(revision: int, verdict: str) -> None:
    message = line("set", "new", "me:1", if_revision=4)

    state, outcome = fold(set_state_step(), "old", message, revision)

    assert outcome.verdict == verdict
    assert state == ("new" if verdict == "applied" else "old")
    assert (outcome is CONFLICT) == (verdict == "conflict")


def test_a_reducer_that_forgets_to_return_is_poison() -> None:
    _, outcome = fold(action_step(lambda state, action: None), (), action("milk"), 0)  # type: ignore[arg-type, return-value]

    assert "return the state" in str(outcome.error)


def test_a_reducer_of_an_optional_state_may_return_none() -> None:
    def either(state: str | None, action: str | None) -> str | None:
        return action

    assert fold(action_step(either), None, action(None), 0) == (None, APPLIED)


def test_a_message_of_another_program_is_itself_the_action() -> None:
    assert step((), action("milk")) == ("milk",)


def test_a_hook_takes_the_action_out_of_another_programs_message() -> None:
    unwrapping = action_step(notes, unwrap=lambda message: message["note"])

    assert unwrapping((), action({"note": "milk"})) == ("milk",)
    assert unwrapping((), action("eggs", "me:1")) == ("eggs",)


def test_actions_are_read_with_the_model_in_the_reducers_annotation() -> None:
    read = action_step(last_action, action_model(last_action))

    assert read(None, action({"type": "add", "text": "milk"})) == Add(text="milk")


def test_strict_models_are_read_by_the_rules_of_json() -> None:
    model = action_model(last_action)
    bread = Add(text="bread", due=dt.date(2025, 5, 1))

    assert model.dump(bread) == {"type": "add", "text": "bread", "due": "2025-05-01"}
    assert model.parse(model.dump(bread)) == bread


def test_a_union_without_declared_discriminator_is_read_by_its_type_field() -> None:
    model = action_model(move)

    assert fold(action_step(move, model), 5, action({"type": "left", "by": 2}), 0) == (3, APPLIED)
    assert fold(action_step(move, model), 5, action({"type": "jump"}), 0)[1].verdict == "unknown"


def test_an_unknown_tag_is_unknown_and_an_invalid_payload_is_poison() -> None:
    read = action_step(last_action, action_model(last_action))

    assert fold(read, None, action({"type": "archive"}), 0)[1].verdict == "unknown"
    assert fold(read, None, action({"type": "add"}), 0)[1].verdict == "poison"
    assert fold(read, None, action("add"), 0)[1].verdict == "poison"


@pytest.mark.parametrize("actions", [Add, Left])
def test_r9_an_unknown_type_is_unknown_where_there_is_only_one_type_of_actions_too(actions: Any) -> None:
    read = action_step(last_action, action_model(last_action, actions))

    assert fold(read, None, action({"type": "archive"}), 0)[1].verdict == "unknown"
    assert fold(read, None, action({"type": actions.__name__.lower()}), 0)[1].verdict == "poison"


def test_what_is_dispatched_may_be_a_dict_that_matches_the_model() -> None:
    assert action_model(last_action).dump({"type": "toggle", "id": 3}) == {"type": "toggle", "id": 3}


@pytest.mark.parametrize("wrong", [{"type": "add"}, Right(type="right", by=1), None, object()])
def test_what_does_not_match_the_model_cannot_be_dispatched(wrong: Any) -> None:
    with pytest.raises(NotJson):
        action_model(last_action).dump(wrong)


def test_a_declared_model_wins_over_the_annotation() -> None:
    assert action_model(last_action, Toggle).parse({"id": 1}) == Toggle(id=1)


@pytest.mark.parametrize(
    "function",
    [lambda state, action: state, print, lambda state: state, dict.update],
    ids=["no annotation", "builtin", "too few parameters", "method of a builtin"],
)
def test_without_annotation_actions_are_plain_json(function: Any) -> None:
    assert action_model(function) is PLAIN


def test_dicts_and_any_are_plain_json() -> None:
    def by_dict(state: int, action: dict[str, Any]) -> int:
        return state

    def by_any(state: int, action: Any) -> int:
        return state

    assert action_model(by_dict) is PLAIN
    assert action_model(by_any) is PLAIN


def test_an_annotation_that_cannot_be_resolved_is_an_error() -> None:
    class Hidden(BaseModel):
        pass

    def local(state: int, action: Hidden) -> int:
        return state

    with pytest.raises(UnresolvedModel, match=r"'action' of .*local cannot be resolved"):
        action_model(local)


def test_an_annotation_that_is_no_type_of_data_is_an_error() -> None:
    with pytest.raises(UnresolvedModel, match="is no type of data"):
        action_model(last_action, object())


def test_the_model_of_a_state_is_that_of_its_initial_value() -> None:
    assert model_of({}) is PLAIN
    assert model_of(Toggle(id=1)).parse({"id": 2}) == Toggle(id=2)
    assert model_of([], list[Toggle]).parse([{"id": 2}]) == [Toggle(id=2)]


def test_shared_values_fold_sets_and_operations() -> None:
    messages = [
        {"type": "set", "payload": 5},
        {"type": "op", "payload": ["increment", 2]},
        {"type": "op", "payload": ["append", "no list"]},
    ]

    assert replay(set_state_reducer, 0, messages) == 7


def test_shared_values_with_a_model_are_checked_and_changed_through_json() -> None:
    typed = set_state_step(model_of(Toggle(id=0)))

    assert typed(Toggle(id=1), line("op", ["increment", 4, ["id"]], "me:1")) == Toggle(id=5)
    assert fold(typed, Toggle(id=1), line("set", {"id": "x"}, "me:2"), 0)[1].verdict == "poison"


def test_a_shared_value_that_looks_like_a_message_is_a_value() -> None:
    value = {"type": "set", "payload": 1}

    assert set_state_step()(0, line("set", value, "me:1")) == value


def test_other_messages_are_unknown_to_shared_values() -> None:
    assert fold(set_state_step(), 0, action(7), 0)[1].verdict == "unknown"
    assert fold(set_state_step(), 0, action({"payload": 7}), 0)[1].verdict == "unknown"


def test_strict_mode_finds_a_reducer_that_changes_its_state() -> None:
    def grow(state: list[str], action: str) -> list[str]:
        state.append(action)
        return state

    with pytest.raises(ImpureReducer, match="changed the state"):
        strict_step(action_step(grow))([], action("milk"))


def test_strict_mode_finds_a_reducer_that_changes_its_action() -> None:
    def pop(state: str, action: list[str]) -> str:
        return action.pop()

    with pytest.raises(ImpureReducer, match="changed the action"):
        strict_step(action_step(pop))("", action(["milk"]))


def test_r10_strict_mode_finds_a_reducer_that_uses_time_or_chance() -> None:
    ticks = itertools.count()

    with pytest.raises(ImpureReducer, match="two results"):
        strict_step(action_step(lambda state, action: next(ticks)))(0, action("milk"))


def test_strict_mode_lets_pure_reducers_and_rejects_pass() -> None:
    assert strict_step(step)((), action("milk")) == ("milk",)
    with pytest.raises(Reject):
        strict_step(step)(("milk",), action("milk"))


def test_replay_skips_rejects_and_raises_everything_else() -> None:
    assert replay(notes, (), ["milk", "milk", "eggs"]) == ("milk", "eggs")
    with pytest.raises(ValueError, match="no such thing"):
        replay(notes, (), ["milk", "boom"])


def test_a_declared_reducer_is_called_as_before_and_knows_its_actions() -> None:
    @reducer(TodoAction, version="2", name="todos")
    def todos(state: int, action: Any) -> int:
        return state + 1

    assert todos(1, Add(text="milk")) == 2
    assert (name_of(todos), version_of(todos)) == ("todos", "2")
    assert actions_of(todos).parse({"type": "toggle", "id": 1}) == Toggle(id=1)


def test_a_decorator_without_parentheses_declares_the_function() -> None:
    @reducer
    def count(state: int, action: Any) -> int:
        return state + 1

    assert isinstance(count, DeclaredReducer)
    assert (count(1, None), version_of(count)) == (2, "1")


def test_an_undeclared_reducer_is_known_by_its_module_and_name() -> None:
    assert name_of(move) == f"{__name__}.move"
    assert version_of(move) == "1"


def test_actions_annotated_with_the_standard_typed_dict_can_be_dispatched() -> None:
    class Jump(typing.TypedDict):
        height: int

    def jump(state: int, action: Jump) -> int:
        return state + action["height"]

    jump.__annotations__["action"] = Jump

    assert action_model(jump).dump({"height": 2}) == {"height": 2}


# ---- what is declared beside a reducer ----


def renamed(old: dict[str, Any]) -> dict[str, Any]:
    return {"text": old.pop("title"), **old} if "title" in old else old


@reducer(TodoAction, upcasters={"add": renamed})
def texts(state: list[str], action: TodoAction) -> list[str]:
    return [*state, action.text] if isinstance(action, Add) else state


def test_older_forms_of_an_action_are_read_as_the_present_one() -> None:
    run = action_step(texts, actions_of(texts))
    old = {"type": "add", "title": "old"}

    state = run(run([], action(old)), action({"type": "add", "text": "new"}))

    assert state == ["old", "new"]
    assert old == {"type": "add", "title": "old"}


def test_a_guard_refuses_before_the_reducer_runs() -> None:
    @reducer(guard=lambda state, by: "too much" if by > 10 else None)
    def total(state: int, by: int) -> int:
        return state + by

    assert total(1, 2) == 3
    with pytest.raises(Reject, match="too much"):
        total(1, 11)
    assert fold(action_step(total), 1, action(11), 0)[1].verdict == "rejected"
