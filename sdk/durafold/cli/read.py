"""`durafold read` and `durafold tail`."""

from __future__ import annotations

import select
import sys
from collections import deque
from collections.abc import AsyncGenerator, AsyncIterator
from contextlib import aclosing, asynccontextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Final, Literal

import anyio
import typer

from durafold.cli.checkpoint import CheckpointFile, Place
from durafold.cli.output import OutputClosed
from durafold.cli.printing import Form, Printer
from durafold.cli.session import Session, StreamName, client_command
from durafold.cli.windows import Window, lines_of
from durafold.errors import ConfigurationError, TransportTimeout
from durafold.wire import names
from durafold.wire.offsets import NOW, START, Offset

if TYPE_CHECKING:
    from durafold.client import DurableStream, Page, ReadStatus

__all__ = ["following", "read", "tail"]

_WATCH_INTERVAL_S: Final = 0.25

Live = Literal["off", "auto", "sse", "long-poll"]

FormOption = Annotated[
    Form | None,
    typer.Option(
        "--output",
        "-o",
        help="raw: bytes as they are. ndjson: a message a line. pretty: for people (default at a terminal).",
    ),
]


@client_command
async def read(
    session: Session,
    stream: StreamName,
    offset: Annotated[
        str | None, typer.Option(metavar="OFFSET", help="Begin at a next offset that some command has told.")
    ] = None,
    from_: Annotated[
        Literal["start", "now"], typer.Option("--from", help="Begin at the first message, or at the tail.")
    ] = "start",
    number: Annotated[
        int | None,
        typer.Option(
            "-n", "--number", metavar="N", min=0, help="Stop after so many messages, or lines of text."
        ),
    ] = None,
    live: Annotated[Live, typer.Option(help="Go on at the tail, and how to wait for more.")] = "off",
    until_closed: Annotated[
        bool,
        typer.Option("--until-closed", help="Go on until the stream is closed; the same as --live auto."),
    ] = False,
    checkpoint: Annotated[
        Path | None,
        typer.Option(metavar="FILE", help="Keep the place in this file, and go on from it the next time."),
    ] = None,
    output: FormOption = None,
) -> None:
    """Print what is in a stream, and follow it if asked to.

    While it follows, lost connections are made again and nothing is printed twice; it ends with the stream,
    or with Ctrl-C. With --json there is one record a page, whose next_offset is where to read on.
    """
    from durafold.client.exchange import public_url

    if offset is not None and from_ != "start":
        raise ConfigurationError("--offset and --from both say where to begin", hint="Use one of them")
    handle = session.stream(stream)
    file = None if checkpoint is None else CheckpointFile(checkpoint, public_url(handle.url))
    begin = Place(Offset(offset) if offset is not None else NOW if from_ == "now" else START)
    if file is not None:
        begin = file.load() or begin
    mode: Live = "auto" if until_closed and live == "off" else live
    reading = _Reading(Window(begin.skip, number), Printer(session.output, output), file)
    await _print_pages(session, handle, begin.offset, mode, reading)


@client_command
async def tail(
    session: Session,
    stream: StreamName,
    number: Annotated[
        int, typer.Option("-n", "--number", metavar="N", min=0, help="Print the last so many messages first.")
    ] = 0,
    live: Annotated[Literal["auto", "sse", "long-poll"], typer.Option(help="How to wait for more.")] = "auto",
    output: FormOption = None,
) -> None:
    """Print what comes from now on, until Ctrl-C.

    With -n the whole stream is read first, since only its end tells which messages are the last ones.
    """
    handle = session.stream(stream)
    printer = Printer(session.output, output)
    begin = NOW
    if number:
        begin = await _print_last(handle, number, printer)
    await _print_pages(session, handle, begin, live, _Reading(Window(), printer))


