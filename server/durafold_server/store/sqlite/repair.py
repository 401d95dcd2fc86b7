"""`durafold repair`: checks a data directory, and rebuilds a damaged one from what can be believed.

What is believed, and what becomes of offsets and producers, is decided in `salvage`. This file moves files.
The damaged ones are never changed: they are put aside into a directory of their own. At every moment a crash
leaves either the old directory, or one that says that its repair must be finished before it is used.
"""

from __future__ import annotations

import argparse
import contextlib
import os
import shutil
import sys
import tempfile
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Final

import apsw

from durafold_server.clock import Clock, system_clock
from durafold_server.store.base import StoreDamaged, StoreFailure
from durafold_server.store.sqlite import records, salvage, schema, wal
from durafold_server.store.sqlite.lock import DirectoryLock
from durafold_server.store.sqlite.salvage import Findings, Salvaged

_REBUILT: Final = "streams.db.rebuilt"

NOTHING_LOST: Final = 0
NOT_DONE: Final = 1
SOMETHING_LOST: Final = 3

EXIT_CODES: Final = """exit codes:
  0  nothing is damaged, or nothing is lost by the damage
  1  it could not be checked or repaired; nothing was changed
  2  wrong options
  3  something is lost (with --dry-run: would be)
"""


@dataclass(frozen=True, slots=True)
class Repair:
    """What was found and done.

    Attributes:
        findings: what can be kept, and what is lost.
        aside: where the damaged files are now; None if nothing was changed.
    """

    findings: Findings
    aside: Path | None


