"""`StreamDB`: the collections of one stream, kept up to date."""

from __future__ import annotations

import logging
from collections import deque
from collections.abc import Callable
from types import TracebackType
from typing import Any, Final, Self, TypeVar

import anyio
import anyio.abc
from pydantic import BaseModel

from durafold.client import (
    START,
    AppendResult,
    Checkpoint,
    DurableStream,
    Follower,
    LiveMode,
    Page,
    ReadStatus,
)
from durafold.errors import ConfigurationError, DurafoldError, TransportTimeout
from durafold.state_protocol.collections import Collection, Table
from durafold.state_protocol.messages import Change, Control, InvalidChange, parse_message
from durafold.wire.offsets import Offset

__all__ = ["StreamDB"]

M = TypeVar("M", bound=BaseModel)

_logger: Final = logging.getLogger("durafold.state_protocol")

_MAX_TXIDS: Final = 10_000
_MAX_FAULTS: Final = 100


class StreamDB:
    """Reads a stream of the State Protocol and keeps its rows as tables; writes changes to it.

        async with StreamDB(stream, users, messages) as db:
            await db.preload()
            for user in db[users].rows():
                ...
            txid = "my-transaction"
            await db.write(users.insert(User(id="1", name="Ann"), txid=txid))
            await db.await_txid(txid)  # the row is in db[users] from here on

    Changes show when the stream is read to its tail, all at once: what is visible is a state that was the
    stream's. Types that no collection has are left out. A message that is no valid change does not stop the
    rest: it is kept in `faults`, and a row that does not match its model in the table's `faults`.

    Args:
        stream: the stream; it must exist by the time the context is entered, or `preload` raises.
        collections: what to read.
        live: how to wait for new data; see `LiveMode`.

    Raises:
        ConfigurationError: two collections have the same type.
    """

    def __init__(self, stream: DurableStream, *collections: Collection[Any], live: LiveMode = "auto") -> None:
        self.stream = stream
        self.faults: deque[InvalidChange] = deque(maxlen=_MAX_FAULTS)
        self._follower: Follower = stream.follow(START, live=live)
        self._tables: dict[str, tuple[Collection[Any], Table[Any]]] = {}
        for collection in collections:
            if collection.type in self._tables:
                raise ConfigurationError(f"Two collections have the type {collection.type!r}")
            self._tables[collection.type] = (collection, Table(collection))
        self._is_up_to_date = False
        self._failure: DurafoldError | None = None
        self._changed = anyio.Event()
        self._staged_txids: list[str] = []
        self._txids: dict[str, None] = {}  # in the order they came; the oldest are forgotten
        self._tasks: anyio.abc.TaskGroup | None = None

    def __getitem__(self, collection: Collection[M]) -> Table[M]:
        """The table of a collection.

        Raises:
            ConfigurationError: this database was not given the collection.
        """
        declared, table = self._tables.get(collection.type, (None, None))
        if declared is not collection or table is None:
            raise ConfigurationError(f"{collection!r} is none of this database's collections")
        return table

    @property
    def offset(self) -> Offset:
        """Everything before it was read."""
        return self._follower.offset

    @property
    def checkpoint(self) -> Checkpoint:
        """The place behind what was read."""
        return self._follower.checkpoint

    @property
    def up_to_date(self) -> bool:
        """Whether the tables show the stream as of its tail."""
        return self._is_up_to_date

    @property
    def status(self) -> ReadStatus:
        """What the reader is doing."""
        return self._follower.status

    @property
    def error(self) -> DurafoldError | None:
        """Why it is reconnecting, or what it failed with; None while all is well."""
        return self._failure or self._follower.error

    async def preload(self) -> None:
        """Wait until the tables show the stream as of its tail.

        Raises:
            DurafoldError: it cannot be read; as `DurableStream.follow` lists.
        """
        await self._until(lambda: self._is_up_to_date)

    async def await_txid(self, txid: str, timeout_s: float = 5.0) -> None:
        """Wait until the changes of a transaction show. The last 10,000 transactions are remembered.

        Args:
            txid: as it was given to the changes.
            timeout_s: seconds to wait at most.

        Raises:
            TransportTimeout: it did not come in time. It may come later.
            DurafoldError: the stream cannot be read.
        """
        with anyio.move_on_after(timeout_s) as scope:
            await self._until(lambda: txid in self._txids)
        if scope.cancelled_caught:
            raise TransportTimeout(
                f"Transaction {txid!r} did not come within {timeout_s:g} s", stream=self.stream.url
            )

    async def write(self, *changes: Change | Control) -> AppendResult:
        """Append changes, as one batch.

        Args:
            changes: at least one; see `Collection.insert` and the others.

        Raises:
            DurafoldError: as for `DurableStream.append_many`.
        """
        return await self.stream.append_many([change.to_message() for change in changes])

    async def __aenter__(self) -> Self:
        if self._tasks is not None:
            raise ConfigurationError("A StreamDB can be entered only once", hint="Make a new one")
        self._tasks = anyio.create_task_group()
        await self._tasks.__aenter__()
        self._tasks.start_soon(self._read)
        return self

    async def __aexit__(
        self, exc_type: type[BaseException] | None, exc: BaseException | None, tb: TracebackType | None
    ) -> bool | None:
        assert self._tasks is not None
        self._tasks.cancel_scope.cancel()
        if isinstance(exc, anyio.get_cancelled_exc_class()):
            return await self._tasks.__aexit__(exc_type, exc, tb)
        # The task group is told of cancellation only: it would wrap any other exception in a group.
        await self._tasks.__aexit__(None, None, None)
        return False

    # ---- reading ----

    async def _until(self, condition: Callable[[], bool]) -> None:
        while not condition():
            if self._failure is not None:
                raise self._failure.with_traceback(None)
            await self._changed.wait()

    async def _read(self) -> None:
        try:
            async with self._follower as pages:
                async for page in pages:
                    self._take(page)
        except DurafoldError as exc:
            self._failure = exc
        self._wake()

    def _take(self, page: Page) -> None:
        for message in page.json():
            self._stage(parse_message(message))
        if page.up_to_date:
            self._commit()

    def _stage(self, message: Change | Control | InvalidChange | None) -> None:
        match message:
            case Change():
                if message.headers.txid is not None:
                    self._staged_txids.append(message.headers.txid)
                _, table = self._tables.get(message.type, (None, None))
                if table is not None:
                    table.stage(message)
            case Control() if message.headers.control == "reset":
                self._is_up_to_date = False
                for _, table in self._tables.values():
                    table.truncate()
            case InvalidChange():
                self.faults.append(message)
            case _:
                pass

    def _commit(self) -> None:
        calls = [call for _, table in self._tables.values() for call in table.commit()]
        self._txids.update(dict.fromkeys(self._staged_txids))
        self._staged_txids.clear()
        while len(self._txids) > _MAX_TXIDS:
            del self._txids[next(iter(self._txids))]
        self._is_up_to_date = True
        self._wake()
        for call in calls:
            _tell(call)

    def _wake(self) -> None:
        changed, self._changed = self._changed, anyio.Event()
        changed.set()


def _tell(call: Callable[[], None]) -> None:
    try:
        call()
    except Exception:
        _logger.exception("A subscriber of a table raised")
