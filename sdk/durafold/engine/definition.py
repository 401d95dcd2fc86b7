"""What a key means: its reducer, its initial state, and how both travel as JSON."""

from __future__ import annotations

import inspect
import re
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, Final, Generic, TypeVar
from urllib.parse import quote, urlsplit, urlunsplit

from durafold.engine.middleware import Middleware
from durafold.errors import ConfigurationError, InvalidAction
from durafold.state.json_values import NotJson, to_json_value
from durafold.state.models import PLAIN, Model, UnresolvedModel, model_of
from durafold.state.ops import InvalidOperation, check_op
from durafold.state.reducer import (
    Reducer,
    Step,
    action_step,
    actions_of,
    name_of,
    needs_context,
    set_state_reducer,
    set_state_step,
    strict_step,
)
from durafold.state.snapshot import fingerprint
from durafold.wire.envelope import ACTION, OP, SET
from durafold.wire.names import DEFAULT_PREFIX
from durafold.wire.urls import split_http_url

__all__ = ["Declaration", "Definition", "base_url", "define", "stream_url"]

S = TypeVar("S")

# What RFC 3986 allows unescaped in a path segment, besides letters, digits and `-._~`.
_SEGMENT_SAFE: Final = "!$&'()*+,;=:@"
# Control characters, and halves of surrogate pairs, which are no text.
_UNUSABLE: Final = re.compile("[\x00-\x1f\x7f\ud800-\udfff]")


@dataclass(frozen=True, eq=False)
class Declaration(Generic[S]):
    """What a user says about a key. Making one costs nothing, so that hooks can do it at every call.

    Attributes:
        key: the stream's name.
        reducer: a reducer of actions, or `set_state_reducer` for a shared value.
        initial: state before the first message.
        actions: type of the actions, if it is not the annotation of the reducer's second parameter.
        state_type: type of the state, if it is not that of `initial`.
        unwrap: takes the action out of another program's message.
        middleware: what every dispatch on the key passes, after the provider's.
    """

    key: str
    reducer: Reducer[S, Any]
    initial: S
    actions: Any = None
    state_type: Any = None
    unwrap: Callable[[Any], Any] | None = None
    middleware: tuple[Middleware, ...] = ()

    def require_same(self, other: Declaration[Any]) -> None:
        """Check that a second declaration of the key says the same.

        Raises:
            ConfigurationError: it does not.
        """
        difference = self._difference(other)
        if difference is not None:
            raise ConfigurationError(
                f"{self.key!r} is in use with another {difference}",
                hint="Declare it once and share that declaration, or use another key",
            )

    def _difference(self, other: Declaration[Any]) -> str | None:
        if self.reducer is not other.reducer:
            return f"reducer ({name_of(self.reducer)}, now {name_of(other.reducer)})"
        if type(self.initial) is not type(other.initial) or self.initial != other.initial:
            return f"default ({self.initial!r}, now {other.initial!r})"
        types = (self.actions, self.state_type, self.unwrap)
        if types != (other.actions, other.state_type, other.unwrap):
            return "type"
        return None if self.middleware == other.middleware else "middleware"


@dataclass(frozen=True)
class Definition(Generic[S]):
    """A declaration made ready for use.

    Attributes:
        declaration: what the user said.
        step: the reducer, ready to fold messages.
        actions: how actions travel; plain JSON for shared values.
        states: how states travel.
        fingerprint: of all this, for caches.
        needs_seed: the reducer asks for chance, so that every action carries some.
    """

    declaration: Declaration[S]
    step: Step[S]
    actions: Model
    states: Model
    fingerprint: str
    needs_seed: bool = False

    @property
    def key(self) -> str:
        """The stream's name."""
        return self.declaration.key

    @property
    def initial(self) -> S:
        """State before the first message."""
        return self.declaration.initial

    def checked(self, kind: str, action: Any) -> Any:
        """An action as its reducer's type, whatever form it was dispatched in; other kinds as they are.

        Raises:
            InvalidAction: it does not match.
        """
        try:
            return self.actions.check(action) if kind == ACTION else action
        except NotJson as exc:
            raise self._invalid(exc) from exc

    def payload(self, kind: str, action: Any) -> Any:
        """JSON form of what is dispatched: an action, a new value, or an operation.

        Raises:
            InvalidAction: it has none, or does not match its type.
        """
        try:
            if kind == OP:
                operation = to_json_value(action)
                check_op(operation)
                return operation
            return (self.states if kind == SET else self.actions).dump(action)
        except (NotJson, InvalidOperation) as exc:
            raise self._invalid(exc) from exc

    def parsed(self, kind: str, payload: Any) -> Any:
        """What `payload` was made of."""
        if kind == OP:
            return payload
        return (self.states if kind == SET else self.actions).parse(payload)

    def _invalid(self, reason: Exception) -> InvalidAction:
        return InvalidAction(f"Nothing was sent: {reason}", stream=self.key)


