"""What can become of an action when it is folded at its place in the log."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final, Literal

__all__ = [
    "APPLIED",
    "CONFLICT",
    "ImpureReducer",
    "Outcome",
    "Reject",
    "UnknownAction",
    "Verdict",
    "words_of",
]


class Reject(Exception):
    """Raised by a reducer that refuses an action: a no-op on every replica, an error for its sender.

    Examples:
        >>> def accounts(balance: int, withdrawn: int) -> int:
        ...     if withdrawn > balance:
        ...         raise Reject("not enough money")
        ...     return balance - withdrawn
        >>> replay(accounts, 10, [7, 7, 3])
        0
    """

    def __init__(self, reason: str = "the reducer rejected the action") -> None:
        super().__init__(reason)
        self.reason = reason


class UnknownAction(Exception):
    """The action is of a type this version does not know, probably from a newer client.

    A reducer may raise it in its last branch. The action is skipped and the state is marked as partial.
    """


class ImpureReducer(Exception):
    """Strict mode found that a reducer changed its input, or gave two results for one input."""


Verdict = Literal["applied", "rejected", "poison", "unknown", "conflict"]
"""What became of a message: `applied` changed the state, everything else was a no-op on every replica.

- `rejected`: the reducer raised `Reject`
- `poison`: the reducer raised anything else, or the payload does not match its model
- `unknown`: nothing here knows this type of action
- `conflict`: it asked for another revision than the one it found
"""


@dataclass(frozen=True, slots=True)
class Outcome:
    """A verdict, and the exception that led to it (None for `applied` and `conflict`)."""

    verdict: Verdict
    error: Exception | None = None


APPLIED: Final = Outcome("applied")
CONFLICT: Final = Outcome("conflict")


def words_of(error: Exception) -> str:
    """What an exception says; nothing if it cannot say it. Users' code made it, and must not stop readers."""
    try:
        return str(error)
    except Exception:  # noqa: BLE001 - whatever its `__str__` raises
        return ""
