"""Counters and histograms that cost next to nothing to raise, and their text form for Prometheus.

Counting is adding to a plain attribute: whatever takes effort happens when somebody asks for the text. There
is no registry and no label machinery, since all of the server's numbers are known here.
"""

from __future__ import annotations

from bisect import bisect_left
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from typing import Final

LATENCY_BOUNDS_S: Final = (
    0.0005,
    0.001,
    0.0025,
    0.005,
    0.01,
    0.025,
    0.05,
    0.1,
    0.25,
    0.5,
    1.0,
    2.5,
    5.0,
    10.0,
)
BATCH_BOUNDS: Final = (1, 2, 4, 8, 16, 32, 64, 128, 256, 512, 1024)


class Histogram:
    """How often values fell between bounds.

    Args:
        bounds: upper bounds, included, in ascending order; what is greater than all of them counts too.
    """

    __slots__ = ("bounds", "counts", "total")

    def __init__(self, bounds: Sequence[float]) -> None:
        self.bounds = bounds
        self.counts = [0] * (len(bounds) + 1)
        self.total = 0.0

    def observe(self, value: float) -> None:
        """Count a value."""
        self.counts[bisect_left(self.bounds, value)] += 1
        self.total += value

    @property
    def count(self) -> int:
        """How many values were counted."""
        return sum(self.counts)


class CommitCounts:
    """What a store that commits in batches counts, on whatever thread commits.

    Attributes:
        batch_sizes: operations that shared a commit, and with it a sync to disk.
        seconds: how long commits took.
    """

    __slots__ = ("batch_sizes", "seconds")

    def __init__(self) -> None:
        self.batch_sizes = Histogram(BATCH_BOUNDS)
        self.seconds = Histogram(LATENCY_BOUNDS_S)

    def committed(self, operations: int, seconds: float) -> None:
        """A batch was committed."""
        self.batch_sizes.observe(operations)
        self.seconds.observe(seconds)


class ReducerCounts:
    """What the reducers that streams are bound to have to do.

    Attributes:
        accepted: messages that were judged and appended.
        refused: appends that were not, by verdict.
        timeouts: requests that had to go without a verdict or a state.
        rebuilt: states that were folded anew, from what was kept or from the start.
        folded_bytes: of the streams, for that.
        judge_seconds: time of judging what came together, waiting for a thread included.
    """

    __slots__ = ("accepted", "folded_bytes", "judge_seconds", "rebuilt", "refused", "timeouts")

    def __init__(self) -> None:
        self.accepted = 0
        self.refused: Counter[str] = Counter()
        self.timeouts = 0
        self.rebuilt = 0
        self.folded_bytes = 0
        self.judge_seconds = Histogram(LATENCY_BOUNDS_S)


class ServerCounts:
    """What the requests to a server add up to.

    Attributes:
        messages: appended, duplicates of producers left out.
        received_bytes: data of appends and creations, as it came.
        sent_bytes: pages and events, as bodies.
        polling: long-polls under way.
        append_seconds: from the request to the answer, of appends that succeeded.
        read_seconds: the same of reads that do not wait.
        requests: those that succeeded, by operation.
        errors: those that did not, by status and condition.
    """

    __slots__ = (
        "append_seconds",
        "errors",
        "messages",
        "polling",
        "read_seconds",
        "received_bytes",
        "requests",
        "sent_bytes",
    )

    def __init__(self) -> None:
        self.messages = 0
        self.received_bytes = 0
        self.sent_bytes = 0
        self.polling = 0
        self.append_seconds = Histogram(LATENCY_BOUNDS_S)
        self.read_seconds = Histogram(LATENCY_BOUNDS_S)
        self.requests: Counter[str] = Counter()
        self.errors: Counter[tuple[int, str]] = Counter()

    def appended(self, messages: int, size: int, seconds: float) -> None:
        """An append has succeeded."""
        self.messages += messages
        self.received_bytes += size
        took = self.append_seconds  # `observe`, written out: this is done for every append
        took.counts[bisect_left(took.bounds, seconds)] += 1
        took.total += seconds

    def answered(self, operation: str, status: int) -> None:
        """An operation is over that answers errors by itself."""
        if status < 400:
            self.requests[operation] += 1
        else:
            self.refused(status, f"{operation}_error")

    def refused(self, status: int, code: str) -> None:
        """A request was answered with an error."""
        self.errors[status, code] += 1


class Exposition:
    """The text that Prometheus reads (text format 0.0.4), put together line by line."""

    CONTENT_TYPE: Final = "text/plain; version=0.0.4; charset=utf-8"

    def __init__(self) -> None:
        self._lines: list[str] = []

    def counter(self, name: str, help_: str, value: int) -> None:
        """A number that only grows; its name ends with `_total`."""
        self._head(name, "counter", help_)
        self._lines.append(f"{name} {value}")

    def gauge(self, name: str, help_: str, value: float) -> None:
        """A number that goes up and down."""
        self._head(name, "gauge", help_)
        self._lines.append(f"{name} {value!r}")

    def labelled(
        self, name: str, kind: str, help_: str, values: Iterable[tuple[Mapping[str, object], float]]
    ) -> None:
        """The same metric for several labels."""
        self._head(name, kind, help_)
        for labels, value in values:
            text = ",".join(f'{label}="{_escaped(str(of))}"' for label, of in labels.items())
            self._lines.append(f"{name}{{{text}}} {value}")

    def histogram(self, name: str, help_: str, values: Histogram) -> None:
        """A histogram: cumulative, as Prometheus wants it."""
        self._head(name, "histogram", help_)
        counts, total = list(values.counts), values.total
        below = 0
        for bound, count in zip((*values.bounds, "+Inf"), counts, strict=True):
            below += count
            self._lines.append(f'{name}_bucket{{le="{bound}"}} {below}')
        self._lines.append(f"{name}_sum {total!r}")
        self._lines.append(f"{name}_count {below}")

    def text(self) -> str:
        """All of it."""
        return "\n".join(self._lines) + "\n"

    def _head(self, name: str, kind: str, help_: str) -> None:
        self._lines += (f"# HELP {name} {help_}", f"# TYPE {name} {kind}")


def _escaped(text: str) -> str:
    return text.replace("\\", r"\\").replace('"', r"\"").replace("\n", r"\n")
