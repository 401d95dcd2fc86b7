"""How much is measured, and how long."""

from __future__ import annotations

from dataclasses import dataclass

_MB = 1_000_000


@dataclass(frozen=True, slots=True)
class Settings:
    """Sizes and times of a run; they are part of its results.

    Attributes:
        rounds: how often everything is measured on each server.
        warmup_s: seconds for which a load runs before it is measured, and for which every server is given
            appends before anything else: some compile what they run often, while they run.
        measured_s: seconds that something is measured in a round; slow servers take longer, because a few
            repetitions are the least.
        rate_per_s: requests per second of `append-paced`.
        messages: length of a long stream.
        idle_readers: how many readers wait in `idle-readers`.
        stalled_bytes: what is appended while a reader stalls.
        recovery_messages: length of the stream in the store that is opened after a crash.
    """

    rounds: int = 3
    warmup_s: float = 1.0
    measured_s: float = 2.0
    rate_per_s: float = 2000.0
    messages: int = 100_000
    idle_readers: int = 5_000
    stalled_bytes: int = 200 * _MB
    recovery_messages: int = 1_000_000


QUICK = Settings(
    rounds=1,
    warmup_s=0.1,
    measured_s=0.3,
    messages=5_000,
    idle_readers=200,
    stalled_bytes=10 * _MB,
    recovery_messages=20_000,
)
"""To see that everything runs; the numbers mean little."""
