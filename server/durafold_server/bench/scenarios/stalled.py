"""An SSE reader that stops reading while much is appended: what the server keeps for it in memory."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import ExitStack
from typing import Final

from durafold_server.bench.live import Readers, deliver, numbered_append, token_of
from durafold_server.bench.measure import resident_bytes
from durafold_server.bench.messages import message
from durafold_server.bench.scenarios.base import Metric, Sample, Scenario, Space, unprepared

_APPEND_BYTES: Final = 1_000_000
_RECEIVE_BUFFER_BYTES: Final = 16 * 1024

_EXTRA: Final = Metric("extra_mb", "server memory for the stalled reader", "MB", summary="max")
_GROWTH: Final = Metric("growth_mb", "growth of the server in all", "MB", summary="max")


def _stalled(space: Space) -> Sample:
    # A store in memory grows by what is appended: only what comes on top of that is the reader's.
    meter = space.meter()
    with meter:
        alone_bytes = _growth_bytes(space, readers=0)
        watched_bytes = _growth_bytes(space, readers=1)
    values = {_EXTRA.key: (watched_bytes - alone_bytes) / 1e6, _GROWTH.key: watched_bytes / 1e6}
    return Sample(values, meter.cost)


def _growth_bytes(space: Space, readers: int) -> int:
    """By how much the server's memory grows, at its highest, while much is appended."""
    # What earlier work has let go of would hide what is taken now.
    space.restart_if_ours()
    [path] = space.create()
    with ExitStack() as stack:
        client = stack.enter_context(space.client())
        if readers:
            crowd = Readers(space.target, path, readers, receive_buffer_bytes=_RECEIVE_BUFFER_BYTES)
            stack.enter_context(crowd)
            # The reader is live and up to date, and reads no more from here on.
            deliver(client, numbered_append(space.target, path, 0), token_of(0), crowd)
        before_bytes = resident_bytes(space.target.pid) or 0
        body = message(size=_APPEND_BYTES)
        appends = space.settings.stalled_bytes // _APPEND_BYTES

        def sizes() -> Iterator[int]:
            for _ in range(appends):
                client.append(path, body)
                yield resident_bytes(space.target.pid) or 0

        return max(sizes()) - before_bytes


SCENARIOS: Final = (
    Scenario(
        "stalled-reader",
        f"an SSE reader stops reading while much is appended, {_APPEND_BYTES / 1e6:.0f} MB a message",
        (_EXTRA, _GROWTH),
        unprepared(_stalled),
        needs_process=True,
    ),
)
