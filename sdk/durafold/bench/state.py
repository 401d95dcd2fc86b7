"""`durafold bench --state`: measures the state layer, over one server in a process of its own.

Each number is the median of several rounds. Beside it stand the same things done by hand, in Python and, if
you say where npm has put @durable-streams/client (and @durable-streams/state), in TypeScript.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Sequence
from dataclasses import replace
from functools import partial
from typing import Final

import anyio

from durafold.bench import folding, replicas
from durafold.bench.replicas import Place, Size
from durafold.bench.rounds import Figures, Options, medians, new_stream, options_of
from durafold.bench.table import Measure, Numbers, table
from durafold.bench.typescript import Node, node
from durafold.engine import stream_url
from durafold.testing import ServerProcess

__all__ = ["main"]

_QUICK: Final = 100

_MEASURES: Final = {
    "fold_dict": Measure(
        "fold, plain dicts, decoded", "µs CPU/action", is_better_high=False, target="by hand + 2"
    ),
    "fold_dict_json": Measure("fold, plain dicts, from JSON text", "µs CPU/action", is_better_high=False),
    "fold_union": Measure(
        "fold, pydantic union", "µs CPU/action", is_better_high=False, target="by hand + 2"
    ),
    "fold_draft": Measure(
        "fold, draft of 100 cards (by hand: copied)", "µs CPU/action", is_better_high=False
    ),
    "materialize": Measure("State Protocol, changes into rows", "µs CPU/change", is_better_high=False),
    "cold": Measure("load 100,000 actions, nothing cached", "ms", is_better_high=False),
    "warm": Measure("load them again, nothing new", "ms", is_better_high=False, target="one request"),
    "snapshot": Measure(
        "load 1,000,000 actions from a snapshot", "ms", is_better_high=False, target="tens of ms"
    ),
    "shown": Measure("dispatch to optimistic value", "µs", is_better_high=False),
    "confirmed": Measure("dispatch to confirmed", "ms", is_better_high=False),
    "other": Measure("dispatch to another client's value", "ms", is_better_high=False),
    "burst": Measure("dispatches of one client, 5,000 to confirmed", "1/s"),
    "notify": Measure("change told to 10,000 subscribers", "µs/subscriber", is_better_high=False),
    "memory": Measure("memory of one more live replica", "kB", is_better_high=False),
}


def main(arguments: Sequence[str] = ()) -> int:
    """Measure and print a table; see `--help`.

    Returns:
        The exit code.
    """
    options = options_of(arguments, "durafold bench --state", __doc__)
    with ServerProcess() as server:
        numbers = anyio.run(_measure, options, server.url)
    print(table(_MEASURES, numbers))  # noqa: T201
    return 0


async def _measure(options: Options, base: str) -> Numbers:
    size = _quick(Size()) if options.is_quick else Size()
    place = await replicas.histories(base, size)
    async with node(options.typescript) as npm:
        contestants: dict[str, Figures] = {
            "durafold": {**folding.ours(size.actions), **replicas.ours(place)},
            "by hand": {**folding.by_hand(size.actions), **replicas.by_hand(place)},
        }
        if npm is not None:
            contestants[npm.name] = _typescript(npm, place)
        return await medians(contestants, options.rounds)


def _quick(size: Size) -> Size:
    return replace(
        size,
        actions=size.actions // _QUICK,
        long=size.long // _QUICK,
        loads=2,
        dispatches=5,
        burst=size.burst // _QUICK,
        subscribers=size.subscribers // _QUICK,
        replicas=2,
    )


def _typescript(npm: Node, place: Place) -> Figures:
    """By measure, what npm's packages do; what is shared state there is written by hand too."""
    size = place.size

    def measured(do: str, count: int) -> Callable[[], Awaitable[float]]:
        return partial(_in_node, npm, place, do, count)

    return {
        "fold_dict": measured("fold_dict", size.actions),
        "fold_dict_json": measured("fold_dict_json", size.actions),
        **({"materialize": measured("materialize", size.actions)} if npm.has_state else {}),
        "cold": measured("cold", size.actions),
        "confirmed": measured("confirmed", size.dispatches),
        "other": measured("confirmed", size.dispatches),
        "burst": measured("burst", size.burst),
    }


async def _in_node(npm: Node, place: Place, do: str, count: int) -> float:
    history = stream_url(place.base, place.history)
    figure: float = await npm.run(
        do=do, url=history if do == "cold" else await new_stream(place.base), count=count
    )
    return figure