def main(arguments: Sequence[str] | None = None) -> int:
    """`durafold repair`; returns the exit code."""
    parser = argparse.ArgumentParser(
        prog="durafold repair",
        description="Check a data directory, and rebuild it from what is undamaged. End its server first.",
        epilog=EXIT_CODES,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument(
        "--data", type=Path, default=Path("durafold-data"), help="data directory (%(default)s)"
    )
    parser.add_argument(
        "--dry-run", action="store_true", help="say what would be kept and lost; change nothing"
    )
    options = parser.parse_args(arguments)
    try:
        repair = repair_directory(options.data, dry_run=options.dry_run)
    except StoreFailure as exc:
        print(f"durafold: {exc}", file=sys.stderr)  # noqa: T201
        return NOT_DONE
    for line in report(repair, dry_run=options.dry_run):
        print(line)  # noqa: T201
    return NOTHING_LOST if repair.findings.has_all else SOMETHING_LOST


def repair_directory(directory: Path, *, dry_run: bool = False, clock: Clock = system_clock) -> Repair:
    """Check a data directory, and rebuild it if it is damaged.

    Args:
        directory: the data directory; no server may have it open.
        dry_run: only say what would be kept.
        clock: microseconds since 1970.

    Raises:
        StoreFailure: there is no store, a server uses it, or there is no room for the rebuilt file.
    """
    file = directory / schema.FILE_NAME
    if not file.exists() and not schema.unfinished(file):
        raise StoreFailure(f"there is no {file}; name the data directory with --data")
    lock = DirectoryLock(directory)
    try:
        if not dry_run:
            _finish(file)
        if schema.unfinished(file):
            raise StoreFailure("an earlier repair was interrupted; run it again without --dry-run")
        return _repair(file, clock(), dry_run=dry_run)
    finally:
        lock.release()


def report(repair: Repair, *, dry_run: bool) -> Iterator[str]:
    """What was found and done, a line each."""
    findings = repair.findings
    yield from findings.troubles
    for salvaged in findings.streams.values():
        if not salvaged.is_whole:
            yield _about(salvaged)
    for name in findings.lost_streams:
        yield f"stream {name}: lost, its record cannot be read"
    if findings.lost_records:
        yield f"{findings.lost_records} records of the server's own (subscriptions, keys, states) are lost"
    whole = sum(salvaged.is_whole for salvaged in findings.streams.values())
    yield f"{whole} streams are whole, {len(findings.streams) - whole} not, {len(findings.lost_streams)} lost"
    if repair.aside is not None:
        yield f"rebuilt; the damaged files are in {repair.aside}"
    elif findings.is_sound:
        yield "nothing is damaged"
    elif dry_run:
        yield "nothing was changed; run it without --dry-run to rebuild the directory so"


def _about(salvaged: Salvaged) -> str:
    stream, text = salvaged.stream, f"stream {salvaged.stream.path}: "
    if salvaged.lost_bytes:
        text += f"kept up to {stream.offset(stream.tail)}, "
        text += f"lost {salvaged.lost_bytes} of {salvaged.was.tail} bytes"
    elif salvaged.stream.origin != salvaged.was.origin:
        text += f"kept up to {stream.offset(stream.tail)}; what was appended last may be lost"
    else:
        text += "kept whole"
    return text + (f"; {salvaged.lost_producers} producers were damaged" if salvaged.lost_producers else "")


def _repair(file: Path, now_us: int, *, dry_run: bool) -> Repair:
    with schema.translated(file), _readable(file) as (connection, troubles, lacks_commits):
        findings = salvage.examine(connection, now_us, lacks_commits=lacks_commits)
        findings.troubles[:0] = troubles
        if dry_run or findings.is_sound:
            return Repair(findings, None)
        rebuilt = file.with_name(_REBUILT)
        try:
            _rebuild(connection, findings, rebuilt)
        except BaseException:
            rebuilt.unlink(missing_ok=True)
            raise
    aside = _free_name(file.parent)
    aside.mkdir(mode=0o700)
    _begin(file, aside.name)
    _finish(file)
    return Repair(findings, aside)


@contextlib.contextmanager
def _readable(file: Path) -> Iterator[tuple[apsw.Connection, list[str], bool]]:
    """A connection to a damaged file that changes nothing, what is wrong, and whether commits are missing."""
    if wal.has_usable_header(file):
        troubles: list[str] = []
    else:
        troubles = [f"{wal.path_of(file).name}: its header is damaged, so none of it can be read"]
    with contextlib.ExitStack() as stack:
        connection = _opened(file, stack)
        if connection is None:
            troubles.append(f"{file.name}: its first page is damaged")
            copy = Path(stack.enter_context(tempfile.TemporaryDirectory(dir=file.parent))) / file.name
            connection = _opened(_with_new_first_page(file, copy), stack)
        if connection is None:
            raise StoreFailure(f"{file} is damaged beyond what can be read")
        if not troubles and wal.lacks_commits(file):
            troubles.append(f"{wal.path_of(file).name}: what follows a damaged place in it cannot be read")
        yield connection, troubles, any(text.startswith(wal.path_of(file).name) for text in troubles)


def _opened(file: Path, stack: contextlib.ExitStack) -> apsw.Connection | None:
    """A connection, or None if the file cannot even be begun to be read."""
    if file.stat().st_size < schema.PAGE_BYTES:
        return None  # SQLite would take it for a new file, and delete its log
    had_log = wal.path_of(file).exists()
    connection = apsw.Connection(str(file))
    stack.callback(wal.index_of(file).unlink, missing_ok=True)
    if not had_log:
        stack.callback(wal.path_of(file).unlink, missing_ok=True)
    stack.callback(connection.close)
    connection.config(apsw.SQLITE_DBCONFIG_NO_CKPT_ON_CLOSE, 1)
    try:
        schema.check_format(connection, file)
        tables = {name for (name,) in connection.execute("SELECT name FROM sqlite_schema")}
    except (apsw.NotADBError, apsw.CorruptError, apsw.SQLError, apsw.IOError, StoreDamaged):
        return None
    return connection if tables >= schema.TABLE_NAMES else None


def _with_new_first_page(file: Path, copy: Path) -> Path:
    """A copy with the first page of an empty store: it says where tables begin, which is always the same."""
    for path in (file, wal.path_of(file)):
        if path.exists():
            shutil.copyfile(path, copy.with_name(path.name))
    fresh = copy.with_name("fresh.db")
    schema.open_writer(fresh).close()
    page = bytearray(fresh.read_bytes()[: schema.PAGE_BYTES])
    page[28:32] = bytes(4)  # its size in pages: what the file and its log have
    page[32:40] = bytes(8)  # no free pages
    with copy.open("r+b") as target:
        target.write(page)
    return copy


def _rebuild(connection: apsw.Connection, findings: Findings, target: Path) -> None:
    """Write a new file with all that is kept."""
    for path in (target, wal.path_of(target), wal.index_of(target)):
        path.unlink(missing_ok=True)
    writer = schema.open_writer(target)
    try:
        writer.execute("BEGIN IMMEDIATE")
        for salvaged in findings.streams.values():
            _copy_stream(writer, salvaged)
        for stream_id, until in salvage.needed_until(findings).items():
            rows = (row for row in salvage.chunks(connection, stream_id) if row[1] < until)
            writer.executemany(
                "INSERT INTO chunk(stream_id, start, appended_us, data, checksum) VALUES(?, ?, ?, ?, ?)", rows
            )
        writer.executemany(
            "INSERT INTO record VALUES(?, ?, ?)",
            [(key, records.record_checksum(key, value), value) for key, value in findings.records.items()],
        )
        writer.execute(
            "UPDATE sqlite_sequence SET seq = max(seq, ?) WHERE name = 'stream'", (findings.greatest_id,)
        )
        writer.execute("COMMIT")
        writer.execute("PRAGMA wal_checkpoint(TRUNCATE)")
    finally:
        writer.close()


def _copy_stream(writer: apsw.Connection, salvaged: Salvaged) -> None:
    writer.execute("INSERT INTO stream VALUES(?, ?, ?, ?, ?)", records.encode_stream(salvaged.stream))
    writer.executemany(
        "INSERT INTO producer VALUES(?, ?, ?, ?, ?, ?)",
        [records.encode_producer(salvaged.stream.id, *item) for item in salvaged.producers.items()],
    )


def _free_name(directory: Path) -> Path:
    stamp = datetime.now(UTC).strftime("%Y%m%dT%H%M%SZ")
    names = (directory / f"damaged-{stamp}{suffix}" for suffix in ("", *(f"-{n}" for n in range(2, 1000))))
    return next(name for name in names if not name.exists())


def _begin(file: Path, aside: str) -> None:
    """From here on no server opens the directory until the repair is finished."""
    marker = schema.marker_of(file)
    with marker.open("w") as opened:
        opened.write(aside)
        opened.flush()
        os.fsync(opened.fileno())
    _sync(file.parent)


def _finish(file: Path) -> None:
    """Put the damaged files aside and the rebuilt one in their place; picks up where a crash left it."""
    marker, rebuilt = schema.marker_of(file), file.with_name(_REBUILT)
    if not marker.exists():
        rebuilt.unlink(missing_ok=True)
        return
    aside = file.with_name(marker.read_text())
    if rebuilt.exists():
        for path in (wal.path_of(file), file):
            if path.exists():
                path.rename(aside / path.name)
        wal.index_of(file).unlink(missing_ok=True)
        _sync(aside)
        _sync(file.parent)
        rebuilt.rename(file)
        _sync(file.parent)
    marker.unlink()
    _sync(file.parent)


def _sync(directory: Path) -> None:
    descriptor = os.open(directory, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
