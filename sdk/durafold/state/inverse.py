"""What takes a change of a shared value back, given the value that it found.

Numbers are added back, so that what others have added since stays. Everything else puts back the part that
was changed, as it was: for that part, the last writer wins.
"""

from __future__ import annotations

from typing import Any, Final

__all__ = ["inverse_of"]

_MISSING: Final = object()


def inverse_of(kind: str, payload: Any, before: Any) -> tuple[str, Any]:
    """Kind and payload of the message that undoes one.

    Args:
        kind: `set` or `op`.
        payload: of the message to undo.
        before: the value that it found, as JSON.

    Examples:
        >>> inverse_of("op", ["increment", 2, ["votes"]], {"votes": 5})
        ('op', ['increment', -2, ['votes']])
        >>> inverse_of("op", ["append", "milk", ["items"]], {"items": ["eggs"]})
        ('op', ['put', ['items'], ['eggs']])
        >>> inverse_of("set", 3, 1)
        ('set', 1)
    """
    if kind != "op":
        return "set", before
    name, path = payload[0], _path(payload)
    found = _part(before, path)
    if name == "increment" and found is not _MISSING:
        return "op", ["increment", -payload[1], *([path] if path else [])]
    if name == "toggle" and found is not _MISSING:
        return "op", payload
    if not path:
        return "set", before
    if found is not _MISSING:
        return "op", ["put", path, found]
    return _without(before, path)


def _without(before: Any, path: list[Any]) -> tuple[str, Any]:
    """Take out what was not there: the first key on the way that was missing."""
    for length in range(1, len(path) + 1):
        if _part(before, path[:length]) is _MISSING:
            parent = path[: length - 1]
            return "op", ["remove", path[length - 1], *([parent] if parent else [])]
    return "set", before


def _path(payload: list[Any]) -> list[Any]:
    if payload[0] == "put":
        return list(payload[1])
    required = 1 if payload[0] == "toggle" else 2
    return list(payload[required]) if len(payload) > required else []


def _part(value: Any, path: list[Any]) -> Any:
    for step in path:
        try:
            value = value[step]
        except (KeyError, IndexError, TypeError):
            return _MISSING
    return value
