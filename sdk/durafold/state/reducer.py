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
import inspect
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Generic, Protocol, TypeAlias, TypeVar, cast, overload

from durafold.state.context import Context, context_of, takes_context
from durafold.state.draft import with_draft
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
    "needs_context",
    "outcome_of",
    "reducer",
    "replay",
    "run_reducer",
    "set_state_reducer",
    "set_state_step",
    "strict_step",
    "upcast",
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
    @property
    def ts_ms(self) -> int | None: ...
    @property
    def seed(self) -> str | None: ...


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
    except Exception as error:  # noqa: BLE001 - a poison action must not stop the readers of its stream
        return state, outcome_of(error)


def outcome_of(error: Exception) -> Outcome:
    """What it means that a step raised an exception."""
    if isinstance(error, Reject):
        return Outcome("rejected", error)
    return Outcome("unknown" if isinstance(error, UnknownAction) else "poison", error)


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

    run = _runner(reducer, model)

    def step(state: S, message: Message) -> S:
        if message.kind != "action":
            raise UnknownAction(f"a reducer takes messages of type 'action', not {message.kind!r}")
        payload = message.payload
        if unwrap is not None and message.id is None:
            payload = unwrap(payload)
        after: S = run(state, payload, message)
        if after is None and state is not None:
            raise TypeError("the reducer returned None; return the state, changed or not")
        return after

    return step


def _runner(reducer: Callable[..., Any], model: Model) -> Callable[[Any, Any, Message], Any]:
    """How to call a reducer with the payload of a message: found out once, to be quick."""
    parse = model.parse
    if isinstance(reducer, DeclaredReducer) and reducer.upcasters:
        return lambda state, payload, message: run_reducer(
            reducer, state, parse(upcast(reducer, payload)), context_of(message)
        )
    if needs_context(reducer):
        return lambda state, payload, message: reducer(state, parse(payload), context_of(message))
    function = reducer.function if isinstance(reducer, DeclaredReducer) and reducer.is_plain else reducer
    if model.reads_as_it_is:
        return lambda state, payload, _: function(state, payload)
    return lambda state, payload, _: function(state, parse(payload))


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

    Examples:
        >>> set_state_reducer(1, {"type": "op", "payload": ["increment", 2]})
        3
    """
    return cast("S", _plain_set_state(state, _Bare(message)))


@dataclass(frozen=True, slots=True)
class _Bare:
    """A message without meta, as `replay` and the bare reducers get it."""

    payload: Any
    kind: str = "action"
    id: MessageId | None = None
    if_revision: int | None = None
    ts_ms: int | None = None
    seed: str | None = None


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

    Examples:
        >>> def total(state: int, action: int) -> int:
        ...     return state + action
        >>> replay(total, 0, [1, 2, 3])
        6
    """
    state = initial
    for index, action in enumerate(actions):
        try:
            state = run_reducer(reducer, state, action, Context(0, f"replay:{index}"))
        except Reject:
            continue
    return state


@dataclass(frozen=True)
class DeclaredReducer(Generic[S, A]):
    """A reducer with what belongs to it declared beside it, made by `@reducer`; still callable.

    Attributes:
        function: the function itself: `(state, action)`, or `(state, action, ctx)`.
        name: what identifies it in caches.
        version: to be raised when its meaning changes, so that cached states of the old one are not used.
        actions: type of its actions, or None to take it from the annotation.
        upcasters: by type of action, what makes a payload of an older form one of the present form.
        inverse: what undoes an action, given the state before it.
        guard: why an action is refused, if it is.
        draft: the function changes a draft of the state.
        with_context: the function takes a `Context`.
    """

    function: Callable[..., Any]
    name: str
    version: str = "1"
    actions: Any = None
    upcasters: Mapping[str, Callable[[dict[str, Any]], dict[str, Any]]] = field(default_factory=dict)
    inverse: Callable[[S, A], A | Sequence[A] | None] | None = None
    guard: Callable[[S, A], str | None] | None = None
    draft: bool = False
    with_context: bool = field(init=False, default=False)

    def __post_init__(self) -> None:
        object.__setattr__(self, "with_context", takes_context(self.function))

    @property
    def is_plain(self) -> bool:
        """Whether calling the function itself does all there is to do."""
        return not (self.draft or self.guard or self.with_context)

    def __call__(self, state: S, action: A, ctx: Context | None = None, /) -> S:
        """Fold one action. Without `ctx`, a reducer that takes one gets that of time 0 and no seed."""
        if self.guard is not None and (reason := self.guard(state, action)) is not None:
            raise Reject(reason)
        arguments = (action, ctx or Context(0, "")) if self.with_context else (action,)
        if self.draft:
            return cast("S", with_draft(self.function, state, *arguments))
        return cast("S", self.function(state, *arguments))


