"""`durafold append`: exactly once, in order, and with bounded memory however long the input is."""

from __future__ import annotations

import uuid
from collections.abc import AsyncGenerator, Callable
from contextlib import ExitStack, aclosing, asynccontextmanager
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Final

import anyio
import typer

from durafold.cli.append_input import (
    Input,
    encoded_argument,
    form_of,
    messages_of,
    open_input,
    read_chunks,
    size_of,
)
from durafold.cli.create import media_type_named
from durafold.cli.failures import single_error
from durafold.cli.formatting import byte_count, count
from durafold.cli.session import Session, StreamName, client_command
from durafold.errors import (
    BadRequest,
    BufferFull,
    ConfigurationError,
    DurafoldError,
    PayloadTooLarge,
    TransportTimeout,
    Unprocessable,
)
from durafold.wire import names

if TYPE_CHECKING:
    from durafold.client import Delivery, DurableStream, IdempotentProducer

__all__ = ["Appender", "append", "appending", "new_producer_id"]

_MAX_BUFFERED_BYTES: Final = 4 * 1024 * 1024
_WATCH_INTERVAL_S: Final = 0.25
_REMARK_AFTER_S: Final = 2.0


@client_command
async def append(
    session: Session,
    stream: StreamName,
    messages: Annotated[
        list[str] | None,
        typer.Argument(metavar="MESSAGE", help="Each is one message. Default: standard input."),
    ] = None,
    file: Annotated[
        Path | None,
        typer.Option("--file", "-f", metavar="FILE", help="Read this instead; - is standard input."),
    ] = None,
    text: Annotated[
        bool, typer.Option("--text", help="Of a JSON stream: lines are strings, not JSON.")
    ] = False,
    raw: Annotated[bool, typer.Option("--raw", help="Of a text stream: bytes, not lines.")] = False,
    create: Annotated[
        str | None,
        typer.Option(
            metavar="TYPE", help="Create the stream if need be: json, text, bytes, or a media type."
        ),
    ] = None,
    close: Annotated[bool, typer.Option("--close", help="Close the stream behind it.")] = False,
    producer_id: Annotated[
        str | None,
        typer.Option(metavar="ID", help="Name of the writer. Default: one of its own for this run."),
    ] = None,
    epoch: Annotated[
        int, typer.Option(metavar="N", min=0, help="Which run of --producer-id this is: higher every time.")
    ] = 0,
) -> None:
    """Append messages, from arguments or standard input.

    What a message is depends on the stream's type. JSON: each argument, or line of the input, is a JSON
    value; with --text it is a string. Text: each is a line. Other types: bytes as they are.

    Input is sent as it comes, what gathers meanwhile in one request. If the server goes away meanwhile, it is
    tried again until --timeout is over, and nothing is appended twice.
    """
    if messages and file is not None:
        raise ConfigurationError("Messages come from arguments or from --file, not from both")
    handle = session.stream(stream)
    if create is not None:
        await handle.create(content_type=media_type_named(create))
    kind = await handle.known_content_type()
    with ExitStack() as opened:
        if messages:
            given = [encoded_argument(message, kind, text=text, raw=raw) for message in messages]
            groups, total_bytes = _one_group(given), None
        else:
            source = opened.enter_context(open_input(file))
            groups = messages_of(read_chunks(source), form_of(kind, text=text, raw=raw))
            total_bytes = size_of(source)
            if source.isatty():
                session.output.remark("Reading from the terminal; Ctrl-D on an empty line ends it")
        advance = opened.enter_context(session.output.progress("Appending", total_bytes))
        appender = await _append_all(
            session, handle, groups, advance, producer_id or new_producer_id(), epoch, close=close
        )
    if not appender.count and not close:
        raise ConfigurationError("There is nothing to append", hint="Pass messages, or pipe them in")
    _tell(session, stream, appender, _noun(kind), closed=close)


async def _append_all(
    session: Session,
    stream: DurableStream,
    groups: AsyncGenerator[list[Input]],
    advance: Callable[[int], None],
    producer_id: str,
    epoch: int,
    *,
    close: bool,
) -> Appender:
    appender: Appender | None = None
    try:
        async with appending(session, stream, producer_id, epoch) as appender, aclosing(groups):
            async for group in groups:
                await appender.append(group)
                advance(sum(message.size_bytes for message in group))
            await appender.finish(close=close)
    except (DurafoldError, ExceptionGroup) as exc:
        error = single_error(exc)
        if isinstance(error, DurafoldError) and appender is not None and appender.count:
            error.message += f" ({count(appender.count, 'message')} appended before)"
        raise error from None
    return appender


