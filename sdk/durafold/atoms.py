"""Atoms: shared state that is declared once, at import, and used wherever there is a provider.

    counter = atom("global-counter", 0)  # no I/O, no provider, no event loop
    todo = atom_family("todos/{}", "")  # one atom for each id
    shopping = reducer_atom("shopping", todo_reducer, Todos())

    async with Provider(url) as party:
        await party.open(counter).increment()  # a `ServerState[int]`
        value, set_value = use_atom(counter)

A declaration holds nothing but what was said. What is alive belongs to a provider, and is counted there.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any, Generic, TypeVar, overload
from urllib.parse import quote
from weakref import WeakValueDictionary

from durafold.engine import Middleware, ServerReducer, ServerState, checked, stream_url
from durafold.errors import ConfigurationError
from durafold.provider import Provider
from durafold.state.reducer import Reducer, set_state_reducer

__all__ = ["Atom", "AtomFamily", "ReducerAtom", "atom", "atom_family", "reducer_atom"]

T = TypeVar("T")
S = TypeVar("S")
A = TypeVar("A")
P = TypeVar("P")


class Atom(Generic[T]):
    """A declared shared value; made by `atom`.

    Attributes:
        key: the stream's name.
        default: its value before anybody has set one.
        state_type: its type, if it is not that of `default`.
        middleware: what every dispatch on it passes.
        is_member: it is one of a family.
    """

    def __init__(
        self,
        key: str,
        default: T,
        state_type: Any = None,
        middleware: Sequence[Middleware] = (),
        *,
        is_member: bool = False,
    ) -> None:
        self.key = key
        self.default = default
        self.state_type = state_type
        self.middleware = checked(middleware)
        self.is_member = is_member

    def __repr__(self) -> str:
        return f"atom({self.key!r}, {self.default!r})"

    @property
    def reducer(self) -> Reducer[T, Any]:
        """What folds it: `set_state_reducer`."""
        return set_state_reducer

    @property
    def initial(self) -> T:
        """State before the first message: `default`, by the name that it has everywhere else."""
        return self.default

    @property
    def actions(self) -> None:
        """A value has no actions of its own."""

    def open_on(self, provider: Provider) -> ServerState[T]:
        """What `Provider.open` calls."""
        return provider.server_state(
            self.default, self.key, state_type=self.state_type, middleware=self.middleware
        )


class ReducerAtom(Generic[S, A]):
    """Declared state that is changed by actions; made by `reducer_atom`.

    Attributes:
        key: the stream's name.
        reducer: the reducer.
        initial: state before the first action.
        actions: type of the actions, if it is not the annotation of the reducer's second parameter.
        state_type: type of the state, if it is not that of `initial`.
        middleware: what every dispatch on it passes.
    """

    def __init__(
        self,
        key: str,
        reducer: Reducer[S, A],
        initial: S,
        actions: Any = None,
        state_type: Any = None,
        middleware: Sequence[Middleware] = (),
    ) -> None:
        self.key = key
        self.reducer: Reducer[S, A] = reducer
        self.initial = initial
        self.actions = actions
        self.state_type = state_type
        self.middleware = checked(middleware)

    def __repr__(self) -> str:
        return f"reducer_atom({self.key!r})"

    def open_on(self, provider: Provider) -> ServerReducer[S, A]:
        """What `Provider.open` calls."""
        return provider.server_reducer(
            self.reducer,
            self.initial,
            self.key,
            actions=self.actions,
            state_type=self.state_type,
            middleware=self.middleware,
        )


def atom(key: str, default: T, *, state_type: Any = None, middleware: Sequence[Middleware] = ()) -> Atom[T]:
    """Declare a shared value.

    Args:
        key: the stream's name; `/` separates segments.
        default: its value before anybody has set one: plain JSON, a pydantic model, a dataclass ...
        state_type: its type, if it is not that of `default`, such as `list[Todo]` for `[]`.
        middleware: functions that every dispatch on it passes, after the provider's; see `Middleware`.

    Raises:
        ConfigurationError: no stream can have this key.

    Examples:
        >>> counter = atom("global-counter", 0)
        >>> counter.key, counter.default
        ('global-counter', 0)
    """
    _check(key)
    return Atom(key, default, state_type, middleware)


def reducer_atom(
    key: str,
    reducer: Reducer[S, A],
    initial: S,
    *,
    actions: Any = None,
    state_type: Any = None,
    middleware: Sequence[Middleware] = (),
) -> ReducerAtom[S, A]:
    """Declare shared state that is changed by actions only.

    Args:
        key: the stream's name; `/` separates segments.
        reducer: a pure function `(state, action) -> state`.
        initial: state before the first action.
        actions: type of the actions. Default: what the reducer's second parameter is annotated with.
        state_type: type of the state, if it is not that of `initial`.
        middleware: functions that every dispatch on it passes, after the provider's; see `Middleware`.

    Raises:
        ConfigurationError: no stream can have this key.

    Examples:
        >>> def total(state: int, action: int) -> int:
        ...     return state + action
        >>> sums = reducer_atom("sums", total, 0)
        >>> await party.open(sums).dispatch(5)
        5
    """
    _check(key)
    return ReducerAtom(key, reducer, initial, actions, state_type, middleware)


class AtomFamily(Generic[P, T]):
    """Atoms that differ in a parameter only; made by `atom_family`.

    An atom lives as long as somebody holds it, and the same one is given out meanwhile. The family itself
    keeps none, so that ids that come and go leave nothing behind.
    """

    def __init__(
        self,
        key_of: Callable[[P], str],
        default_of: Callable[[P], T],
        state_type: Any,
        middleware: Sequence[Middleware] = (),
    ) -> None:
        self._key_of = key_of
        self._default_of = default_of
        self._state_type = state_type
        self._middleware = checked(middleware)
        self._members: WeakValueDictionary[str, Atom[T]] = WeakValueDictionary()

    def __call__(self, parameter: P) -> Atom[T]:
        """The atom of a parameter.

        Raises:
            ConfigurationError: no stream can have its key.
        """
        key = self._key_of(parameter)
        member = self._members.get(key)
        if member is None:
            _check(key)
            member = Atom(
                key, self._default_of(parameter), self._state_type, self._middleware, is_member=True
            )
            self._members[key] = member
        return member

    def __len__(self) -> int:
        """How many of its atoms are held by somebody."""
        return len(self._members)


@overload
def atom_family(
    key: str, default: T, *, state_type: Any = None, middleware: Sequence[Middleware] = ()
) -> AtomFamily[str | int, T]: ...
@overload
def atom_family(
    key: Callable[[P], str], default: T, *, state_type: Any = None, middleware: Sequence[Middleware] = ()
) -> AtomFamily[P, T]: ...
@overload
def atom_family(
    key: str,
    *,
    default_of: Callable[[P], T],
    state_type: Any = None,
    middleware: Sequence[Middleware] = (),
) -> AtomFamily[P, T]: ...
@overload
def atom_family(
    key: Callable[[P], str],
    *,
    default_of: Callable[[P], T],
    state_type: Any = None,
    middleware: Sequence[Middleware] = (),
) -> AtomFamily[P, T]: ...
def atom_family(
    key: str | Callable[[Any], str],
    default: Any = None,
    *,
    default_of: Callable[[Any], Any] | None = None,
    state_type: Any = None,
    middleware: Sequence[Middleware] = (),
) -> AtomFamily[Any, Any]:
    """Declare atoms that differ in a parameter only.

    Args:
        key: the key with `{}` where the parameter goes, as one segment; or a function from parameter to key.
        default: value of each before anybody has set one.
        default_of: a function from parameter to default, if they differ.
        state_type: their type, if it is not that of the default.
        middleware: functions that every dispatch on one of them passes; see `Middleware`.

    Raises:
        ConfigurationError: the key has no place for the parameter.

    Examples:
        >>> title = atom_family("todos/{}/title", "untitled")
        >>> title(7).key, title("a/b").key
        ('todos/7/title', 'todos/a%2Fb/title')
        >>> len(title)  # nobody holds one
        0
    """
    if isinstance(key, str) and key.count("{}") != 1:
        raise ConfigurationError(f"The key {key!r} needs one place for the parameter", hint="Put {} there")
    key_of = _filled(key) if isinstance(key, str) else key
    return AtomFamily(key_of, default_of or (lambda _: default), state_type, middleware)


def _filled(template: str) -> Callable[[Any], str]:
    # A parameter is one segment whatever is in it, so that no id reaches another family's streams.
    return lambda parameter: template.replace("{}", quote(str(parameter), safe=" !$&'()*+,;=:@"))


def _check(key: str) -> None:
    stream_url("http://any", key)
