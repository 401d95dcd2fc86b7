"""SQLite's write-ahead log as a file: what has to be done to it before SQLite may read it.

SQLite takes the log's valid beginning and says nothing about the rest. That is right for a commit that a
crash tore, and wrong for one that was acknowledged and damaged later: it would be dropped without a word.
The format is documented at https://www.sqlite.org/fileformat2.html#the_write_ahead_log.
"""

from __future__ import annotations

import os
import struct
from collections.abc import Iterator
from pathlib import Path
from typing import Final, NamedTuple

_HEADER: Final = struct.Struct(">8I")
_FRAME: Final = struct.Struct(">6I")
_BLOCK_BYTES: Final = 1024 * 1024
_MX_FRAME_AT: Final = 16


class _Frame(NamedTuple):
    """A frame's place in the log, counted from 1, whose page it holds, and whether it ends a commit."""

    number: int
    page: int
    commits: bool


def path_of(file: Path) -> Path:
    """The log that belongs to a database file."""
    return file.with_name(f"{file.name}-wal")


def index_of(file: Path) -> Path:
    """The log's index, which SQLite makes anew at every start."""
    return file.with_name(f"{file.name}-shm")


def settle(file: Path) -> None:
    """Write the log's bytes once more where they are, and sync them.

    A server whose sync had failed may have been killed afterwards. What it wrote can then be in the system's
    cache, marked clean, without being on the disk. SQLite would read it, and put further commits on top.

    Raises:
        OSError: it cannot be written or synced.
    """
    try:
        log = path_of(file).open("r+b")
    except FileNotFoundError:
        return
    with log:
        position = 0
        while block := os.pread(log.fileno(), _BLOCK_BYTES, position):
            os.pwrite(log.fileno(), block, position)
            position += len(block)
        if position:
            os.fsync(log.fileno())


def is_orphan(file: Path) -> bool:
    """Whether there is a log, but nothing in the database file, which is begun before its log."""
    return bool(_head(file)) and (not file.exists() or file.stat().st_size == 0)


def has_usable_header(file: Path) -> bool:
    """Whether SQLite can begin to read the log; True if there is nothing in it.

    The header is synced before the first frame is written, so a log with frames and without it was damaged.
    """
    header = _head(file)
    return len(header) <= _HEADER.size or _is_header(header[: _HEADER.size])


def has_torn_end(file: Path) -> bool:
    """Whether the log ends with frames of a commit that SQLite, which has it open, could not read."""
    return bool(_frames_beyond(file))


def lacks_commits(file: Path) -> bool:
    """Whether the log holds commits beyond those that SQLite, which has it open, could read.

    Each commit is synced before the next is begun, and a log with a torn end is begun anew before the next
    write (`Health`), so a crash leaves frames of one commit there. Frames behind the end of a commit, or two
    of one page, which a commit writes but once, are frames of two: a sign of damage, not of a crash.
    """
    beyond = _frames_beyond(file)
    pages = {frame.page for frame in beyond}
    return any(frame.commits for frame in beyond[:-1]) or len(pages) < len(beyond)


def _frames_beyond(file: Path) -> list[_Frame]:
    header = _head(file)
    if len(header) <= _HEADER.size or not _is_header(header[: _HEADER.size]):
        return []
    readable = _readable_frames(file)
    return [frame for frame in _frames(file, header) if frame.number > readable]


def _head(file: Path) -> bytes:
    try:
        with path_of(file).open("rb") as log:
            return log.read(_HEADER.size + 1)
    except FileNotFoundError:
        return b""


def _is_header(header: bytes) -> bool:
    magic, version, page_size, _, _, _, sum_1, sum_2 = _HEADER.unpack(header)
    if magic & ~1 != 0x377F0682 or version != 3007000 or page_size & (page_size - 1):
        return False
    return _checksum(header[:24], ">" if magic & 1 else "<") == (sum_1, sum_2)


def _checksum(data: bytes, order: str) -> tuple[int, int]:
    one = two = 0
    for first, second in struct.iter_unpack(f"{order}2I", data):
        one = (one + first + two) & 0xFFFFFFFF
        two = (two + second + one) & 0xFFFFFFFF
    return one, two


def _frames(file: Path, header: bytes) -> Iterator[_Frame]:
    """The frames that say they belong to this log, and not to one that it has overwritten."""
    _, _, page_size, _, salt_1, salt_2, _, _ = _HEADER.unpack(header[: _HEADER.size])
    size = _FRAME.size + page_size
    with path_of(file).open("rb") as log:
        count = (path_of(file).stat().st_size - _HEADER.size) // size
        for number in range(1, count + 1):
            head = os.pread(log.fileno(), _FRAME.size, _HEADER.size + (number - 1) * size)
            page, pages_after, one, two, _, _ = _FRAME.unpack(head)
            if (one, two) == (salt_1, salt_2):
                yield _Frame(number, page, commits=pages_after != 0)


def _readable_frames(file: Path) -> int:
    """How many frames SQLite found valid, as it noted in the log's index."""
    try:
        with index_of(file).open("rb") as index:
            head = index.read(_MX_FRAME_AT + 4)
    except FileNotFoundError:
        return 0
    frames: int = struct.unpack_from("=I", head, _MX_FRAME_AT)[0]
    return frames
