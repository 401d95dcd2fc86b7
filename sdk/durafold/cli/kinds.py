"""Which kind of message a stream of shared state takes: its reducer says, or else what is in it.

A reducer takes actions and nothing else, a shared value takes new values and operations and nothing else.
What the readers of a stream do not take stays in it as a fault that they all see, so it must not get there.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any, Final, Literal

from durafold.cli.state_protocol import state_protocol
from durafold.errors import ConfigurationError
from durafold.state.reducer import set_state_reducer
from durafold.wire.envelope import ACTION, OP, SET, from_message

if TYPE_CHECKING:
    from durafold.engine.definition import Definition

__all__ = ["Kind", "kind_for_reducer", "kind_for_stream"]

Kind = Literal["action", "set", "op"]

_OF_REDUCERS: Final[frozenset[str]] = frozenset({ACTION})
_OF_VALUES: Final[frozenset[str]] = frozenset({SET, OP})
_HOLDS: Final = {_OF_REDUCERS: "actions", _OF_VALUES: "a shared value"}

_VALUE_HINT: Final = (
    """Say --kind set for a new value, or --kind op for an operation like '["increment", 1]'"""
)
_ANY_HINT: Final = (
    "Say --kind action for a reducer, --kind set or op for a shared value, or name either with --reducer"
)


def kind_for_reducer(kind: Kind | None, definition: Definition[Any], reducer: str) -> Kind:
    """The kind to send to what folds with a reducer.

    Args:
        kind: the user's choice, if there is one.
        definition: what the name stands for.
        reducer: the name.

    Raises:
        ConfigurationError: it takes none of that kind, or several and the user has not chosen.
    """
    if definition.declaration.reducer is state_protocol:
        raise ConfigurationError(
            "Collections take changes, and no actions", hint="`durafold append` writes them as they are"
        )
    if definition.declaration.reducer is set_state_reducer:
        if kind is None or kind not in _OF_VALUES:
            raise ConfigurationError(f"{reducer} is a shared value, and takes no actions", hint=_VALUE_HINT)
        return kind
    if kind is not None and kind != ACTION:
        raise ConfigurationError(f"{reducer} takes actions, and no {kind}", hint="Leave --kind out")
    return "action"


def kind_for_stream(kind: Kind | None, messages: Sequence[Any]) -> Kind:
    """The kind to send to a stream.

    Args:
        kind: the user's choice, if there is one.
        messages: what the stream begins with, as decoded JSON.

    Raises:
        ConfigurationError: the stream holds another kind, or the user has not chosen and nothing in it tells.
    """
    holds = _held(messages)
    if kind is None:
        if holds is None:
            raise ConfigurationError("The stream does not tell what its readers take", hint=_ANY_HINT)
        if holds is _OF_VALUES:
            raise ConfigurationError(
                "The stream holds a shared value, which takes no actions", hint=_VALUE_HINT
            )
        return "action"
    if holds is not None and kind not in holds:
        raise ConfigurationError(
            f"The stream holds {_HOLDS[holds]}, whose readers take no {kind}",
            hint=_VALUE_HINT if holds is _OF_VALUES else "Say --kind action",
        )
    return kind


def _held(messages: Sequence[Any]) -> frozenset[str] | None:
    """The kinds that belong to what is there; None if nothing tells. What others wrote may be anything."""
    kinds = {envelope.kind for envelope in map(from_message, messages) if envelope.id is not None}
    if kinds & _OF_VALUES and ACTION not in kinds:
        return _OF_VALUES
    return _OF_REDUCERS if ACTION in kinds and not kinds & _OF_VALUES else None
