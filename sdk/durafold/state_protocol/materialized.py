"""`MaterializedState`: what a log of changes adds up to, with any JSON as rows."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from types import MappingProxyType
from typing import Any

from durafold.state_protocol.messages import Change, Control

__all__ = ["MaterializedState"]


class MaterializedState:
    """Rows by type and key."""

    def __init__(self) -> None:
        self._types: dict[str, dict[str, Any]] = {}

    def apply(self, message: Change | Control) -> None:
        """Fold one message in. A change of the same row twice is no fault: the later one counts."""
        if isinstance(message, Control):
            if message.headers.control == "reset":
                self.clear()
            return
        rows = self._types.setdefault(message.type, {})
        if message.headers.operation == "delete":
            rows.pop(message.key, None)
        else:
            rows[message.key] = message.value

    def apply_batch(self, messages: Iterable[Change | Control]) -> None:
        """Fold messages in, in order."""
        for message in messages:
            self.apply(message)

    def get(self, type_: str, key: str) -> Any:
        """A row; None if there is none."""
        return self._types.get(type_, {}).get(key)

    def get_type(self, type_: str) -> Mapping[str, Any]:
        """All rows of a type by key, as a view."""
        return MappingProxyType(self._types.get(type_, {}))

    def clear(self) -> None:
        """Forget everything."""
        self._types.clear()

    @property
    def types(self) -> list[str]:
        """The types of which there was a change."""
        return list(self._types)

    @property
    def type_count(self) -> int:
        """How many there are."""
        return len(self._types)
