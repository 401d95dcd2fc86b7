"""Several reducers as one."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Annotated, Any, Literal

import pytest
from pydantic import BaseModel, Field

from durafold.state.combine import combine_reducers
from durafold.state.context import Context
from durafold.state.json_values import NotJson
from durafold.state.models import action_model
from durafold.state.outcomes import Reject
from durafold.state.reducer import action_step, actions_of, fold, needs_context, reducer, replay
from support.logs import action
from support.todos import Add, Todos, todo_reducer


class Filter(BaseModel):
    type: Literal["filter"] = "filter"
    word: str


class Clear(BaseModel):
    type: Literal["clear"] = "clear"


def filters(state: str, action: Annotated[Filter | Clear, Field(discriminator="type")]) -> str:
    return action.word if isinstance(action, Filter) else ""


def log(state: list[str], action: dict[str, Any]) -> list[str]:
    return [*state, action["type"]]


both = combine_reducers({"todos": todo_reducer, "word": filters})
initial: dict[str, Any] = {"todos": Todos(), "word": ""}


def step(state: Any, payload: Any) -> Any:
    return action_step(both, actions_of(both))(state, action(payload))


class Tick(BaseModel):
    type: Literal["tick"] = "tick"


def ticks(state: int, action: Tick) -> int:
    return state + 1


def test_r9_an_action_passes_a_part_that_knows_only_one_type() -> None:
    parts = combine_reducers({"word": filters, "ticks": ticks})
    fold_one = action_step(parts, actions_of(parts))

    assert fold_one({"word": "m", "ticks": 0}, action({"type": "tick"})) == {"word": "m", "ticks": 1}
    assert fold_one({"word": "m", "ticks": 0}, action({"type": "clear"})) == {"word": "", "ticks": 0}


def test_an_action_goes_to_the_parts_that_know_it() -> None:
    after = step(step(initial, {"type": "add", "text": "milk"}), {"type": "filter", "word": "m"})

    assert (after["todos"].texts, after["word"]) == (["milk"], "m")


def test_parts_that_were_not_changed_are_the_same_objects() -> None:
    after = step(initial, {"type": "filter", "word": "m"})

    assert after["todos"] is initial["todos"]
    assert step(after, {"type": "filter", "word": "m"}) is after


def test_one_reject_leaves_every_part_as_it_was() -> None:
    strict = combine_reducers({"todos": todo_reducer, "log": log})
    state = {"todos": Todos(), "log": []}
    run = action_step(strict, actions_of(strict))
    state = run(state, action({"type": "add", "text": "milk"}))

    with pytest.raises(Reject):
        run(state, action({"type": "add", "text": "milk"}))

    assert state["log"] == ["add"]


def test_an_action_that_no_part_knows_is_unknown() -> None:
    _, outcome = fold(action_step(both, actions_of(both)), initial, action({"type": "archive"}), 0)

    assert outcome.verdict == "unknown"


def test_what_no_part_takes_cannot_be_dispatched() -> None:
    model = actions_of(both)

    assert model.dump(Add(text="x")) == {"type": "add", "text": "x"}
    with pytest.raises(NotJson, match="no part takes this action"):
        model.dump(object())


def test_it_can_be_called_and_replayed_like_any_reducer() -> None:
    assert replay(both, initial, [Add(text="milk"), Filter(word="x"), Clear()])["todos"].texts == ["milk"]


@dataclass(frozen=True)
class App:
    word: str = ""
    other: int = 0


def test_the_state_may_be_a_dataclass() -> None:
    combined = combine_reducers({"word": filters})

    assert combined(App(other=3), Filter(word="x")) == App(word="x", other=3)


def test_it_asks_for_chance_only_if_a_part_does() -> None:
    @reducer()
    def dice(state: int, action: dict[str, Any], ctx: Context) -> int:
        return ctx.integer(1, 6)

    assert not needs_context(both)
    assert needs_context(combine_reducers({"dice": dice}))


def test_versions_and_names_of_all_parts_identify_it() -> None:
    second = reducer(version="2")(filters)

    assert both.name != combine_reducers({"todos": todo_reducer}).name
    assert (both.version, combine_reducers({"todos": todo_reducer, "word": second}).version) == ("1,1", "1,2")


def test_combining_nothing_is_refused() -> None:
    with pytest.raises(ValueError, match="at least one"):
        combine_reducers({})


def test_older_forms_are_upcast_for_their_part() -> None:
    def renamed(old: dict[str, Any]) -> dict[str, Any]:
        return {"word": old.pop("text", ""), **old}

    newer = reducer(upcasters={"filter": renamed})(filters)
    combined = combine_reducers({"word": newer})

    after = action_step(combined, actions_of(combined))(
        {"word": ""}, action({"type": "filter", "text": "old"})
    )

    assert after == {"word": "old"}
    assert action_model(filters).parse({"type": "clear"}) == Clear()
