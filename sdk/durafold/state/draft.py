"""Drafts: reducers for big states that say what to change instead of building the new state.

    @reducer(Action, draft=True)
    def boards(state: dict[str, Any], action: Action) -> None:
        state["cards"][action.id]["done"] = True

A draft looks like the state and may be changed. Nothing is copied until something is written; then the parts
on the way to it are, one level each, and everything else is shared with the old state, which stays as it was.
"""

from __future__ import annotations

import copy
from collections.abc import Callable, Iterable, Iterator, MutableMapping, MutableSequence
from dataclasses import fields, is_dataclass, replace
from functools import lru_cache
from typing import Any, Final, overload

from pydantic import BaseModel

__all__ = ["draft_of", "finished", "with_draft"]

_COPYABLE: Final = frozenset({dict, list})
_PLAIN: Final = frozenset({bool, int, float, str, bytes, type(None)})


def with_draft(function: Callable[..., Any], state: Any, *arguments: Any) -> Any:
    """Call a reducer with a draft of the state, and return what it made of it.

    It may change the draft and return nothing, or return a state; if nothing was changed, the result is the
    old object.

    Raises:
        TypeError: the state is of a type that has no drafts (neither dict, list, dataclass nor pydantic
            model).
    """
    draft = draft_of(state)
    if draft is state:
        raise TypeError(f"a state of type {type(state).__name__} has no draft; use a reducer without draft=")
    returned = function(draft, *arguments)
    return finished(draft if returned is None else returned)


def draft_of(
    value: Any,
    changed: Callable[[], None] = lambda: None,
    new: dict[int, Any] | None = None,
    *,
    is_new: bool = False,
) -> Any:
    """A draft of a dict, list, dataclass or pydantic model; other values as they are.

    Args:
        value: what it begins as.
        changed: called before the first write.
        new: by identity, the lists and dicts that were put into the draft, where drafts may be in them. They
            are not changed either: they may be parts of the action.
        is_new: the value is one of them, or in one of them.
    """
    new = {} if new is None else new
    if type(value) in _PLAIN:
        return value
    is_new = is_new or id(value) in new
    if isinstance(value, dict):
        return _DictDraft(value, changed, new, is_new)
    if isinstance(value, list):
        return _ListDraft(value, changed, new, is_new)
    if isinstance(value, BaseModel) or (is_dataclass(value) and not isinstance(value, type)):
        return _ObjectDraft(value, changed, new, is_new)
    return value


def finished(value: Any) -> Any:
    """What a draft has become, or a new value with drafts in it; the old object where nothing was changed."""
    if isinstance(value, _Draft):
        return value._finish()
    if type(value) is list:
        return [finished(item) for item in value]
    if type(value) is dict:
        return {key: finished(item) for key, item in value.items()}
    if type(value) is tuple:
        return tuple(finished(item) for item in value)
    return value


class _Draft:
    """What drafts have in common.

    Until something is written, `_parts` holds the drafts of parts that were looked at. The first write, here
    or in a part, makes `_copy`, one level deep, with those drafts in their places; from then on drafts of
    parts are made there. So a part is known by its place, also where one object stands in two of them.
    `_touched` are the places of the copy that may hold a draft or something new: all, if it `_is_new` itself.
    """

    __slots__ = ("_base", "_changed", "_copy", "_is_new", "_new", "_parts", "_touched")

    _base: Any
    _copy: Any
    _parts: dict[Any, Any]
    _touched: set[Any]
    _changed: Callable[[], None]
    _new: dict[int, Any]
    _is_new: bool

    def __init__(self, base: Any, changed: Callable[[], None], new: dict[int, Any], is_new: bool) -> None:
        self._base = base
        self._copy = None
        self._parts = {}
        self._touched = set()
        self._changed = changed
        self._new = new
        self._is_new = is_new

    def _now(self) -> Any:
        return self._base if self._copy is None else self._copy

    def _write(self) -> Any:
        if self._copy is None:
            self._changed()
            base = self._base
            written = base.copy() if type(base) in _COPYABLE else copy.copy(base)
            for place, part in self._parts.items():
                written[place] = part
            self._touched.update(self._parts)
            self._copy = written
            self._parts.clear()
        return self._copy

    def _part(self, place: Any, value: Any) -> Any:
        """What stands in a place: a draft, if it can be changed; a write to it is a write here."""
        if isinstance(value, _Draft):
            return value
        if place in self._parts:
            return self._parts[place]
        part = draft_of(value, self._part_changed, self._new, is_new=self._is_new)
        if part is not value and self._copy is None:
            self._parts[place] = part
        elif part is not value:
            self._copy[place] = part
            self._touched.add(place)
        return part

    def _part_changed(self) -> None:
        self._write()

    def _taken(self, value: Any) -> Any:
        """A value that is put in."""
        if type(value) in (list, dict, tuple):
            self._new[id(value)] = value
        return value

    def _given(self, value: Any) -> Any:
        """What a value of this draft ends as. Old parts that nobody looked at are not looked at here."""
        is_open = self._is_new or isinstance(value, _Draft) or id(value) in self._new
        return finished(value) if is_open else value

    def _finish(self) -> Any:
        raise NotImplementedError

    def __eq__(self, other: object) -> bool:
        return bool(finished(self) == finished(other))

    __hash__ = None  # type: ignore[assignment]

    def __repr__(self) -> str:
        return f"<draft of {finished(self)!r}>"


