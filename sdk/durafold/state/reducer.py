"""Folding: what a message does to a state.

A reducer is any pure function `(state, action) -> state`. It must not change its arguments, do I/O, or read a
clock or random numbers, because every client runs it over the same log and all must arrive at the same state
(`strict_step` looks for the two most frequent mistakes). It may raise `Reject` to refuse an action.

A *step* is a reducer made ready for a log: it takes whole messages, reads their payload with the action's
model and hands it on. `fold` runs a step and sorts what comes out into the five verdicts, so that nothing a
stranger appends can stop a reader.
"""

from __future__ import annotations

import copy
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from typing import Any, Generic, Protocol, TypeAlias, TypeVar, cast

from durafold.state.models import PLAIN, Model, action_model
from durafold.state.ops import apply_op
from durafold.state.outcomes import APPLIED, CONFLICT, ImpureReducer, Outcome, Reject, UnknownAction

__all__ = [
    "DeclaredReducer",
    "Message",
    "MessageId",
    "Reducer",
    "Step",
    "action_step",
    "actions_of",
    "fold",
    "name_of",
    "reducer",
    "replay",
    "set_state_reducer",
    "set_state_step",
    "strict_step",
    "version_of",
]

S = TypeVar("S")
A = TypeVar("A")

Reducer: TypeAlias = Callable[[S, A], S]
"""`(state, action) -> state`, pure."""


class MessageId(Protocol):
    """Identity of an action: who dispatched it, and that client's counter."""

    @property
    def client_id(self) -> str: ...
    @property
    def n(self) -> int: ...


class Message(Protocol):
    """One message of a log, in the form that `durafold.wire.envelope.Envelope` has."""

    @property
    def kind(self) -> str: ...
    @property
    def payload(self) -> Any: ...
    @property
    def id(self) -> MessageId | None: ...
    @property
    def if_revision(self) -> int | None: ...


Step: TypeAlias = Callable[[S, Message], S]
"""`(state, message) -> state`: a reducer made ready for a log. Raises whatever the reducer raises."""


def fold(step: Step[S], state: S, message: Message, revision: int) -> tuple[S, Outcome]:
    """Fold one message into a state of the given revision.

    Every exception becomes a verdict; the state that comes with any other verdict than `applied` is the one
    that was given.
    """
    if message.if_revision is not None and message.if_revision != revision:
        return state, CONFLICT
    try:
        return step(state, message), APPLIED
    except Reject as refusal:
        return state, Outcome("rejected", refusal)
    except UnknownAction as unknown:
        return state, Outcome("unknown", unknown)
    except Exception as error:  # noqa: BLE001 - a poison action must not stop the readers of its stream
        return state, Outcome("poison", error)


def action_step(
    reducer: Reducer[S, Any], model: Model = PLAIN, *, unwrap: Callable[[Any], Any] | None = None
) -> Step[S]:
    """The step of a reducer that takes actions.

    Args:
        reducer: the function.
        model: how to read a payload.
        unwrap: takes the action out of a message that another program wrote; by default the whole message is
            the action.
    """

    def step(state: S, message: Message) -> S:
        if message.kind != "action":
            raise UnknownAction(f"a reducer takes messages of type 'action', not {message.kind!r}")
        payload = message.payload
        if unwrap is not None and message.id is None:
            payload = unwrap(payload)
        after = reducer(state, model.parse(payload))
        if after is None and state is not None:
            raise TypeError("the reducer returned None; return the state, changed or not")
        return after

    return step


def set_state_step(model: Model = PLAIN) -> Step[Any]:
    """The step behind `server_state`: whole values (`set`) and declared operations (`op`).

    A message without our `meta` counts too if it has `type` and `payload`, so that
    `{"type": "set", "payload": 5}` from a shell script works.
    """

    def step(state: Any, message: Message) -> Any:
        kind: Any = message.kind
        payload = message.payload
        if message.id is None and isinstance(payload, Mapping) and "payload" in payload:
            kind, payload = payload.get("type"), payload["payload"]
        if kind == "set":
            return model.parse(payload)
        if kind == "op":
            return model.parse(apply_op(model.dump(state) if model.adapter else state, payload))
        raise UnknownAction(f"shared values take messages of type 'set' and 'op', not {kind!r}")

    return step