def define(declaration: Declaration[S], *, strict: bool = False) -> Definition[S]:
    """Check a declaration and make it ready for use.

    Args:
        declaration: what the user said.
        strict: fold everything twice and compare.

    Raises:
        ConfigurationError: something about it cannot work.
    """
    try:
        states = model_of(declaration.initial, declaration.state_type)
        actions, step = _actions_and_step(declaration, states)
    except (UnresolvedModel, NotJson) as exc:
        raise ConfigurationError(
            f"{declaration.key!r} cannot be used: {exc}", hint="Name the type with actions= or state_type="
        ) from exc
    return Definition(
        declaration=declaration,
        step=strict_step(step) if strict else step,
        actions=actions,
        states=states,
        fingerprint=fingerprint(declaration.reducer, actions, states, declaration.initial),
        needs_seed=needs_context(declaration.reducer),
    )


def _actions_and_step(declaration: Declaration[S], states: Model) -> tuple[Model, Step[S]]:
    if declaration.reducer is set_state_reducer:
        states.dump(declaration.initial)  # raises if there is no JSON form to send
        return PLAIN, set_state_step(states)
    actions = _actions_model(declaration.reducer, declaration.actions)
    return actions, action_step(declaration.reducer, actions, unwrap=declaration.unwrap)


def _actions_model(reducer: Callable[..., Any], actions: Any) -> Model:
    if not callable(reducer):
        raise ConfigurationError(f"A reducer is a function (state, action) -> state, not {reducer!r}")
    if inspect.iscoroutinefunction(reducer):
        raise ConfigurationError(
            f"The reducer {name_of(reducer)} is asynchronous, and a reducer must be pure",
            hint="Do the waiting before you dispatch, and put its result into the action",
        )
    return actions_of(reducer, actions)


def base_url(url: str) -> str:
    """Where a server's streams are: a bare `http://host:port` stands for its default path.

    Raises:
        ConfigurationError: it is not an absolute http or https URL.
    """
    parts = split_http_url(url, hint=f"Pass one like http://127.0.0.1:4437{DEFAULT_PREFIX}")
    path = parts.path.rstrip("/") or DEFAULT_PREFIX
    return urlunsplit(parts._replace(path=path, fragment=""))


def stream_url(base: str, key: str) -> str:
    """URL of the stream of a key; every segment is percent-encoded, `/` separates segments.

    Raises:
        ConfigurationError: the key is no text or empty, it holds a control character, or a segment of it is
            empty, `.` or `..`.
    """
    _require_text(key)
    segments = key.split("/")
    if any(segment in ("", ".", "..") for segment in segments):
        raise ConfigurationError(
            f"{key!r} cannot be the key of a stream",
            hint="Use segments that are not empty, '.' or '..', with one '/' between them",
        )
    parts = urlsplit(base)
    path = "/".join([parts.path, *(quote(segment, safe=_SEGMENT_SAFE) for segment in segments)])
    return urlunsplit(parts._replace(path=path))


def _require_text(key: object) -> None:
    if not isinstance(key, str) or _UNUSABLE.search(key):
        raise ConfigurationError(
            f"{key!r} cannot be the key of a stream", hint='Use text without control characters, like "todos"'
        )
