"""How large states are: only the operator's code knows what they are made of, and it may be anything."""

from __future__ import annotations

from typing import Any

from pydantic_core import to_json

__all__ = ["size_of"]


def size_of(state: Any, *, otherwise: int) -> int:
    """Bytes of a state as JSON; takes as long as it is large.

    Args:
        state: the state.
        otherwise: what to answer if it has no such form, as when it contains itself.
    """
    try:
        return len(to_json(state, fallback=repr))
    except Exception:  # noqa: BLE001 - a state that cannot be written is for its readers to complain of
        return otherwise