@dataclass(slots=True)
class _Reading:
    """What is done with the pages of a stream."""

    window: Window
    printer: Printer
    file: CheckpointFile | None = None

    def take(self, page: Page) -> bool:
        """Print what there is to print of a page, remember the place, and tell whether that was enough."""
        part = self.window.cut(page)
        self.printer.print(part)
        if self.file is not None:
            self.file.save(part.after)
        return self.window.is_full


async def _print_pages(
    session: Session, stream: DurableStream, offset: Offset, live: Live, reading: _Reading
) -> None:
    if reading.window.is_full:
        return
    if live == "off":
        async for page in stream.pages(offset):
            if reading.take(page):
                return
        return
    # A follower tries for ever; whether there is such a server and stream is better known at once.
    await stream.head()
    async with following(session, stream, offset, live) as pages:
        async for page in pages:
            if reading.take(page):
                return
        session.output.remark("The stream is closed")


@asynccontextmanager
async def following(
    session: Session, stream: DurableStream, offset: Offset, live: Literal["auto", "sse", "long-poll"]
) -> AsyncGenerator[AsyncIterator[Page]]:
    """A follower, with somebody who notices when its server or its reader has gone."""
    watch = _Watch(session, stream.url)
    follower = stream.follow(offset, live=live, on_status=watch.on_status)
    async with anyio.create_task_group() as tasks:
        tasks.start_soon(watch.run)
        async with aclosing(follower):
            yield follower
        tasks.cancel_scope.cancel()


class _Watch:
    """Ends the following when nobody reads the output, or when the server was away for `--timeout`."""

    def __init__(self, session: Session, url: str) -> None:
        self._session = session
        self._url = url
        self._lost_at_s: float | None = None

    def on_status(self, status: ReadStatus) -> None:
        """The follower says what it does."""
        if status == "reconnecting" and self._lost_at_s is None:
            self._lost_at_s = anyio.current_time()
            self._session.output.remark("The connection is lost; trying again (Ctrl-C gives up)")
        elif status == "live" and self._lost_at_s is not None:
            self._lost_at_s = None
            self._session.output.remark("Connected again")

    async def run(self) -> None:
        """Look after both.

        Raises:
            OutputClosed: nobody reads the output.
            TransportTimeout: the server was away too long.
        """
        while True:
            await anyio.sleep(_WATCH_INTERVAL_S)
            if _is_unread():
                raise OutputClosed
            timeout_s, lost_at_s = self._session.timeout_s, self._lost_at_s
            if (
                timeout_s is not None
                and lost_at_s is not None
                and anyio.current_time() - lost_at_s > timeout_s
            ):
                raise TransportTimeout(f"The server was away for {timeout_s:g} s", stream=self._url)


def _is_unread() -> bool:
    """Whether standard output is a pipe whose reader has left. Writing would tell too, but only then."""
    if not hasattr(select, "poll"):
        return False
    try:
        number = sys.stdout.fileno()
    except OSError:
        return False
    poll = select.poll()
    poll.register(number, select.POLLERR)
    return any(event & select.POLLERR for _, event in poll.poll(0))


async def _print_last(stream: DurableStream, number: int, printer: Printer) -> Offset:
    """Print the last messages or lines up to the present tail, and return its offset."""
    from durafold.client import Page

    last: deque[bytes] = deque(maxlen=number)
    page: Page | None = None
    window = Window()
    async for page in stream.pages():
        part = window.cut(page)
        if part.messages is not None:
            last.extend(message.encode() for message in part.messages)
            continue
        # The last line of a page may go on in the next one.
        rest = last.pop() if last and not last[-1].endswith(b"\n") else b""
        last.extend(lines_of(rest + part.data, page.content_type))
    assert page is not None
    data = b"[" + b",".join(last) + b"]" if names.is_json(page.content_type) else b"".join(last)
    shown = Page(data, page.content_type, page.offset, page.next_offset, page.up_to_date, page.closed)
    printer.print(Window().cut(shown))
    return page.next_offset
