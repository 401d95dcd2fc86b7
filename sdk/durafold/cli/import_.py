"""`durafold import`."""

from __future__ import annotations

from collections.abc import AsyncGenerator, AsyncIterator, Callable
from contextlib import aclosing
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Final

import typer

from durafold.cli.append import appending, new_producer_id
from durafold.cli.append_input import Input, open_input, read_chunks, size_of
from durafold.cli.archive import Begin, Content, End, Line, parse_line
from durafold.cli.formatting import count
from durafold.cli.messages import LineSplitter
from durafold.cli.session import Session, client_command
from durafold.errors import ConfigurationError, StreamConflict

if TYPE_CHECKING:
    from durafold.client import DurableStream

__all__ = ["import_"]

MAX_LINE_BYTES: Final = 64 * 1024 * 1024
_PART_BYTES: Final = 1024 * 1024


@client_command
async def import_(
    session: Session,
    file: Annotated[
        Path | None, typer.Argument(metavar="FILE", help="What to read. Default: standard input.")
    ] = None,
    name: Annotated[
        str | None,
        typer.Option("--as", metavar="STREAM", help="Import the file's only stream under this name."),
    ] = None,
    prefix: Annotated[str, typer.Option(metavar="PREFIX", help="Put this before all names.")] = "",
    append: Annotated[
        bool, typer.Option("--append", help="Append to streams that are not empty, instead of failing.")
    ] = False,
) -> None:
    """Read streams from a file that `export` wrote.

    Each is created with its type and lifetime, filled exactly once, and closed if it was. A stream that has
    content already is not touched, with exit code 4, unless --append is given.
    """
    with open_input(file) as source, session.output.progress("Importing", size_of(source)) as advance:
        async with aclosing(_lines(read_chunks(source), advance)) as lines:
            imported = 0
            async for line in lines:
                if not isinstance(line, Begin):
                    raise ConfigurationError("The file has content before the stream it belongs to")
                if name is not None and imported:
                    raise ConfigurationError(
                        "The file has more than one stream", hint="Use --prefix instead of --as"
                    )
                target = name or prefix + line.stream
                record = await _import(session, target, line, lines, append=append)
                session.output.result(record, _sentence(record))
                imported += 1
    if not imported:
        raise ConfigurationError(
            "There is nothing to import", hint="Files for it are made by `durafold export`"
        )


async def _import(
    session: Session, name: str, begin: Begin, lines: AsyncIterator[Line], *, append: bool
) -> dict[str, Any]:
    stream = session.stream(name, content_type=begin.content_type)
    await _create(stream, begin, append=append)
    parts, end = 0, None
    async with appending(session, stream, new_producer_id()) as appender:
        async for line in lines:
            if isinstance(line, End):
                end = line
                break
            if isinstance(line, Begin):
                break
            for piece in _pieces(line, begin.content_type):
                await appender.append([Input(piece, f"Part {parts + 1} of {name}", len(piece))])
            parts += 1
        _check_complete(name, parts, end)
        await appender.finish(close=end is not None and end.closed)
    return {"stream": name, "count": parts, "closed": end is not None and end.closed}


def _sentence(record: dict[str, Any]) -> str:
    closed = ", closed" if record["closed"] else ""
    return f"Imported {record['stream']}: {count(record['count'], 'part')}{closed}"


async def _create(stream: DurableStream, begin: Begin, *, append: bool) -> None:
    if begin.expires_at is not None and datetime.fromisoformat(begin.expires_at) <= datetime.now(UTC):
        raise ConfigurationError(f"{begin.stream} has expired, at {begin.expires_at}")
    info = await stream.create(
        ttl_s=begin.ttl_s,
        expires_at=begin.expires_at,
        retention_bytes=begin.retention_bytes,
        retention_age_s=begin.retention_age_s,
    )
    if info.created or append:
        return
    if (await stream.read()).data:
        raise StreamConflict(
            "The stream has content already",
            status=409,
            stream=stream.url,
        )


def _pieces(line: Content, content_type: str) -> list[bytes]:
    """A part in pieces that a server takes; a message of a JSON stream stays whole."""
    from durafold.wire import names

    data = line.encoded
    if names.is_json(content_type):
        return [data]
    return [data[at : at + _PART_BYTES] for at in range(0, len(data), _PART_BYTES)]


def _check_complete(name: str, parts: int, end: End | None) -> None:
    if end is None or end.count != parts:
        raise ConfigurationError(
            f"The file is cut: of {name} there is only the beginning ({count(parts, 'part')})",
            hint=f"What there is was imported, and the stream left open; `durafold rm {name}` removes it",
        )


async def _lines(chunks: AsyncIterator[bytes], advance: Callable[[int], None]) -> AsyncGenerator[Line]:
    splitter, number = LineSplitter(MAX_LINE_BYTES), 0
    async for chunk in chunks:
        advance(len(chunk))
        for line in splitter.feed(chunk):
            number += 1
            if line.strip():
                yield parse_line(line, number)
    rest = splitter.rest()
    if rest.strip():
        yield parse_line(rest, number + 1)
