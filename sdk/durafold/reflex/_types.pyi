# What type checkers know of the classes that `states` makes at run time; running code never imports this.

from collections.abc import Callable, Mapping
from typing import Any, Generic, TypeVar, overload

import reflex as rx
from reflex.event import EventCallback
from reflex.vars import ArrayVar, BooleanVar, NumberVar, ObjectVar, StringVar, Var

from durafold.atoms import AtomFamily
from durafold.engine import Reading
from durafold.provider import Openable

_T = TypeVar("_T")
_Item = TypeVar("_Item")

# The Var of fitting kind on the class, the plain value on an instance.
class Shared(Generic[_T]):
    @overload
    def __get__(self: Shared[bool], instance: None, owner: object) -> BooleanVar: ...
    @overload
    def __get__(self: Shared[int], instance: None, owner: object) -> NumberVar[int]: ...
    @overload
    def __get__(self: Shared[float], instance: None, owner: object) -> NumberVar[float]: ...
    @overload
    def __get__(self: Shared[str], instance: None, owner: object) -> StringVar[str]: ...
    @overload
    def __get__(self: Shared[list[_Item]], instance: None, owner: object) -> ArrayVar[list[_Item]]: ...
    @overload
    def __get__(self, instance: None, owner: object) -> ObjectVar[_T]: ...
    @overload
    def __get__(self, instance: object, owner: object) -> _T: ...

# For classes that users derive from: mypy finds variables of a generic type ambiguous there.
def shared(getter: Callable[[Any], _T]) -> Shared[_T]: ...

class SharedClass(rx.State, Generic[_T]):
    value = Shared[_T]()
    confirmed = Shared[_T]()
    status = Shared[str]()
    pending = Shared[int]()

class DerivedClass(rx.State, Generic[_T]):
    value = Shared[_T]()
    status = Shared[str]()

class ConnectionClass(rx.State):
    status = Shared[str]()
    reason = Shared[str]()
    pending = Shared[int]()

class ServerStateClass(SharedClass[_T]):
    @classmethod
    def set(cls, value: _T | Var[_T]) -> EventCallback[()]: ...  # type: ignore[override]
    @classmethod
    def set_value(cls, value: _T | Var[_T]) -> EventCallback[()]: ...
    @classmethod
    def increment(cls, by: float | Var[float] = 1) -> EventCallback[()]: ...
    @classmethod
    def toggle(cls) -> EventCallback[()]: ...

class ServerReducerClass(SharedClass[_T]):
    # What has to do with undo exists if the reducer has an inverse.
    can_undo = Shared[bool]()
    can_redo = Shared[bool]()
    @classmethod
    def dispatch(cls, action: dict[str, Any] | Var[dict[str, Any]]) -> EventCallback[()]: ...
    @classmethod
    def undo(cls) -> EventCallback[()]: ...
    @classmethod
    def redo(cls) -> EventCallback[()]: ...

class PresenceClass(rx.State, Generic[_T]):
    others = Shared[list[_T]]()
    count = Shared[int]()
    me = Shared[_T]()
    status = Shared[str]()
    @classmethod
    def show(cls, value: _T | dict[str, Any] | Var[Any]) -> EventCallback[()]: ...
    @classmethod
    def update(cls, changes: dict[str, Any] | Var[dict[str, Any]]) -> EventCallback[()]: ...

# As `use_atom` would make it of the store: what another kind of store brings is missing when it runs.
# `set` is left out, because two base classes would disagree about it; `set_value` is the same.
class DurableState(rx.State, Generic[_T]):
    @shared
    def value(self) -> _T: ...
    @shared
    def confirmed(self) -> _T: ...
    status = Shared[str]()
    pending = Shared[int]()
    can_undo = Shared[bool]()
    can_redo = Shared[bool]()
    def __init_subclass__(
        cls,
        *,
        store: Openable[Reading[_T]] | AtomFamily[Any, _T] = ...,
        parameter: str | None = ...,
        state_type: Any = ...,
        parameters: Mapping[str, Callable[[Any], str | None]] | None = ...,
    ) -> None: ...
    @classmethod
    def set_value(cls, value: _T | Var[_T]) -> EventCallback[()]: ...
    @classmethod
    def increment(cls, by: float | Var[float] = 1) -> EventCallback[()]: ...
    @classmethod
    def toggle(cls) -> EventCallback[()]: ...
    @classmethod
    def dispatch(cls, action: dict[str, Any] | Var[dict[str, Any]]) -> EventCallback[()]: ...
    @classmethod
    def undo(cls) -> EventCallback[()]: ...
    @classmethod
    def redo(cls) -> EventCallback[()]: ...
