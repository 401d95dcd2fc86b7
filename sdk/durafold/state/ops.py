"""Declared operations: small changes that never conflict, because they are folded in log order.

An operation is a JSON array: its name, then its arguments:

    ["increment", 1]                    number + 1
    ["append", "milk"]                  list with one item more
    ["extend", ["milk", "eggs"]]        list with several items more
    ["remove", "milk"]                  list without the first equal item, or object without that key
    ["merge", {"done": true}]           object with these keys replaced (one level deep)
    ["put", ["todos", 0, "done"], true] the value at a path replaced
    ["toggle"]                          boolean negated
    ["min", 3], ["max", 3]              the smaller, the larger of the two numbers

All but `put` take a path as an optional last argument and then work on the part found there:
`["increment", 1, ["votes", "yes"]]`, `["toggle", ["todos", 0, "done"]]`. A path is an array of object keys
and list indexes (0 is the first item). Objects that are missing on the way are made, and a missing key counts
as 0, `[]`, `{}` or false, so that "first vote" and "next vote" are one operation.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from types import MappingProxyType
from typing import Any, Final

from durafold.state.json_values import json_equal
from durafold.state.outcomes import Reject, UnknownAction

__all__ = ["OPERATIONS", "InvalidOperation", "Path", "apply_op", "check_op"]

Path = Sequence[str | int]
"""Object keys and list indexes that lead to a part of a JSON value."""


class InvalidOperation(ValueError):
    """The array is no well-formed operation, whatever the state is."""


class _Missing:
    """Stands for a key that is not there yet."""


_MISSING: Final = _Missing()


def apply_op(state: Any, op: Any) -> Any:
    """Fold one operation: a new state that shares every untouched part with the old one.

    Args:
        state: any JSON value; it is not changed.
        op: the operation as a JSON array.

    Raises:
        Reject: the operation does not fit the state at this place in the log (`increment` of a list).
        UnknownAction: a newer client sent an operation this version does not know.
        InvalidOperation: the array is malformed.
    """
    operation, argument, path = _parse(op)
    return _at(state, path, lambda target: operation.apply(target, argument))


def check_op(op: Any) -> None:
    """Check an operation before it is sent, without looking at any state.

    Raises:
        UnknownAction: there is no such operation.
        InvalidOperation: the array is malformed.
    """
    _parse(op)


@dataclass(frozen=True, slots=True)
class _Operation:
    """How one operation works on the value at its path.

    Attributes:
        apply: (value at the path or `_MISSING`, argument) → new value.
        accepts: what the argument must be; None for an operation without argument.
        expected: the same in words.
    """

    apply: Callable[[Any, Any], Any]
    accepts: Callable[[Any], bool] | None
    expected: str


def _parse(op: Any) -> tuple[_Operation, Any, Path]:
    if not isinstance(op, list) or not op or not isinstance(op[0], str):
        raise InvalidOperation(f'an operation is an array such as ["increment", 1], not {op!r}')
    name, arguments = op[0], op[1:]
    operation = OPERATIONS.get(name)
    if operation is None:
        raise UnknownAction(f"there is no operation {name!r}")
    if name == "put":
        arguments = arguments[::-1]
    argument, path = _split(name, operation, arguments)
    if not _is_path(path):
        raise InvalidOperation(f"the path of {name!r} must be an array of keys and indexes, not {path!r}")
    return operation, argument, path


def _split(name: str, operation: _Operation, arguments: list[Any]) -> tuple[Any, Any]:
    """Argument and path; the path is optional, and `put` always has one."""
    required = 0 if operation.accepts is None else 1
    if not required <= len(arguments) <= required + 1 or (name == "put" and len(arguments) != 2):
        raise InvalidOperation(f"{name!r} takes {operation.expected}, not {arguments!r}")
    argument = arguments[0] if operation.accepts is not None else None
    if operation.accepts is not None and not operation.accepts(argument):
        raise InvalidOperation(f"{name!r} takes {operation.expected}, not {argument!r}")
    return argument, arguments[required] if len(arguments) > required else []


def _is_path(path: Any) -> bool:
    return isinstance(path, list) and all(isinstance(step, str) or _is_index(step) for step in path)


def _is_index(step: Any) -> bool:
    return isinstance(step, int) and not isinstance(step, bool) and step >= 0


def _at(state: Any, path: Path, change: Callable[[Any], Any]) -> Any:
    """`state` with the part at `path` changed; the way there is copied, everything else is shared."""
    if not path:
        return change(state)
    step, rest = path[0], path[1:]
    if isinstance(step, str):
        members = _object(state, step)
        return {**members, step: _at(members.get(step, _MISSING), rest, change)}
    items = _list(state, step)
    return [*items[:step], _at(items[step], rest, change), *items[step + 1 :]]


def _object(value: Any, key: str) -> dict[str, Any]:
    if value is _MISSING:
        return {}
    if not isinstance(value, dict):
        raise Reject(f"there is no key {key!r} in {_kind(value)}")
    return value


def _list(value: Any, index: int) -> list[Any]:
    if not isinstance(value, list):
        raise Reject(f"there is no index {index} in {_kind(value)}")
    if index >= len(value):
        raise Reject(f"there is no index {index} in a list of {len(value)}")
    return value


def _increment(value: Any, by: float) -> Any:
    number = 0 if value is _MISSING else value
    if not _is_number(number):
        raise Reject(f"{_kind(value)} cannot be incremented")
    return _finite(number, by)


def _finite(number: float, by: float) -> float:
    try:
        total = number + by
    except OverflowError as exc:
        raise Reject("the sum is too large for a float") from exc
    if not _is_number(total):
        raise Reject("the sum is too large for a float")
    return total


def _extend(value: Any, items: list[Any]) -> Any:
    present = [] if value is _MISSING else value
    if not isinstance(present, list):
        raise Reject(f"nothing can be appended to {_kind(value)}")
    return [*present, *items]


def _remove(value: Any, item: Any) -> Any:
    # Removing what another client has removed already is what the user wanted, so it is no Reject.
    if isinstance(value, list):
        index = next((index for index, other in enumerate(value) if json_equal(other, item)), None)
        return value if index is None else [*value[:index], *value[index + 1 :]]
    if isinstance(value, dict) and isinstance(item, str):
        return {key: other for key, other in value.items() if key != item} if item in value else value
    raise Reject(f"{item!r} cannot be removed from {_kind(value)}")


def _merge(value: Any, members: dict[str, Any]) -> Any:
    present = {} if value is _MISSING else value
    if not isinstance(present, dict):
        raise Reject(f"nothing can be merged into {_kind(value)}")
    return {**present, **members}


def _toggle(value: Any, _: None) -> Any:
    flag = False if value is _MISSING else value
    if not isinstance(flag, bool):
        raise Reject(f"{_kind(value)} cannot be toggled")
    return not flag


def _bound(choose: Callable[[Any, Any], Any]) -> Callable[[Any, Any], Any]:
    def bound(value: Any, limit: float) -> Any:
        if value is _MISSING:
            return limit
        if not _is_number(value):
            raise Reject(f"{_kind(value)} cannot be compared with a number")
        return choose(value, limit)

    return bound


def _is_number(value: Any) -> bool:
    if isinstance(value, float):
        return math.isfinite(value)
    return isinstance(value, int) and not isinstance(value, bool)


def _kind(value: Any) -> str:
    if value is _MISSING:
        return "a part that does not exist"
    return _KINDS.get(type(value), type(value).__name__)


_KINDS: Final = MappingProxyType(
    {
        type(None): "null",
        bool: "a boolean",
        int: "a number",
        float: "a number",
        str: "a text",
        list: "a list",
        dict: "an object",
    }
)

OPERATIONS: Final[Mapping[str, _Operation]] = MappingProxyType(
    {
        "increment": _Operation(_increment, _is_number, "a number"),
        "append": _Operation(lambda value, item: _extend(value, [item]), lambda _: True, "one item"),
        "extend": _Operation(_extend, lambda items: isinstance(items, list), "a list of items"),
        "remove": _Operation(_remove, lambda _: True, "one item or key"),
        "merge": _Operation(_merge, lambda members: isinstance(members, dict), "an object"),
        "put": _Operation(lambda _, value: value, lambda _: True, "a path and a value"),
        "toggle": _Operation(_toggle, None, "no argument but a path"),
        "min": _Operation(_bound(min), _is_number, "a number"),
        "max": _Operation(_bound(max), _is_number, "a number"),
    }
)
"""Every operation by name."""
