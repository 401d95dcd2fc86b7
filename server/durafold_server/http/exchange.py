"""One HTTP request and its response, whatever carries them, and the parts that all carriers share."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Iterable
from typing import Final, Protocol, TypeAlias
from urllib.parse import unquote_plus

from durafold_server.access import Identity
from durafold_server.protocol.errors import BodyTooLarge, InvalidRequest
from durafold_server.protocol.responses import Reply

Header: TypeAlias = tuple[bytes, bytes]
Headers: TypeAlias = tuple[Header, ...]

# A sender who is told "too large" in mid-body must be able to read the answer, so a moderate excess is
# read and thrown away; a larger one is cut off.
MAX_DRAINED_BYTES: Final = 64 * 1024 * 1024

# Sent twice, these would be ambiguous; most others may be repeated.
_SINGLE: Final = (b"stream-", b"producer-", b"content-type")


class ClientLeft(Exception):
    """The client closed the connection before its request was complete."""


class Exchange(Protocol):
    """A request as it arrives, and the means to answer it."""

    method: str
    raw_path: str
    """The path as the client wrote it, percent-encoding included, without the query."""
    mount: str
    """The part of the path that an outer application has taken, without a slash at its end."""
    headers: dict[str, str]
    """By lower-case name, once `read_headers` was called."""
    identity: Identity | None
    """Who sent it, once that is known."""
    state_of: str | None
    """The stream whose folded state it asks for, once that is known."""

    @property
    def scheme(self) -> str:
        """`http` or `https`."""
        ...

    @property
    def server(self) -> str:
        """Host and port that the connection came to."""
        ...

    def read_headers(self) -> dict[str, str]:
        """Headers by lower-case name.

        Raises:
            InvalidRequest: one of the protocol's headers is given twice.
        """
        ...

    def header(self, name: bytes) -> str | None:
        """The first value of a header, by its lower-case name, before `read_headers` has checked them."""
        ...

    def query(self) -> dict[str, list[str]]:
        """All values of each query parameter, in order."""
        ...

    async def body(self, limit: int) -> bytes:
        """The whole request body.

        Raises:
            BodyTooLarge: more than `limit` bytes.
            ClientLeft: it did not arrive whole.
        """
        ...

    def gone(self) -> asyncio.Future[None]:
        """Done when the client has left. Ask for it once the body was read; `finish` lets go of it."""
        ...

    def finish(self) -> None:
        """Let go of what watches the client."""
        ...

    async def reply(self, reply: Reply) -> None:
        """Send a whole response."""
        ...

    async def begin_stream(
        self, headers: Iterable[Header], *, has_room: Callable[[], None], has_left: Callable[[], None]
    ) -> None:
        """Begin a response of unknown length.

        Args:
            headers: of the response.
            has_room: called when the client, having been congested, can take more.
            has_left: called when the client has left, or was cut.
        """
        ...

    @property
    def is_congested(self) -> bool:
        """Whether what was written still waits for the client to read it."""
        ...

    def write(self, data: bytes) -> None:
        """Queue a part of a response; look at `is_congested` first, since nothing else bounds the queue."""
        ...

    def end_stream(self) -> None:
        """The response is complete. Idempotent."""
        ...

    async def streamed(self) -> None:
        """See the response off: returns when nothing more needs this task, which may be at once."""
        ...


class BodyBuffer:
    """Gathers a body up to a limit, and no more than that in memory."""

    __slots__ = ("_chunks", "_limit", "_size")

    def __init__(self, limit: int) -> None:
        self._chunks: list[bytes] = []
        self._limit = limit
        self._size = 0

    def add(self, chunk: bytes) -> None:
        """Take the next part; what exceeds the limit is thrown away.

        Raises:
            BodyTooLarge: so much more than the limit that reading on is no use.
        """
        self._size += len(chunk)
        if self._size <= self._limit:
            self._chunks.append(chunk)
        elif self._size > MAX_DRAINED_BYTES:
            raise BodyTooLarge(self._limit)

    def whole(self) -> bytes:
        """All of it.

        Raises:
            BodyTooLarge: it is more than the limit.
        """
        if self._size > self._limit:
            raise BodyTooLarge(self._limit)
        return self._chunks[0] if len(self._chunks) == 1 else b"".join(self._chunks)


def collect(raw: Iterable[Header]) -> dict[str, str]:
    """Headers by name; `raw` has lower-case names.

    Raises:
        InvalidRequest: one of the protocol's headers is given twice.
    """
    headers: dict[str, str] = {}
    for raw_name, raw_value in raw:
        name = raw_name.decode("latin-1")
        if name not in headers:
            headers[name] = raw_value.decode("latin-1")
        elif raw_name.startswith(_SINGLE):
            raise InvalidRequest(f"The header {name} is given more than once.")
        else:
            headers[name] += ", " + raw_value.decode("latin-1")
    return headers


async def enter_task() -> None:
    """Return inside a task. A request is begun without one, but time-outs and foreign code want one."""
    if asyncio.current_task() is None:
        await asyncio.sleep(0)  # whoever began the request makes a task of the rest


def first(raw: Iterable[Header], name: bytes) -> str | None:
    """The first value of a header; `raw` has lower-case names."""
    return next((value.decode("latin-1") for header, value in raw if header == name), None)


def parse_query(raw: bytes) -> dict[str, list[str]]:
    """All values of each parameter, in order."""
    values: dict[str, list[str]] = {}
    for pair in raw.decode("latin-1").split("&"):
        name, _, value = pair.partition("=")
        if name:
            values.setdefault(unquote_plus(name), []).append(unquote_plus(value))
    return values
