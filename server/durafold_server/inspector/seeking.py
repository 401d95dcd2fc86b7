"""Where the last messages of a stream begin, found from its end.

The protocol reads forwards only. Here windows of bytes before the tail are looked at, each four times the
last, until one holds enough messages. Stored JSON is messages and commas, so a window is cut at the first
comma from which the rest parses; that it is no comma inside a string is then checked by the store itself.
"""

from __future__ import annotations

from typing import Final

import msgspec

from durafold_server.protocol.errors import InvalidOffset
from durafold_server.protocol.json_mode import page_body
from durafold_server.protocol.model import Mode, StreamState
from durafold_server.protocol.requests import ReadRequest
from durafold_server.service import StreamService

_FIRST_WINDOW_BYTES: Final = 64 * 1024
_LARGEST_WINDOW_BYTES: Final = 16 * 1024 * 1024
_MAX_CUTS: Final = 1000

_array: Final = msgspec.json.Decoder(list[msgspec.Raw])


async def offset_of_last(service: StreamService, path: str, count: int) -> str:
    """The offset from which a stream holds its last `count` messages (bytes, if it is not JSON).

    A fork is searched down to where it branched off. Where fewer messages are found, or their window would
    exceed 16 MiB, as many as there are.

    Raises:
        ProtocolError, StoreFailure: as `StreamService.head` and `StreamService.read`.
    """
    stream = await service.head(path)
    first = stream.fork.at if stream.fork else stream.start
    if stream.mode is not Mode.JSON:
        return stream.offset(max(first, stream.tail - count))
    window = _FIRST_WINDOW_BYTES
    while True:
        begin = max(first, stream.tail - window)
        position, found = await _last_in_window(service, stream, begin, first, count)
        if found >= count or begin == first or window >= _LARGEST_WINDOW_BYTES:
            return stream.offset(position)
        window *= 4


async def _last_in_window(
    service: StreamService, stream: StreamState, begin: int, first: int, count: int
) -> tuple[int, int]:
    """(position, messages from there to the tail) of the last `count` messages that lie behind `begin`."""
    data = await _stored(service, stream, begin)
    start = 0 if begin == first else None
    for cut in range(_MAX_CUTS):
        if start is None or cut:
            start = data.find(b",", start or 0) + 1
            if not start:
                break
        sizes = _sizes(data[start:])
        if sizes is None:
            continue
        last = sizes[-count:]
        position = stream.tail - sum(last)
        if await _is_boundary(service, stream, position):
            return position, len(last)
    return stream.tail, 0


async def _stored(service: StreamService, stream: StreamState, begin: int) -> bytes:
    parts = []
    while begin < stream.tail:
        page = await service.store.read(
            stream.id, begin, until=stream.tail, max_bytes=stream.tail - begin, framed=False
        )
        if not page.data:
            break
        parts.append(page.data)
        begin = page.end
    return b"".join(parts)


def _sizes(data: bytes) -> list[int] | None:
    """Stored bytes of each message, if these are whole messages."""
    try:
        return [len(memoryview(raw)) + 1 for raw in _array.decode(page_body(data))]
    except (msgspec.DecodeError, RecursionError):
        return None


async def _is_boundary(service: StreamService, stream: StreamState, position: int) -> bool:
    try:
        await service.read(
            ReadRequest(stream.path, stream.offset(position), live=None, cursor=None, if_none_match=None)
        )
    except InvalidOffset:
        return False
    return True
