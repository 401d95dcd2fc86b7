"""What is different between two JSON values, as a list of places."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any, Literal

from durafold.state.json_values import json_equal

__all__ = ["Change", "changes_between"]


@dataclass(frozen=True, slots=True)
class Change:
    """One place where two values are different.

    Attributes:
        kind: whether it is only in the second value, only in the first, or in both.
        path: object keys and list indexes from the top; empty for the whole value.
        before: what was there; None if nothing was.
        after: what is there now; None if nothing is.
    """

    kind: Literal["added", "removed", "changed"]
    path: tuple[str | int, ...]
    before: Any
    after: Any

    def to_json(self) -> dict[str, Any]:
        """The change as an object with only the fields that mean something."""
        shown: dict[str, Any] = {"kind": self.kind, "path": list(self.path)}
        if self.kind != "added":
            shown["before"] = self.before
        if self.kind != "removed":
            shown["after"] = self.after
        return shown


def changes_between(before: Any, after: Any) -> list[Change]:
    """The places where two JSON values are different, in the order of the first value, then of the second.

    Lists are compared item by item after what they have in common at both ends was left out, so that an item
    put in front of a long list is one change.
    """
    return list(_changes(before, after, ()))


def _changes(before: Any, after: Any, path: tuple[str | int, ...]) -> Iterator[Change]:
    if isinstance(before, dict) and isinstance(after, dict):
        yield from _in_objects(before, after, path)
    elif isinstance(before, list) and isinstance(after, list):
        yield from _in_lists(before, after, path)
    elif not json_equal(before, after):
        yield Change("changed", path, before, after)


def _in_objects(
    before: dict[str, Any], after: dict[str, Any], path: tuple[str | int, ...]
) -> Iterator[Change]:
    for key, value in before.items():
        if key in after:
            yield from _changes(value, after[key], (*path, key))
        else:
            yield Change("removed", (*path, key), value, None)
    for key, value in after.items():
        if key not in before:
            yield Change("added", (*path, key), None, value)


def _in_lists(before: list[Any], after: list[Any], path: tuple[str | int, ...]) -> Iterator[Change]:
    same_start = _common(before, after)
    same_end = _common(before[same_start:][::-1], after[same_start:][::-1])
    old, new = before[same_start : len(before) - same_end], after[same_start : len(after) - same_end]
    for index, (left, right) in enumerate(zip(old, new, strict=False), same_start):
        yield from _changes(left, right, (*path, index))
    for index in range(len(new), len(old)):
        yield Change("removed", (*path, same_start + index), old[index], None)
    for index in range(len(old), len(new)):
        yield Change("added", (*path, same_start + index), None, new[index])


def _common(left: list[Any], right: list[Any]) -> int:
    return next(
        (index for index, (a, b) in enumerate(zip(left, right, strict=False)) if not json_equal(a, b)),
        min(len(left), len(right)),
    )
