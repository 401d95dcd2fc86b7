"""Looking first and deciding later: what was seen before a transaction may be another by the time it runs."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Sequence

from durafold_server.protocol.model import Decide, Decision, Loaded, R, StreamState


class Outdated(Exception):
    """A stream that was looked at before a transaction is not the one the transaction finds."""


def if_still(seen: Sequence[StreamState | None], decision: Decide[R]) -> Decide[R]:
    """The decision, if its first keys still name the streams that were seen before it.

    Raises:
        Outdated: they do not; look again.
    """

    def decide_if_still(found: Sequence[Loaded], now_us: int) -> Decision[R]:
        for loaded, before in zip(found, seen, strict=False):
            if _id(loaded.stream) != _id(before):
                raise Outdated
        return decision(found, now_us)

    return decide_if_still


async def until_current(attempt: Callable[[], Awaitable[R]]) -> R:
    """Look and decide, again if others were quicker in between."""
    while True:
        try:
            return await attempt()
        except Outdated:
            continue


def _id(stream: StreamState | None) -> int | None:
    return stream.id if stream is not None else None
