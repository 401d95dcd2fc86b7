"""`Context`: time, ids and chance for reducers, the same on every replica.

A reducer must give one result for one log, so it may not look at a clock or roll dice. What it may do is to
ask its third parameter, whose answers are made of the message alone: of the sender's time, and of a seed that
was drawn when the action was dispatched and travels with it (`meta.ts` and `meta.seed`). The optimistic view
and every replica get the same answers.

The numbers are made here, from SHA-256, and not by the standard library's generators, so that they do not
depend on a version of Python or on another language's library.
"""

from __future__ import annotations

import hashlib
import inspect
import json
from collections.abc import Callable, Sequence
from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING, Any, Final, TypeVar

if TYPE_CHECKING:
    from durafold.state.reducer import Message

__all__ = ["Context", "context_of", "takes_context"]

T = TypeVar("T")

_EPOCH: Final = datetime(1970, 1, 1, tzinfo=UTC)
_MANTISSA: Final = 1 << 53


class Context:
    """Answers for one message; every question gets a new answer, in the order of asking.

    Args:
        ts_ms: the sender's clock, milliseconds since 1970; 0 if the message does not say.
        seed: what all answers but the time are made of.

    Examples:
        >>> ctx = Context(ts_ms=1500, seed="k3f9")
        >>> ctx.now.isoformat()
        '1970-01-01T00:00:01.500000+00:00'
        >>> ctx.uuid() == Context(ts_ms=0, seed="k3f9").uuid()
        True
        >>> 0 <= ctx.random() < 1 and 1 <= ctx.integer(1, 6) <= 6
        True
    """

    __slots__ = ("_asked", "_seed", "ts_ms")

    def __init__(self, ts_ms: int, seed: str) -> None:
        self.ts_ms = ts_ms
        self._seed = seed
        self._asked = 0

    @property
    def now(self) -> datetime:
        """When the action was dispatched, by the sender's clock; 1970 if it does not say."""
        return _EPOCH + timedelta(milliseconds=self.ts_ms)

    def uuid(self) -> str:
        """An id that nothing else gets, in the form of a UUID of version 4."""
        digits = f"{(self._bits(128) & ~(0xF << 76) | 0x4 << 76) & ~(0x3 << 62) | 0x2 << 62:032x}"
        return "-".join((digits[:8], digits[8:12], digits[12:16], digits[16:20], digits[20:]))

    def random(self) -> float:
        """A number from 0 up to, but not including, 1."""
        return self._bits(53) / _MANTISSA

    def integer(self, low: int, high: int) -> int:
        """A whole number between two, both included.

        Raises:
            ValueError: there is none.
        """
        if low > high:
            raise ValueError(f"there is no whole number between {low} and {high}")
        return low + self._bits(128) % (high - low + 1)

    def choice(self, items: Sequence[T]) -> T:
        """One of several.

        Raises:
            ValueError: there is none.
        """
        return items[self.integer(0, len(items) - 1)]

    def _bits(self, count: int) -> int:
        self._asked += 1
        digest = hashlib.sha256(f"{self._seed}/{self._asked}".encode()).digest()
        return int.from_bytes(digest) >> (256 - count)


def context_of(message: Message) -> Context:
    """The context of a message.

    Without a seed (another program wrote it) its identity is one, and without identity its payload: equal
    messages of that kind get equal answers.
    """
    seed = message.seed
    if seed is None:
        identity = message.id
        seed = (
            json.dumps(message.payload, sort_keys=True, default=repr)
            if identity is None
            else f"{identity.client_id}:{identity.n}"
        )
    return Context(message.ts_ms or 0, seed)


def takes_context(function: Callable[..., Any]) -> bool:
    """Whether a reducer has a third parameter without default."""
    try:
        parameters = list(inspect.signature(function).parameters.values())
    except (TypeError, ValueError):
        return False
    return len(parameters) > 2 and parameters[2].default is inspect.Parameter.empty