def _noun(content_type: str) -> str:
    if names.is_json(content_type):
        return "message"
    return "line" if names.is_text(content_type) else ""


def _tell(session: Session, stream: str, appender: Appender, noun: str, *, closed: bool) -> None:
    record = {
        "stream": stream,
        "appended": appender.count,
        "bytes": appender.size_bytes,
        "next_offset": appender.next_offset,
        "closed": closed,
    }
    amount = f"{count(appender.count, noun)}, " if noun else ""
    what = f"{amount}{byte_count(appender.size_bytes)}"
    sentence = f"Appended {what} to {stream}, next offset {appender.next_offset}"
    session.output.result(record, sentence + (", closed" if closed else ""))


async def _one_group(arguments: list[bytes]) -> AsyncGenerator[list[Input]]:
    yield [Input(encoded, f"Argument {n}", len(encoded)) for n, encoded in enumerate(arguments, 1)]


def new_producer_id() -> str:
    """A producer id that nobody else has."""
    return f"durafold-cli-{uuid.uuid4().hex[:16]}"


@dataclass(slots=True)
class Appender:
    """Appends through a producer, stops at the first failure, and gives up when the server is away too long.

    Attributes:
        taken: messages that were handed over.
        count: those of them that the server has confirmed.
        size_bytes: the size of those.
        next_offset: the tail behind them.
    """

    producer: IdempotentProducer
    taken: int = 0
    count: int = 0
    size_bytes: int = 0
    next_offset: str | None = None
    _failure: DurafoldError | None = field(default=None, repr=False)

    async def append(self, group: list[Input]) -> None:
        """Hand messages to the producer; waits while too much is on its way.

        Raises:
            DurafoldError: what one of the messages so far has failed with.
        """
        for message in group:
            self._raise_failure()
            on_done = partial(self._done, message.where, len(message.encoded))
            # Trying it without waiting first halves what a short message costs.
            try:
                self.producer.append_nowait(encoded=message.encoded, on_done=on_done)
            except BufferFull:
                await self.producer.append(encoded=message.encoded, on_done=on_done)
            self.taken += 1

    async def finish(self, *, close: bool) -> None:
        """Wait until all is confirmed, and close the stream if asked to.

        Raises:
            DurafoldError: what one of the messages has failed with.
        """
        await self.producer.flush()
        self._raise_failure()
        if close:
            final = await self.producer.close_stream()
            self.next_offset = final.final_offset or self.next_offset

    def _done(self, where: str, size_bytes: int, delivery: Delivery) -> None:
        error = delivery.error
        if error is None:
            self.count += 1
            self.size_bytes += size_bytes
            result = delivery.result
            self.next_offset = (result and result.next_offset) or self.next_offset
        elif self._failure is None:
            if isinstance(error, BadRequest | PayloadTooLarge | Unprocessable):
                error.message = f"{where}: {error.message}"
            self._failure = error

    def _raise_failure(self) -> None:
        if self._failure is not None:
            raise self._failure.with_traceback(None)


@asynccontextmanager
async def appending(
    session: Session, stream: DurableStream, producer_id: str, epoch: int = 0
) -> AsyncGenerator[Appender]:
    """A producer, watched so that it does not wait for ever. Leaving waits for what was appended.

    Raises:
        TransportTimeout: messages were waiting, and none was confirmed for `session.patience_s` seconds.
        DurafoldError: what the producer raises.
    """
    from durafold.client import IdempotentProducer

    producer = IdempotentProducer(stream, producer_id, epoch=epoch, max_buffered_bytes=_MAX_BUFFERED_BYTES)
    appender = Appender(producer)
    async with anyio.create_task_group() as tasks:
        tasks.start_soon(_watch, session, stream.url, appender)
        async with producer:
            yield appender
        tasks.cancel_scope.cancel()


async def _watch(session: Session, url: str, appender: Appender) -> None:
    quiet_since_s, progress, told = anyio.current_time(), (0, 0), False
    while True:
        await anyio.sleep(_WATCH_INTERVAL_S)
        before, progress = progress, (appender.taken, appender.count)
        if progress != before or not appender.producer.pending_count:
            quiet_since_s, told = anyio.current_time(), False
        quiet_s = anyio.current_time() - quiet_since_s
        if quiet_s > session.patience_s:
            raise TransportTimeout(
                f"The server has confirmed nothing for {session.patience_s:g} s",
                stream=url,
                hint="Is the server running? --timeout SECONDS waits longer",
            )
        if quiet_s > _REMARK_AFTER_S and not told:
            told = True
            session.output.remark("The server does not answer; trying again (Ctrl-C gives up)")
