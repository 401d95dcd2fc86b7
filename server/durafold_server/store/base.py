"""What a store must do, and nothing about how.

A store knows no protocol rule: it loads what a decision asks to see, runs the decision, and makes its writes
durable, all or none. The service above it turns requests into decisions and wakes readers.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Protocol

from durafold_server.metrics import CommitCounts
from durafold_server.protocol.model import Decide, Extent, R, ReadKey, StreamState


@dataclass(frozen=True, slots=True)
class StoreCapabilities:
    """What a store promises.

    Attributes:
        durable: what was acknowledged survives a crash of the process and of the machine.
        multi_node: several server processes may share it.
    """

    durable: bool
    multi_node: bool


@dataclass(frozen=True, slots=True)
class Page:
    """A stretch of one stream's own bytes.

    Attributes:
        start: position of the first byte.
        data: the bytes; they end where an append ended, unless `until` cut them.
    """

    start: int
    data: bytes

    @property
    def end(self) -> int:
        """Position after the last byte."""
        return self.start + len(self.data)


class StoreFailure(Exception):
    """The store could not do it. Whether a transaction took effect is unknown."""


class StoreFull(StoreFailure):
    """There is no room. The transaction did not take effect; reads go on."""


class StoreHalted(StoreFailure):
    """The disk failed an earlier write, so none is begun. Nothing was written; reads go on."""


class StoreDamaged(StoreFailure):
    """Stored bytes do not match their checksum. The message names the file and what to do."""


class NotABoundary(Exception):
    """The position lies inside a message, so it was never handed out as an offset."""


class StreamStore(Protocol):
    """Streams, their data and their producers.

    All methods may be called concurrently from one event loop. Streams are found by path; their data by id.
    """

    @property
    def capabilities(self) -> StoreCapabilities:
        """What this store promises."""
        ...

    @property
    def location(self) -> str:
        """Where the data is, for people."""
        ...

    @property
    def commits(self) -> CommitCounts | None:
        """What a store counts that commits in batches; None if it does not."""
        ...

    @property
    def trouble(self) -> str | None:
        """Why writes are refused at present, for people; None if they are not."""
        ...

    async def transact(self, keys: Sequence[ReadKey], decide: Decide[R]) -> R:
        """Load, decide, write: one atomic step, in one order with all others that touch these streams.

        When it returns, the writes are durable (if the store is) and visible to `load` and `read`.

        Args:
            keys: what to load; `decide` gets them in this order.
            decide: pure and quick; may be called again; its `now` grows strictly, so it can serve as an id.

        Raises:
            ProtocolError: whatever `decide` raises; nothing was written, and others in the batch go on.
            StoreFull, StoreHalted: nothing was written.
            StoreFailure: whether it was written is unknown.
        """
        ...

    def observe(self, observer: Callable[[StreamState], None]) -> None:
        """Have every committed change of a stream told: its tail, its closure, its end.

        Called on the event loop with the stream as it is then (`deleted` if it is gone), once for a batch
        of changes, before `transact` returns. Must be quick and must not raise.
        """
        ...

    async def load(self, path: str) -> StreamState | None:
        """The stream at a path as last committed, expired and soft-deleted ones included.

        Raises:
            StoreFailure: it cannot be read.
        """
        ...

    async def read(self, stream_id: int, after: int, *, until: int, max_bytes: int, framed: bool) -> Page:
        """Bytes of one stream from position `after`, at most up to `until`.

        Ends where an append ended, before `max_bytes` are exceeded, but holds at least one append. Empty
        when `after` is `until`, or what follows it was freed or purged.

        Args:
            stream_id: whose own bytes.
            after: position of the first byte wanted.
            until: no byte from here on; may cut an append.
            max_bytes: how much is wanted; a single larger append is still returned whole.
            framed: the bytes are JSON messages, so `after` must be where one of them ended.

        Raises:
            NotABoundary: `framed`, and `after` is inside a message.
            StoreDamaged: the bytes fail their checksum.
            StoreFailure: they cannot be read.
        """
        ...

    async def extents(self, stream_id: int, after: int, *, until: int, limit: int) -> Sequence[Extent]:
        """Which of a stream's own bytes between two positions were kept as one piece, and since when.

        In order, without gaps, beginning with the one that holds the byte at `after`; none if that was freed.

        Args:
            stream_id: whose own bytes.
            after: a position.
            until: no bytes from here on; may cut an extent, and an extent may begin before `after`.
            limit: how many at most; fewer mean that there are no more.

        Raises:
            StoreFailure: they cannot be read.
        """
        ...

    async def free(self, stream_id: int, *, after: int, before: int, limit: int) -> bool:
        """Free data between two positions, up to `limit` pieces; True when no whole piece is left there.

        Call it only once no reader needs them: `before` is where the stream begins, and its living forks
        need nothing from `after` on. A piece that reaches beyond either position is kept whole.

        Raises:
            StoreFailure: some may be freed.
        """
        ...

    async def list_streams(self, prefix: str, after: str | None, limit: int) -> Sequence[StreamState]:
        """Streams whose path begins with `prefix`, in order of path, from beyond `after`."""
        ...

    async def count_streams(self) -> int:
        """How many streams there are, deleted ones that forks still need included.

        Raises:
            StoreFailure: they cannot be counted.
        """
        ...

    async def touch(self, used: Mapping[str, int]) -> None:
        """Note reads (path → time in µs) for the sliding TTL; visible to `load` at once, durable soon."""
        ...

    async def expired(self, now_us: int, limit: int) -> Sequence[StreamState]:
        """Some streams whose TTL or expiry has passed."""
        ...

    async def purge(self, stream_id: int, *, limit: int) -> bool:
        """Free up to `limit` chunks of a removed stream's data; True when nothing is left."""
        ...

    async def put_record(self, key: str, value: bytes | None) -> None:
        """Keep a small value of the server's own (a subscription, a key) under a name; None removes it.

        Durable on return, if the store is.

        Raises:
            StoreFull, StoreFailure: as `transact`.
        """
        ...

    async def records(self, prefix: str) -> Mapping[str, bytes]:
        """All values whose name begins with `prefix`.

        Raises:
            StoreFailure: they cannot be read.
        """
        ...

    async def aclose(self) -> None:
        """Finish what was begun and let go of files. Idempotent."""
        ...
