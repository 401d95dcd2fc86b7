"""From `--reducer module:name` and `--initial JSON` to a definition that folds a stream."""

from __future__ import annotations

import json
from collections.abc import Callable
from typing import Any, Final

from durafold.cli.state_protocol import state_protocol
from durafold.engine.definition import Declaration, Definition, define
from durafold.errors import ConfigurationError
from durafold.named import UNSAID, NamedReducer, UnknownReducer, named_reducer
from durafold.state.models import UnresolvedModel, model_of
from durafold.state.reducer import set_state_reducer

__all__ = ["BUILT_IN", "definition_of"]

BUILT_IN: Final[dict[str, Callable[..., Any]]] = {
    "set-state": set_state_reducer,
    "state-protocol": state_protocol,
}
"""Reducers that have a name of their own."""


def definition_of(stream: str, reducer: str, initial: str | None) -> Definition[Any]:
    """What folds the stream.

    Args:
        stream: its name.
        reducer: one of `BUILT_IN`, or the `module:name` of a reducer or an atom.
        initial: the state before the first message, as JSON. None: the atom's, or what the type makes of no
            arguments that the reducer's first parameter is annotated with; null without one.

    Raises:
        ConfigurationError: there is no such reducer, or the initial state does not go with it.
    """
    if reducer in BUILT_IN:
        value = _json(initial or ("{}" if reducer == "state-protocol" else "null"))
        return define(Declaration(stream, BUILT_IN[reducer], value))
    try:
        named = named_reducer(reducer)
    except UnknownReducer as exc:
        hint = exc.hint if ":" in reducer else f"Write module:name, or one of {', '.join(BUILT_IN)}"
        raise ConfigurationError(str(exc), hint=hint) from exc
    value = _first_state(named) if initial is None else _parsed(initial, named)
    return define(Declaration(stream, named.reducer, value, named.actions, named.state_type))


def _first_state(named: NamedReducer) -> Any:
    if named.state_type is None and named.initial is UNSAID:
        return None
    try:
        return named.first_state()
    except UnknownReducer as exc:
        raise ConfigurationError(str(exc), hint=f"Give it with --initial JSON. {exc.hint}") from exc


def _parsed(initial: str, named: NamedReducer) -> Any:
    value = _json(initial)
    example = None if named.initial is UNSAID else named.initial
    if named.state_type is None and example is None:
        return value
    try:
        return model_of(example, named.state_type).parse(value)
    except (UnresolvedModel, ValueError) as exc:
        raise ConfigurationError(f"--initial does not match the state of {named.name}: {exc}") from exc


def _json(text: str) -> Any:
    try:
        return json.loads(text)
    except (ValueError, RecursionError) as exc:
        raise ConfigurationError(
            f"--initial is not JSON: {exc}", hint="""Quote strings twice: --initial '"text"'"""
        ) from exc
