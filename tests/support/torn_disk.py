"""A disk that remembers every write and sync, and shows what a power cut at any moment could have left.

`TornDisk` is a layer below SQLite (a VFS): the files are real, every operation on them is noted. `left_by`
then builds the files as they may be after a power cut behind any of these operations: what was synced is
there; of what was not, any part may be, sector by sector and in any order; and what a *failed* sync was to
write may be missing for good, though reads show it and later syncs succeed, as on Linux.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from random import Random
from typing import Any, Final, NamedTuple

import apsw

__all__ = [
    "Choose",
    "Operation",
    "TornDisk",
    "everything",
    "left_by",
    "nothing",
    "some_sectors",
    "some_writes",
]

_SECTOR_BYTES: Final = 512


class Operation(NamedTuple):
    """One operation on a file: write (at, data), truncate (at), sync, failed sync, or delete."""

    kind: str
    name: str
    at: int = 0
    data: bytes = b""


Choose = Callable[[Sequence[Operation]], Sequence[Operation]]
"""Which of the operations that were not synced reached the disk."""


def nothing(_unsynced: Sequence[Operation]) -> Sequence[Operation]:
    """The disk had begun none of them."""
    return ()


def everything(unsynced: Sequence[Operation]) -> Sequence[Operation]:
    """The disk had just finished."""
    return unsynced


def some_writes(chance: Random) -> Choose:
    """Whole writes, each with a chance of one half."""
    return lambda unsynced: [operation for operation in unsynced if chance.random() < 0.5]


def some_sectors(chance: Random) -> Choose:
    """Sectors, with a chance that differs from cut to cut."""

    def choose(unsynced: Sequence[Operation]) -> Sequence[Operation]:
        share = chance.choice([0.1, 0.5, 0.9, 0.98])
        return [part for operation in unsynced for part in _sectors(operation) if chance.random() < share]

    return choose


@dataclass
class TornDisk:
    """The layer, made the default of all connections while it is `mounted`.

    Attributes:
        operations: what was done so far, in order.
        failing_syncs: numbers of the syncs that fail, counted from 1.
        room: bytes that files may still grow by, or None if there is no end to it.
    """

    operations: list[Operation] = field(default_factory=list)
    failing_syncs: frozenset[int] = frozenset()
    syncs: int = 0
    room: int | None = None
    is_recording: bool = True

    def note(self, operation: Operation) -> None:
        if self.is_recording:
            self.operations.append(operation)

    def settle(self, log: Path) -> None:
        """Note that a log was written anew where it is, and synced."""
        if log.exists():
            self.note(Operation("write", log.name, 0, log.read_bytes()))
            self.note(Operation("sync", log.name))

    def mounted(self) -> Iterator[TornDisk]:
        """For a fixture."""
        layer = _Layer(self)
        try:
            yield self
        finally:
            layer.unregister()


class _Layer(apsw.VFS):
    def __init__(self, disk: TornDisk) -> None:
        self._disk = disk
        super().__init__("torn", "unix", makedefault=True)

    def xOpen(self, name: Any, flags: list[int]) -> Any:  # noqa: N802
        return _File(self._disk, name, flags)

    def xDelete(self, filename: str, syncdir: bool) -> None:  # noqa: N802
        super().xDelete(filename, syncdir)
        self._disk.note(Operation("delete", Path(filename).name))


class _File(apsw.VFSFile):
    def __init__(self, disk: TornDisk, name: Any, flags: list[int]) -> None:
        super().__init__("unix", name, flags)
        self._disk = disk
        self._name = Path(name if isinstance(name, str) else name.filename()).name if name else ""

    def xWrite(self, data: bytes, offset: int) -> None:  # noqa: N802
        if self._disk.room is not None and offset + len(data) > self.xFileSize():
            self._disk.room -= len(data)
            if self._disk.room < 0:
                raise apsw.FullError("no room")
        super().xWrite(data, offset)
        self._disk.note(Operation("write", self._name, offset, bytes(data)))

    def xTruncate(self, newsize: int) -> None:  # noqa: N802
        super().xTruncate(newsize)
        self._disk.note(Operation("truncate", self._name, newsize))

    def xSync(self, flags: int) -> None:  # noqa: N802
        if self._disk.is_recording:
            self._disk.syncs += 1
            if self._disk.syncs in self._disk.failing_syncs:
                self._disk.note(Operation("failed sync", self._name))
                raise apsw.IOError("the sync failed")
        # No real sync: the machine that runs the tests stays up.
        self._disk.note(Operation("sync", self._name))


@dataclass
class _Content:
    """One file: what is surely on the disk, what may be for good or never, what waits for its sync."""

    durable: bytearray | None = None
    limbo: list[Operation] = field(default_factory=list)
    waiting: list[Operation] = field(default_factory=list)
    is_new: bool = True

    def carry_out(self, operation: Operation) -> None:
        if operation.kind == "sync":
            self._sync()
        elif operation.kind == "failed sync":
            self.limbo += [part for waiting in self.waiting for part in _sectors(waiting)]
            self.waiting = []
        else:
            self.waiting.append(operation)

    def _sync(self) -> None:
        written = {(part.at) for waiting in self.waiting for part in _sectors(waiting)}
        self.limbo = [part for part in self.limbo if part.at not in written]
        for operation in self.waiting:
            self.durable = _applied(self.durable, operation)
        self.waiting = []

    def after_cut(self, choose: Choose) -> bytearray | None:
        content = bytearray(self.durable) if self.durable is not None else None
        for operation in choose([*self.limbo, *self.waiting]):
            content = _applied(content, operation)
        return content


def left_by(operations: Sequence[Operation], choose: Choose, directory: Path) -> None:
    """Put the files that a power cut behind these operations could leave into a new directory."""
    contents: dict[str, _Content] = {}
    for operation in operations:
        contents.setdefault(operation.name, _Content()).carry_out(operation)
        if operation.kind == "sync" and contents[operation.name].is_new:
            _sync_deletions(
                contents
            )  # SQLite syncs the directory with the first sync of a new journal or log
            contents[operation.name].is_new = False
    directory.mkdir()
    for name, content in contents.items():
        left = content.after_cut(choose)
        if left is not None:
            (directory / name).write_bytes(left)


def _sync_deletions(contents: Mapping[str, _Content]) -> None:
    for content in contents.values():
        if content.waiting and content.waiting[-1].kind == "delete":
            content.durable, content.waiting, content.limbo, content.is_new = None, [], [], True


def seen_by_process(operations: Sequence[Operation]) -> Mapping[str, bytes]:
    """The files as any process sees them, whether synced or not: what a killed server leaves."""
    contents: dict[str, bytearray | None] = {}
    for operation in operations:
        contents[operation.name] = _applied(contents.get(operation.name), operation)
    return {name: bytes(content) for name, content in contents.items() if content is not None}


def _sectors(operation: Operation) -> Iterator[Operation]:
    """The parts of a write that a disk writes all or none of, each within one sector."""
    if operation.kind != "write":
        yield operation
        return
    at, end = operation.at, operation.at + len(operation.data)
    while at < end:
        until = min(end, at - at % _SECTOR_BYTES + _SECTOR_BYTES)
        part = operation.data[at - operation.at : until - operation.at]
        yield Operation("write", operation.name, at, part)
        at = until


def _applied(content: bytearray | None, operation: Operation) -> bytearray | None:
    if operation.kind == "delete":
        return None
    content = content if content is not None else bytearray()
    if operation.kind == "truncate":
        del content[operation.at :]
    elif operation.kind == "write":
        content.extend(bytes(max(0, operation.at - len(content))))
        content[operation.at : operation.at + len(operation.data)] = operation.data
    return content
