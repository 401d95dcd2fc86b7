"""Clocks for checks of lifetimes: what can be told in spite of a slow machine and of clocks that differ."""

from __future__ import annotations

import time
from datetime import UTC, datetime, timedelta
from email.utils import parsedate_to_datetime

import anyio

from durafold_server.conformance.exchange import TooSlow
from durafold_server.conformance.target import Server, Stream


class Stopwatch:
    """Seconds since it was made."""

    def __init__(self) -> None:
        self._began = time.monotonic()

    @property
    def seconds(self) -> float:
        """How long ago it was made."""
        return time.monotonic() - self._began

    async def reach(self, seconds: float) -> None:
        """Sleep until so many seconds have passed."""
        await anyio.sleep(max(0.0, seconds - self.seconds))


async def expect_alive(stream: Stream, since_use: Stopwatch, ttl_s: float) -> None:
    """Expect that a stream lives, which was used no earlier than the stopwatch was made.

    HEAD asks, because it does not renew a TTL.

    Raises:
        Failure: it does not live.
        TooSlow: its time may have come before the answer did.
    """
    reply = await stream.head()
    if reply.status != 200 and since_use.seconds >= ttl_s:
        raise TooSlow
    reply.expect(200)


async def server_time(server: Server) -> datetime:
    """The server's clock to the second, rounded down; ours if it does not tell."""
    date = (await server.send("HEAD", server.root + "/")).get("Date")
    if date is None:
        return datetime.now(UTC).replace(microsecond=0)
    return parsedate_to_datetime(date).astimezone(UTC)


async def expiring_soon(server: Server) -> dict[str, str]:
    """A Stream-Expires-At header for two to three seconds from now."""
    moment = await server_time(server) + timedelta(seconds=3)
    return {"Stream-Expires-At": moment.strftime("%Y-%m-%dT%H:%M:%SZ")}
