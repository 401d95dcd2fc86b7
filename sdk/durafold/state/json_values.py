"""Plain JSON values: the check before something is sent, and equality as JSON means it."""

from __future__ import annotations

import math
from typing import Any, Final

__all__ = ["MAX_DEPTH", "NotJson", "json_equal", "to_json_value"]

MAX_DEPTH: Final = 100
"""Deepest nesting that is sent; servers refuse somewhat more (the bundled one at 128)."""

MAX_INTEGER_BITS: Final = 4096
"""Largest integer that is sent: Python itself refuses to print integers of more than 4,300 digits."""


class NotJson(ValueError):
    """The value has no JSON form; the message says which part and why."""


def to_json_value(value: Any) -> Any:
    """A copy of `value` made of nothing but dict, list, str, int, float, bool and None.

    It is what a reader will get back after the value went through a stream: tuples become lists, and
    subclasses such as enum members become the plain value they are.

    Raises:
        NotJson: a part of it has no JSON form (another type, NaN or infinity, a key that is no string, text
            with a lone surrogate, an integer of more than 4,096 bits, nesting deeper than 100).
    """
    return _convert(value, "", MAX_DEPTH)


def _convert(value: Any, where: str, depth: int) -> Any:
    if value is None or isinstance(value, bool):
        return value
    if isinstance(value, str):
        return _text(value, where)
    if isinstance(value, int):
        return _integer(value, where)
    if isinstance(value, float):
        return _number(value, where)
    if depth == 0:
        raise NotJson(f"{_at(where)} is nested deeper than {MAX_DEPTH} levels, or contains itself")
    if isinstance(value, dict):
        return {_key(key, where): _convert(item, f"{where}.{key}", depth - 1) for key, item in value.items()}
    if isinstance(value, (list, tuple)):
        return [_convert(item, f"{where}[{index}]", depth - 1) for index, item in enumerate(value)]
    raise NotJson(f"{_at(where)} is of type {type(value).__name__}, which has no JSON form")


def _key(key: Any, where: str) -> str:
    if not isinstance(key, str):
        raise NotJson(f"{_at(where)} has the key {key!r}, and keys of JSON objects are strings")
    return _text(key, where)


def _text(value: str, where: str) -> str:
    if not value.isascii():
        try:
            value.encode()
        except UnicodeEncodeError as exc:
            raise NotJson(f"{_at(where)} holds a lone surrogate, which is no valid text") from exc
    return str.__str__(value)


def _integer(value: int, where: str) -> int:
    if value.bit_length() > MAX_INTEGER_BITS:
        raise NotJson(f"{_at(where)} is an integer of more than {MAX_INTEGER_BITS} bits")
    return int(value)


def _number(value: float, where: str) -> float:
    if not math.isfinite(value):
        raise NotJson(f"{_at(where)} is {value!r}, which JSON cannot express")
    return float(value)


def _at(where: str) -> str:
    return f"the part {where.lstrip('.')!r}" if where else "the value"


def json_equal(left: Any, right: Any) -> bool:
    """Whether two JSON values are the same: `1` and `1.0` are, `1` and `true` are not."""
    if isinstance(left, bool) or isinstance(right, bool):
        return left is right
    if isinstance(left, list) and isinstance(right, list):
        return len(left) == len(right) and all(map(json_equal, left, right))
    if isinstance(left, dict) and isinstance(right, dict):
        return left.keys() == right.keys() and all(json_equal(left[key], right[key]) for key in left)
    return bool(left == right)
