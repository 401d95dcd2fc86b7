"""How long to wait before the next attempt: pure arithmetic, the random number comes in as an argument."""

from __future__ import annotations

from dataclasses import dataclass

__all__ = ["Backoff"]

_MAX_DOUBLINGS = 32  # keeps the power finite; any sensible ceiling is reached long before


@dataclass(frozen=True, slots=True)
class Backoff:
    """Exponential backoff with full jitter: each wait is drawn evenly from zero up to a growing ceiling.

    Full jitter, because clients that lost their server together must not come back together.

    Attributes:
        first_s: ceiling of the first wait, in seconds.
        max_s: ceiling of every later wait, in seconds.
        max_retry_after_s: the longest `Retry-After` that is honoured, in seconds.
    """

    first_s: float = 0.1
    max_s: float = 10.0
    max_retry_after_s: float = 300.0

    def delay_s(self, attempt: int, random_fraction: float, retry_after_s: float | None = None) -> float:
        """Seconds to wait after a failed attempt.

        Args:
            attempt: failures in a row before this one, from 0.
            random_fraction: an evenly distributed number in [0, 1).
            retry_after_s: what the server asked for. The jitter comes on top of it, so that clients which
                were told the same second spread out behind it.
        """
        ceiling_s = min(self.max_s, self.first_s * 2.0 ** min(attempt, _MAX_DOUBLINGS))
        asked_s = min(max(retry_after_s or 0.0, 0.0), self.max_retry_after_s)
        return asked_s + ceiling_s * random_fraction
