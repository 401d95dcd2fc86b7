"""An exchange seen from outside: it adds headers to what is answered, and says what was when it is over."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable, Iterable

from durafold_server.access import Identity
from durafold_server.http.exchange import Exchange, Header, Headers
from durafold_server.protocol.responses import Reply


class ObservedExchange:
    """Passes everything on to another exchange.

    Args:
        inner: the exchange.
        extra_headers: for its response.
        ended: called once, when the response is complete or the client has left.

    Attributes:
        status: of the response; None before there is one.
        sent_bytes: of its body so far.
        began_s: the monotonic clock's time when the request was whole.
    """

    def __init__(
        self, inner: Exchange, extra_headers: Headers, ended: Callable[[ObservedExchange], None] | None
    ) -> None:
        self.method = inner.method
        self.raw_path = inner.raw_path
        self.mount = inner.mount
        self.headers: dict[str, str] = inner.headers
        self.identity: Identity | None = None
        self.state_of: str | None = None
        self.status: int | None = None
        self.sent_bytes = 0
        self.began_s = time.monotonic()
        self._inner = inner
        self._extra_headers = extra_headers
        self._ended = ended
        self._is_streaming = False

    @property
    def scheme(self) -> str:
        """See `Exchange`."""
        return self._inner.scheme

    @property
    def server(self) -> str:
        """See `Exchange`."""
        return self._inner.server

    def read_headers(self) -> dict[str, str]:
        """See `Exchange`."""
        self.headers = self._inner.read_headers()
        return self.headers

    def header(self, name: bytes) -> str | None:
        """See `Exchange`."""
        return self._inner.header(name)

    def query(self) -> dict[str, list[str]]:
        """See `Exchange`."""
        return self._inner.query()

    async def body(self, limit: int) -> bytes:
        """See `Exchange`."""
        return await self._inner.body(limit)

    def gone(self) -> asyncio.Future[None]:
        """See `Exchange`."""
        return self._inner.gone()

    def finish(self) -> None:
        """See `Exchange`."""
        self._inner.finish()
        if not self._is_streaming:
            self._end()

    async def reply(self, reply: Reply) -> None:
        """See `Exchange`."""
        self.status = reply.status
        self.sent_bytes = 0 if self.method == "HEAD" else len(reply.body)
        await self._inner.reply(Reply(reply.status, [*reply.headers, *self._extra_headers], reply.body))

    async def begin_stream(
        self, headers: Iterable[Header], *, has_room: Callable[[], None], has_left: Callable[[], None]
    ) -> None:
        """See `Exchange`."""

        def left() -> None:
            has_left()
            self._end()

        self.status = 200
        self._is_streaming = True
        await self._inner.begin_stream([*headers, *self._extra_headers], has_room=has_room, has_left=left)

    @property
    def is_congested(self) -> bool:
        """See `Exchange`."""
        return self._inner.is_congested

    def write(self, data: bytes) -> None:
        """See `Exchange`."""
        self.sent_bytes += len(data)
        self._inner.write(data)

    def end_stream(self) -> None:
        """See `Exchange`."""
        self._inner.end_stream()
        self._end()

    async def streamed(self) -> None:
        """See `Exchange`."""
        await self._inner.streamed()

    def _end(self) -> None:
        ended, self._ended = self._ended, None
        if ended is not None:
            ended(self)