class _DictDraft(_Draft, MutableMapping[Any, Any]):
    __slots__ = ()

    def __getitem__(self, key: Any) -> Any:
        return self._part(key, self._now()[key])

    def __setitem__(self, key: Any, value: Any) -> None:
        self._write()[key] = self._taken(value)
        self._touched.add(key)

    def __delitem__(self, key: Any) -> None:
        if key not in self._now():
            raise KeyError(key)
        del self._write()[key]

    def __iter__(self) -> Iterator[Any]:
        return iter(self._now())

    def __len__(self) -> int:
        return len(self._now())

    def setdefault(self, key: Any, default: Any = None) -> Any:
        if key not in self._now():
            self[key] = default
        return self[key]

    def _finish(self) -> Any:
        if self._copy is None:
            return self._given(self._base)
        changed = dict(self._copy)
        for key in changed.keys() if self._is_new else self._touched:
            if key in changed:
                changed[key] = self._given(changed[key])
        return changed


class _ListDraft(_Draft, MutableSequence[Any]):
    """Its places move, so all of them count as touched."""

    __slots__ = ()

    @overload
    def __getitem__(self, index: int) -> Any: ...
    @overload
    def __getitem__(self, index: slice) -> list[Any]: ...
    def __getitem__(self, index: int | slice) -> Any:
        if isinstance(index, slice):
            return [self[place] for place in range(*index.indices(len(self)))]
        value = self._now()[index]
        return self._part(index % len(self), value)

    def __setitem__(self, index: int | slice, value: Any) -> None:
        if isinstance(index, int):
            self._now()[index]  # raises before anything is copied
        taken = [self._taken(item) for item in value] if isinstance(index, slice) else self._taken(value)
        self._write()[index] = taken

    def __delitem__(self, index: int | slice) -> None:
        if isinstance(index, int):
            self._now()[index]
        del self._write()[index]

    def __len__(self) -> int:
        return len(self._now())

    def insert(self, index: int, value: Any) -> None:
        self._write().insert(index, self._taken(value))

    def sort(self, *, key: Callable[[Any], Any] | None = None, reverse: bool = False) -> None:
        """Sort in place, as lists do."""
        self[:] = sorted(self, key=key, reverse=reverse)

    def extend(self, values: Iterable[Any]) -> None:
        self[len(self) :] = values

    def _finish(self) -> Any:
        if self._copy is None:
            return self._given(self._base)
        return [self._given(value) for value in self._copy]


class _ObjectDraft(_Draft):
    """A draft of a dataclass or pydantic model, frozen or not. Its fields are attributes, its own are not."""

    __slots__ = ()

    def __init__(self, base: Any, changed: Callable[[], None], new: dict[int, Any], is_new: bool) -> None:
        own = {
            "_base": base,
            "_copy": None,
            "_parts": {},
            "_touched": set(),
            "_changed": changed,
            "_new": new,
            "_is_new": is_new,
        }
        for name, value in own.items():
            object.__setattr__(self, name, value)

    def _write(self) -> Any:
        if self._copy is None:
            self._changed()
            object.__setattr__(self, "_copy", dict(self._parts))  # of the fields only what may have changed
            self._parts.clear()
        return self._copy

    def __getattr__(self, name: str) -> Any:
        if name not in _names(self._base):
            return getattr(finished(self), name)  # a method or property, of what it is by now
        written = self._copy or {}
        return self._part(name, written[name] if name in written else getattr(self._base, name))

    def __setattr__(self, name: str, value: Any) -> None:
        if name not in _names(self._base):
            raise AttributeError(f"{type(self._base).__name__} has no field {name!r}")
        self._write()[name] = self._taken(value)

    def _finish(self) -> Any:
        if self._copy is None:
            return self._base
        changes = {name: self._given(value) for name, value in self._copy.items()}
        if isinstance(self._base, BaseModel):
            return self._base.model_copy(update=changes)
        return replace(self._base, **changes)


def _names(value: Any) -> frozenset[str]:
    kind: Any = type(value)
    return _names_of(kind)


@lru_cache(maxsize=256)
def _names_of(kind: Any) -> frozenset[str]:
    if issubclass(kind, BaseModel):
        return frozenset(kind.model_fields)
    return frozenset(field.name for field in fields(kind))
