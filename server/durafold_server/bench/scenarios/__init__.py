"""All scenarios, in the order in which they are run.

=============  ==================================================================
append         single, batched, of producers, at a fixed rate
reads          catch-up, and the tail of a long and a short stream
latency        append to delivery, by SSE and by long-poll
fan_out        many SSE readers of one stream
idle           SSE readers to whom nothing happens
stalled        an SSE reader that stops reading
recovery       opening a large store after a crash
base           what a scenario is
=============  ==================================================================
"""

from __future__ import annotations

from collections.abc import Sequence
from fnmatch import fnmatchcase
from typing import Final

from durafold_server.bench.errors import UsageError
from durafold_server.bench.scenarios import append, fan_out, idle, latency, reads, recovery, stalled
from durafold_server.bench.scenarios.base import Scenario

ALL: Final[tuple[Scenario, ...]] = (
    *append.SCENARIOS,
    *reads.SCENARIOS,
    *latency.SCENARIOS,
    *fan_out.SCENARIOS,
    *idle.SCENARIOS,
    *stalled.SCENARIOS,
    *recovery.SCENARIOS,
)


def choose(patterns: Sequence[str]) -> list[Scenario]:
    """The scenarios whose names match one of the patterns, such as `append-*`; all if there is no pattern.

    Raises:
        UsageError: a pattern matches none.
    """
    for pattern in patterns:
        if not any(fnmatchcase(scenario.name, pattern) for scenario in ALL):
            known = ", ".join(scenario.name for scenario in ALL)
            raise UsageError(f"there is no scenario {pattern!r}; there are: {known}")
    return [
        scenario
        for scenario in ALL
        if not patterns or any(fnmatchcase(scenario.name, pattern) for pattern in patterns)
    ]
