"""Folding a stream of the State Protocol, the form that `__registry__` and StreamDB use.

A message is a change (`type`, `key`, `value`, `headers.operation`) or a control (`headers.control`).
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from durafold.state.outcomes import UnknownAction

__all__ = ["Collections", "state_protocol"]

Collections = Mapping[str, Mapping[str, Any]]
"""Values by key, by type."""


def state_protocol(state: Collections, message: Any) -> Collections:
    """The reducer: `{type: {key: value}}` after one more message.

    Raises:
        UnknownAction: it is not of the State Protocol, or of a newer one.
    """
    headers = message.get("headers") if isinstance(message, Mapping) else None
    if not isinstance(headers, Mapping):
        raise UnknownAction("a message of the State Protocol has headers")
    if "control" in headers:
        return {} if headers["control"] == "reset" else state
    kind, key = message.get("type"), message.get("key")
    if not isinstance(kind, str) or not isinstance(key, str):
        raise UnknownAction("a change of the State Protocol has a type and a key")
    return {**state, kind: _changed(state.get(kind, {}), key, message.get("value"), headers.get("operation"))}


def _changed(values: Mapping[str, Any], key: str, value: Any, operation: Any) -> Mapping[str, Any]:
    if operation in ("insert", "update", "upsert"):
        return {**values, key: value}
    if operation == "delete":
        return {other: kept for other, kept in values.items() if other != key}
    raise UnknownAction(f"there is no operation {operation!r}")
