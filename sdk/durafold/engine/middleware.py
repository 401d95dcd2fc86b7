"""Middleware: functions that every dispatch of this process passes on its way out.

It has no part in folding: what comes from the stream, own echoes included, passes none of it.
"""

from __future__ import annotations

import inspect
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from typing import Any, Literal, Protocol, TypeAlias

from durafold.engine.dispatch import Dispatch
from durafold.errors import ActionRejected, ConfigurationError
from durafold.state.outcomes import Reject

__all__ = ["DispatchContext", "DispatchKind", "Forward", "Middleware", "checked", "pass_through"]

DispatchKind = Literal["action", "set", "op"]
"""What is dispatched: an action of a reducer; a new value, or a function that gives it; an operation such as
`["increment", 1]`."""


@dataclass(frozen=True, slots=True)
class DispatchContext:
    """What middleware is told of a dispatch, beside the action.

    Attributes:
        key: the stream's name.
        kind: what the action is; see `DispatchKind`.
        state: the value as it is shown before the action; treat it as immutable.
        client_id: what the ids of own actions on this stream begin with.
        user: who it is dispatched for, if a process acts for many: the name given to `acting_for`.
    """

    key: str
    kind: DispatchKind
    state: Any
    client_id: str
    user: str | None


Forward: TypeAlias = Callable[[Any], Dispatch[Any]]
"""Passes an action on, to the next middleware and in the end to the stream."""


class Middleware(Protocol):
    """A plain function that every dispatch of this process passes once, before anything is shown or sent: to
    log, stamp, change or reject it. `Provider`, `server_state`, `server_reducer` and the atoms take lists of
    them as `middleware=`.

    The first of a list is the outermost; those of a provider come before those of a declaration. Each may
    look at the action, pass on another one, await nothing, and must return what `forward` gave. What it
    raises is raised by the dispatching call, with nothing shown and nothing sent, if it comes before
    `forward`: what was passed on is on its way. `Reject` becomes `ActionRejected`.

    An action arrives as its reducer's type, also where a dict was dispatched, and what is passed on is
    checked against it. Undo and redo dispatch new actions, so they pass as well. What does not: messages of
    the stream, whoever wrote them; repetitions after lost connections and conflicts; and what an outbox has
    kept from an earlier process, where it has passed.

    This is for the comfort of honest clients. Whom the server should not trust it has to refuse by itself.

    Example:
        >>> def at_most_9(context: DispatchContext, action: Any, forward: Forward) -> Dispatch[Any]:
        ...     if context.kind == "set" and action > 9:
        ...         raise Reject("9 is the most")
        ...     return forward(action)
        >>> count = party.server_state(0, "at-most-9", middleware=[at_most_9])
        >>> count.set(10)
        Traceback (most recent call last):
            ...
        ActionRejected: 9 is the most...
        >>> await count.set(9)
        9
    """

    def __call__(self, context: DispatchContext, action: Any, forward: Forward, /) -> Dispatch[Any]:
        """Pass an action on with `forward`, and return what that gives."""
        ...


def checked(middleware: Iterable[Middleware]) -> tuple[Middleware, ...]:
    """Middleware that a user gave.

    Raises:
        ConfigurationError: something of it is no plain function.
    """
    functions = tuple(middleware)
    for function in functions:
        if not callable(function):
            raise ConfigurationError(
                f"Middleware is a function (context, action, forward), not {function!r}",
                hint="Pass a list of functions",
            )
        if inspect.iscoroutinefunction(function):
            raise ConfigurationError(
                f"The middleware {_name(function)} is asynchronous, and an action is shown at once",
                hint="Do the waiting before you dispatch",
            )
    return functions


def pass_through(
    functions: tuple[Middleware, ...], context: DispatchContext, action: Any, send: Forward
) -> Dispatch[Any]:
    """Have an action pass all functions, and `send` what the last one passes on.

    Raises:
        ActionRejected: one of them raised `Reject`.
        ConfigurationError: one of them returned something else than what it was given by `forward`.
        Exception: whatever one of them raised.
    """
    if not functions:
        return send(action)
    function, rest = functions[0], functions[1:]
    try:
        dispatch = function(context, action, lambda changed: pass_through(rest, context, changed, send))
    except Reject as reject:
        raise ActionRejected(reject.reason, stream=context.key) from reject
    if not isinstance(dispatch, Dispatch):
        raise ConfigurationError(
            f"The middleware {_name(function)} returned {dispatch!r}",
            hint="Return what forward(action) gives, or raise Reject(reason)",
        )
    return dispatch


def _name(function: Any) -> str:
    return getattr(function, "__qualname__", type(function).__qualname__)