class Declare(Protocol):
    """What `@reducer(...)` is: it takes the function and gives the declared reducer."""

    @overload
    def __call__(self, function: Callable[[S, A], S], /) -> DeclaredReducer[S, A]: ...
    @overload
    def __call__(self, function: Callable[[S, A], None], /) -> DeclaredReducer[S, A]: ...
    @overload
    def __call__(self, function: Callable[[S, A, Context], S], /) -> DeclaredReducer[S, A]: ...
    @overload
    def __call__(self, function: Callable[[S, A, Context], None], /) -> DeclaredReducer[S, A]: ...


@overload
def reducer(  # pyright: ignore[reportOverlappingOverload] - no type of actions is a function
    actions: Callable[[S, A], S], /
) -> DeclaredReducer[S, A]: ...
@overload
def reducer(actions: Callable[[S, A, Context], S], /) -> DeclaredReducer[S, A]: ...
@overload
def reducer(
    actions: Any = None,
    *,
    version: str = "1",
    name: str | None = None,
    upcasters: Mapping[str, Callable[[dict[str, Any]], dict[str, Any]]] | None = None,
    inverse: Callable[[Any, Any], Any] | None = None,
    guard: Callable[[Any, Any], str | None] | None = None,
    draft: bool = False,
) -> Declare: ...
def reducer(
    actions: Any = None,
    *,
    version: str = "1",
    name: str | None = None,
    upcasters: Mapping[str, Callable[[dict[str, Any]], dict[str, Any]]] | None = None,
    inverse: Callable[[Any, Any], Any] | None = None,
    guard: Callable[[Any, Any], str | None] | None = None,
    draft: bool = False,
) -> Any:
    """Declare what belongs to a reducer beside it; optional, plain functions work too.

    `@reducer` without anything in parentheses is `@reducer()`.

    Args:
        actions: type of the actions: a pydantic discriminated union, a dataclass, a TypedDict.
        version: raise it when the reducer's meaning changes: cached states are then computed anew.
        name: what identifies it in caches; its module and name by default.
        upcasters: by `type` of action, a function from a payload of any older form to the present form, for
            logs that hold both. One in the present form must come back as it is.
        inverse: `(state before, action) -> action` (or several, or None) that undoes it: see
            `ServerReducer.undo`.
        guard: `(state, action) -> reason or None`: an action with a reason is refused as by `Reject(reason)`.
        draft: the function changes a draft of the state and returns nothing: for big states.

    A function with a third parameter gets a `Context` there: time, ids and random numbers that are the same
    on every replica.

    Examples:
        >>> def text_for_title(payload: dict[str, Any]) -> dict[str, Any]:
        ...     return {"type": "add", "text": payload["title"]} if "title" in payload else payload
        >>> @reducer(version="2", upcasters={"add": text_for_title})
        ... def todos(state: list[str], action: dict[str, Any]) -> list[str]:
        ...     return [*state, action["text"]]
        >>> handle = party.server_reducer(todos, [], "upcast")
        >>> await handle.dispatch({"type": "add", "title": "milk"})  # as version 1 wrote it
        ['milk']
    """

    if inspect.isfunction(actions):  # `@reducer` alone: no type of actions is a function
        return reducer()(actions)

    def declare(function: Callable[..., Any]) -> DeclaredReducer[Any, Any]:
        return DeclaredReducer(
            function, name or name_of(function), version, actions, upcasters or {}, inverse, guard, draft
        )

    return declare


def needs_context(reducer: Callable[..., Any]) -> bool:
    """Whether a reducer takes a `Context`."""
    return reducer.with_context if isinstance(reducer, DeclaredReducer) else takes_context(reducer)


def run_reducer(reducer: Callable[..., Any], state: Any, action: Any, ctx: Context) -> Any:
    """Call a reducer, with the context if it takes one."""
    return reducer(state, action, ctx) if needs_context(reducer) else reducer(state, action)


def upcast(reducer: Callable[..., Any], payload: Any) -> Any:
    """A payload of an older form in the present one, if the reducer declares how; the given one is kept."""
    if isinstance(reducer, DeclaredReducer) and reducer.upcasters and isinstance(payload, dict):
        kind = payload.get("type")
        upcaster = reducer.upcasters.get(kind) if isinstance(kind, str) else None
        if upcaster is not None:
            return upcaster(dict(payload))
    return payload


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