def set_state_reducer(state: S, message: Mapping[str, Any]) -> S:
    """The reducer of `server_state`: folds `{"type": "set", "payload": value}` and `{"type": "op", ...}`.

    Args:
        state: the value so far.
        message: the message as it is in the stream.

    Raises:
        Reject: an operation does not fit the value.
        UnknownAction: it is of another type.
        InvalidOperation: it is a malformed operation.

    Example::

        set_state_reducer(1, {"type": "op", "payload": ["increment", 2]})  # 3
    """
    return cast("S", _plain_set_state(state, _Bare(message)))


@dataclass(frozen=True, slots=True)
class _Bare:
    """A message without meta, as `replay` and the bare reducers get it."""

    payload: Any
    kind: str = "action"
    id: MessageId | None = None
    if_revision: int | None = None


_plain_set_state = set_state_step()


def strict_step(step: Step[S]) -> Step[S]:
    """The same step, run twice on copies and compared: for tests, about four times the cost.

    The result raises `ImpureReducer` when the reducer changed the state or the action it was given, or gave
    two results for one input. States must be comparable with `==` and copyable with `copy.deepcopy`.
    """

    def checked(state: S, message: Message) -> S:
        state_before, payload_before = copy.deepcopy(state), copy.deepcopy(message.payload)
        after = step(state, message)
        if state != state_before:
            raise ImpureReducer("the reducer changed the state it was given; return a new state instead")
        if message.payload != payload_before:
            raise ImpureReducer("the reducer changed the action it was given; copy what you want to change")
        if step(state_before, message) != after:
            raise ImpureReducer("the reducer gave two results for one input; it must not use time or chance")
        return after

    return checked


def replay(reducer: Reducer[S, A], initial: S, actions: Iterable[A]) -> S:
    """Fold actions over an initial state, as a client does; a `Reject` is a no-op.

    Raises:
        Exception: whatever else the reducer raises: in a live view that would be contained as a fault, here
            you want to see it.

    Example::

        assert replay(todo_reducer, Todos(), [Add(text="milk"), Toggle(id=1)]).todos[0].done
    """
    state = initial
    for action in actions:
        try:
            state = reducer(state, action)
        except Reject:
            continue
    return state


@dataclass(frozen=True)
class DeclaredReducer(Generic[S, A]):
    """A reducer with its name, version and actions declared beside it, made by `@reducer`; still callable.

    Attributes:
        function: the function itself.
        name: what identifies it in caches.
        version: to be raised when its meaning changes, so that cached states of the old one are not used.
        actions: type of its actions, or None to take it from the annotation.
    """

    function: Reducer[S, A]
    name: str
    version: str = "1"
    actions: Any = None

    def __call__(self, state: S, action: A, /) -> S:
        return self.function(state, action)


def reducer(
    actions: Any = None, *, version: str = "1", name: str | None = None
) -> Callable[[Reducer[S, A]], DeclaredReducer[S, A]]:
    """Declare a reducer's actions and version beside it; optional, plain functions work too.

    Args:
        actions: type of the actions: a pydantic discriminated union, a dataclass, a TypedDict.
        version: raise it when the reducer's meaning changes: cached states are then computed anew.
        name: what identifies it in caches; its module and name by default.

    Example::

        @reducer(TodoAction, version="2")
        def todos(state: Todos, action: TodoAction) -> Todos: ...
    """

    def declare(function: Reducer[S, A]) -> DeclaredReducer[S, A]:
        return DeclaredReducer(function, name or name_of(function), version, actions)

    return declare


def name_of(reducer: Callable[..., Any]) -> str:
    """Module and name of a reducer, which identify it in caches."""
    if isinstance(reducer, DeclaredReducer):
        return reducer.name
    named = reducer if hasattr(reducer, "__qualname__") else type(reducer)
    return f"{named.__module__}.{named.__qualname__}"


def version_of(reducer: Callable[..., Any]) -> str:
    """Version a reducer was declared with, `1` by default."""
    return reducer.version if isinstance(reducer, DeclaredReducer) else "1"


def actions_of(reducer: Callable[..., Any], declared: Any = None) -> Model:
    """Model of a reducer's actions: from the argument, the declaration, or the annotation, in this order.

    Raises:
        UnresolvedModel: neither gives a type that can be used.
    """
    if isinstance(reducer, DeclaredReducer):
        return action_model(reducer.function, declared or reducer.actions)
    return action_model(reducer, declared)
