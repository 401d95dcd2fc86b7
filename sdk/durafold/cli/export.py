"""`durafold export`."""

from __future__ import annotations

from contextlib import aclosing
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, BinaryIO, Final, Self

import typer

from durafold.cli.archive import Begin, End, begin_line, content_lines, end_line
from durafold.cli.completion import complete_stream
from durafold.cli.formatting import byte_count, count
from durafold.cli.listing import list_streams
from durafold.cli.session import Session, client_command
from durafold.cli.windows import Window
from durafold.errors import ConfigurationError

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable

    from durafold.cli.output import Output

__all__ = ["export"]

RESERVED: Final = "__"
"""Names that begin so are the server's own."""


@client_command
async def export(
    session: Session,
    streams: Annotated[
        list[str] | None,
        typer.Argument(metavar="STREAM", help="Names of streams.", autocompletion=complete_stream),
    ] = None,
    prefix: Annotated[
        str | None, typer.Option(metavar="PREFIX", help="Also all streams whose names begin so.")
    ] = None,
    everything: Annotated[bool, typer.Option("--all", help="All streams, except the server's own.")] = False,
    file: Annotated[
        Path | None,
        typer.Option("--file", "-f", metavar="FILE", help="Write here. Default: standard output."),
    ] = None,
) -> None:
    """Write whole streams to a file.

    What is written is what is there now, with type, lifetime and whether it is closed. `durafold import`
    reads it. The form is lines of JSON: one that begins a stream, one a message, one that ends it.
    """
    chosen = list(streams or [])
    if prefix is not None or everything:
        chosen += await _named_so(session, prefix or "")
    if not chosen:
        raise ConfigurationError("Which streams?", hint="Name some, or use --prefix PREFIX or --all")
    with _Sink(session.output, file) as sink, session.output.progress("Exporting") as advance:
        records = [await _export(session, name, sink, advance) for name in dict.fromkeys(chosen)]
    if file is not None:
        for record in records:
            size = byte_count(record["bytes"])
            session.output.result(
                record, f"Exported {record['stream']}: {count(record['count'], 'part')}, {size}"
            )


async def _named_so(session: Session, prefix: str) -> list[str]:
    async with aclosing(list_streams(session, prefix)) as found:
        return [str(record["stream"]) async for record in found if not record["stream"].startswith(RESERVED)]


async def _export(session: Session, name: str, sink: _Sink, advance: Callable[[int], None]) -> dict[str, Any]:
    stream = session.stream(name)
    info = await stream.head()
    expires_at = None if info.expires_at is None else info.expires_at.isoformat()
    kept = info.retention_bytes, info.retention_age_s
    sink.lines([begin_line(Begin(name, info.content_type, info.ttl_s, expires_at, *kept))])
    window, parts, size_bytes, closed = Window(), 0, 0, False
    async for page in stream.pages():
        part = window.cut(page)
        lines = list(content_lines(part.messages, part.data))
        sink.lines(lines)
        parts += len(lines)
        size_bytes += len(page.data)
        advance(len(page.data))
        closed = page.closed
    sink.lines([end_line(name, End(parts, closed))])
    return {"stream": name, "count": parts, "bytes": size_bytes, "closed": closed}


class _Sink:
    """Where the lines go: a file, which appears when it is complete, or standard output."""

    def __init__(self, output: Output, path: Path | None) -> None:
        self._output = output
        self._path = path
        self._file: BinaryIO | None = None

    def lines(self, lines: Iterable[str]) -> None:
        data = "".join(f"{line}\n" for line in lines).encode()
        if self._file is None:
            self._output.write(data)
        else:
            self._file.write(data)

    def __enter__(self) -> Self:
        if self._path is not None:
            try:
                self._file = self._unfinished.open("wb")
            except OSError as exc:
                raise ConfigurationError(f"Cannot write {self._path} ({exc.strerror})") from exc
        return self

    def __exit__(self, kind: type[BaseException] | None, *_: object) -> None:
        if self._file is None or self._path is None:
            return
        self._file.close()
        if kind is None:
            self._unfinished.replace(self._path)
        else:
            self._unfinished.unlink(missing_ok=True)

    @property
    def _unfinished(self) -> Path:
        assert self._path is not None
        return self._path.with_name(f"{self._path.name}.part")
