"""`combine_reducers`: one reducer made of several, each for its own part of the state."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, is_dataclass, replace
from typing import Any

from pydantic import BaseModel

from durafold.state.context import Context
from durafold.state.json_values import NotJson
from durafold.state.models import Model
from durafold.state.outcomes import UnknownAction
from durafold.state.reducer import (
    DeclaredReducer,
    actions_of,
    name_of,
    needs_context,
    run_reducer,
    upcast,
    version_of,
)

__all__ = ["combine_reducers"]


def combine_reducers(reducers: Mapping[str, Callable[..., Any]]) -> DeclaredReducer[Any, Any]:
    """One reducer that hands every action to several, each for its own part of the state.

    An action goes to every part whose reducer knows its type, and leaves the others as they are. If one of
    them raises `Reject`, nothing is changed anywhere. If no part is changed, the old state is returned.

    Args:
        reducers: reducer by the name of its part: a key of the state, if that is a dict; a field, if it is a
            dataclass or pydantic model.

    Raises:
        ValueError: there is none.

    Examples:
        >>> def todos(state, action):
        ...     return [*state, action["text"]] if action["type"] == "add" else state
        >>> def count(state, action):
        ...     return state + 1
        >>> combine_reducers({"todos": todos, "count": count})(
        ...     {"todos": [], "count": 0}, {"type": "add", "text": "milk"}
        ... )
        {'todos': ['milk'], 'count': 1}
    """
    if not reducers:
        raise ValueError("combine_reducers needs at least one reducer")
    parts = {name: _Part(reducer, actions_of(reducer)) for name, reducer in reducers.items()}
    combined = _Combined(parts)
    asks = any(needs_context(reducer) for reducer in reducers.values())
    return DeclaredReducer(
        combined.with_context if asks else combined,
        name="combined(" + ", ".join(f"{part}={name_of(reducers[part])}" for part in reducers) + ")",
        version=",".join(version_of(reducer) for reducer in reducers.values()),
        actions=_CombinedModel(parts=parts),
    )


@dataclass(frozen=True)
class _Part:
    reducer: Callable[..., Any]
    actions: Model


@dataclass(frozen=True)
class _ForParts:
    """One action, in the form that each part takes it in; parts that do not know it are missing."""

    actions: Mapping[str, Any]


@dataclass(frozen=True)
class _CombinedModel(Model):
    """Actions of any of the parts."""

    parts: Mapping[str, _Part] | None = None

    @property
    def reads_as_it_is(self) -> bool:
        return False

    def _parts(self) -> Mapping[str, _Part]:
        assert self.parts is not None
        return self.parts

    def parse(self, value: Any) -> Any:
        known: dict[str, Any] = {}
        unknown: UnknownAction | None = None
        for name, part in self._parts().items():
            try:
                known[name] = part.actions.parse(upcast(part.reducer, value))
            except UnknownAction as error:
                unknown = error
        if not known and unknown is not None:
            raise unknown
        return _ForParts(known)

    def dump(self, value: Any) -> Any:
        refusals: list[str] = []
        for name, part in self._parts().items():
            try:
                return part.actions.dump(value)
            except NotJson as refusal:
                refusals.append(f"{name}: {refusal}")
        raise NotJson("no part takes this action; " + "; ".join(refusals))

    def schema(self) -> Any:
        return {name: part.actions.schema() for name, part in self._parts().items()}


class _Combined:
    """The function behind a combined reducer."""

    def __init__(self, parts: Mapping[str, _Part]) -> None:
        self._parts = parts
        self._model = _CombinedModel(parts=parts)

    def with_context(self, state: Any, action: Any, ctx: Context) -> Any:
        """The same, for parts that ask for a context."""
        return self(state, action, ctx)

    def __call__(self, state: Any, action: Any, ctx: Context | None = None) -> Any:
        if not isinstance(action, _ForParts):
            action = self._model.parse(self._model.dump(action))
        changed: dict[str, Any] = {}
        for name, part_action in action.actions.items():
            before = state[name] if isinstance(state, Mapping) else getattr(state, name)
            after = run_reducer(self._parts[name].reducer, before, part_action, ctx or Context(0, ""))
            if after is not before:
                changed[name] = after
        return _with(state, changed) if changed else state


def _with(state: Any, changed: Mapping[str, Any]) -> Any:
    if isinstance(state, Mapping):
        return {**state, **changed}
    if isinstance(state, BaseModel):
        return state.model_copy(update=changed)
    if is_dataclass(state) and not isinstance(state, type):
        return replace(state, **changed)
    raise TypeError(f"a combined state is a dict, dataclass or pydantic model, not {type(state).__name__}")
