"""From `--reducer module:name` and `--initial JSON` to a definition that folds a stream."""

from __future__ import annotations

import json
import sys
from collections.abc import Callable
from importlib import import_module
from typing import Any, Final, get_type_hints

from durafold.cli.state_protocol import state_protocol
from durafold.engine.definition import Declaration, Definition, define
from durafold.errors import ConfigurationError
from durafold.state.models import UnresolvedModel, model_of
from durafold.state.reducer import DeclaredReducer, set_state_reducer

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
        reducer: one of `BUILT_IN`, or `module:name`; modules are also looked for in the current directory.
        initial: the state before the first message, as JSON. None: what its type makes of no arguments, which
            is the type that the reducer's first parameter is annotated with; null without one.

    Raises:
        ConfigurationError: there is no such reducer, or the initial state does not go with it.
    """
    if reducer in BUILT_IN:
        value = _json(initial or ("{}" if reducer == "state-protocol" else "null"))
        return define(Declaration(stream, BUILT_IN[reducer], value))
    function = _imported(reducer)
    annotation = _state_annotation(function)
    value = _made(annotation) if initial is None else _parsed(initial, annotation)
    return define(Declaration(stream, function, value, state_type=annotation))


def _imported(reducer: str) -> Callable[..., Any]:
    module_name, colon, name = reducer.partition(":")
    if not colon or not module_name or not name:
        raise ConfigurationError(
            f"{reducer!r} names no reducer", hint=f"Write module:name, or one of {', '.join(BUILT_IN)}"
        )
    if "" not in sys.path:
        sys.path.insert(0, "")
    try:
        function = import_module(module_name)
        for part in name.split("."):
            function = getattr(function, part)
    except ModuleNotFoundError as exc:
        raise ConfigurationError(
            f"There is no module {exc.name!r}", hint="Run the command where it can be imported, or install it"
        ) from exc
    except AttributeError as exc:
        raise ConfigurationError(f"{module_name} has no {name!r}") from exc
    except Exception as exc:
        raise ConfigurationError(f"{module_name} cannot be imported: {type(exc).__name__}: {exc}") from exc
    if not callable(function):
        raise ConfigurationError(f"{reducer} is not a function (state, action) -> state")
    return function


def _state_annotation(function: Callable[..., Any]) -> Any:
    """The type of a reducer's state, if its first parameter says it."""
    inner = function.function if isinstance(function, DeclaredReducer) else function
    try:
        hints = get_type_hints(inner, include_extras=True)
    except (NameError, TypeError):
        return None
    hints.pop("return", None)
    first = next(iter(hints.items()), None)
    code = getattr(inner, "__code__", None)
    if first is None or code is None or code.co_varnames[:1] != (first[0],):
        return None
    return None if first[1] in (Any, object) else first[1]


def _made(annotation: Any) -> Any:
    if annotation is None:
        return None
    kind = getattr(annotation, "__origin__", annotation)
    try:
        return kind()
    except Exception as exc:
        raise ConfigurationError(
            f"{annotation} says nothing about the state before the first action",
            hint="Give it with --initial JSON",
        ) from exc


def _parsed(initial: str, annotation: Any) -> Any:
    value = _json(initial)
    if annotation is None:
        return value
    try:
        return model_of(value, annotation).parse(value)
    except (UnresolvedModel, ValueError) as exc:
        raise ConfigurationError(f"--initial does not match {annotation}: {exc}") from exc


def _json(text: str) -> Any:
    try:
        return json.loads(text)
    except ValueError as exc:
        raise ConfigurationError(
            f"--initial is not JSON: {exc}", hint="""Quote strings twice: --initial '"text"'"""
        ) from exc
