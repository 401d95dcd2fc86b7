"""What `append` and its like read: arguments and standard input, as messages ready to be sent."""

from __future__ import annotations

import os
import select
import stat
import sys
from collections.abc import AsyncGenerator, AsyncIterator, Callable, Generator, Iterable
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import BinaryIO, Final, Literal, TextIO

import anyio.from_thread
import anyio.to_thread

from durafold.cli.messages import LineSplitter, as_json_string, check_json_line
from durafold.errors import ConfigurationError
from durafold.wire import names

__all__ = [
    "CHUNK_BYTES",
    "Form",
    "Input",
    "encoded_argument",
    "form_of",
    "messages_of",
    "open_input",
    "read_chunks",
    "size_of",
    "wait_for_input",
]

CHUNK_BYTES: Final = 64 * 1024
MAX_MESSAGE_BYTES: Final = 4 * 1024 * 1024
_LOOK_EVERY_S: Final = 0.1

Form = Literal["json-lines", "text-lines", "lines", "bytes"]
"""What input is: lines of JSON, lines that become JSON strings, lines as they are, bytes as they come."""


@dataclass(frozen=True, slots=True)
class Input:
    """A piece of input, ready to be appended.

    Attributes:
        encoded: one message of a JSON stream, or a part of a byte stream.
        where: its place, for error messages: `line 3`.
        size_bytes: how much of the input it is.
    """

    encoded: bytes
    where: str
    size_bytes: int


def form_of(content_type: str, *, text: bool, raw: bool) -> Form:
    """How to read the input of a stream of this type.

    Raises:
        ConfigurationError: the options do not go with the type.
    """
    if names.is_json(content_type):
        if raw:
            raise ConfigurationError(
                "--raw is for streams of bytes, and this is a JSON stream",
                hint="Use --text to append each line as a string",
            )
        return "text-lines" if text else "json-lines"
    return "lines" if names.is_text(content_type) and not raw else "bytes"


def encoded_argument(argument: str, content_type: str, *, text: bool, raw: bool = False) -> bytes:
    """An argument as a message: JSON for JSON streams, a line for text, else just its bytes.

    Raises:
        ConfigurationError: it does not go with the type, or is empty.
    """
    data = argument.encode("utf-8", "surrogateescape")
    form = form_of(content_type, text=text, raw=raw)
    if form == "text-lines":
        return as_json_string(data, "The argument")
    if form == "json-lines":
        data = check_json_line(data, "The argument")
    if form == "lines":
        return data if data.endswith(b"\n") else data + b"\n"
    if not data:
        raise ConfigurationError("An empty message cannot be appended")
    return data


async def messages_of(chunks: AsyncIterator[bytes], form: Form) -> AsyncGenerator[list[Input]]:
    """The input as messages, in groups as it comes; never more than one unfinished line is held back.

    Raises:
        ConfigurationError: a line is not what it should be; the message names it.
    """
    if form == "bytes":
        async for chunk in chunks:
            yield [Input(chunk, "The input", len(chunk))]
        return
    splitter, encode, line_number = LineSplitter(MAX_MESSAGE_BYTES), _ENCODERS[form], 0
    async for chunk in chunks:
        lines = splitter.feed(chunk)
        yield _encoded(lines, line_number, encode)
        line_number += len(lines)
    rest = splitter.rest()
    if rest:
        yield _encoded([rest], line_number, encode)


def _encoded(lines: Iterable[bytes], lines_before: int, encode: Callable[[bytes, str], bytes]) -> list[Input]:
    found = []
    for number, line in enumerate(lines, lines_before + 1):
        where = f"Line {number}"
        encoded = encode(line, where)
        if encoded:
            found.append(Input(encoded, where, len(line)))
    return found


def _as_it_is(line: bytes, where: str) -> bytes:  # noqa: ARG001
    return line


_ENCODERS: Final[dict[str, Callable[[bytes, str], bytes]]] = {
    "json-lines": check_json_line,
    "text-lines": as_json_string,
    "lines": _as_it_is,
}


@contextmanager
def open_input(path: Path | None) -> Generator[BinaryIO]:
    """The file to read from; standard input for none and for `-`.

    Raises:
        ConfigurationError: it cannot be opened.
    """
    if path is None or str(path) == "-":
        if sys.stdin is None:  # closed by whoever started this
            raise ConfigurationError("There is no standard input", hint="Name a file, or pass messages")
        yield sys.stdin.buffer
        return
    try:
        file = path.open("rb")
    except OSError as exc:
        raise ConfigurationError(f"Cannot read {path} ({exc.strerror})") from exc
    with file:
        yield file


def size_of(source: BinaryIO) -> int | None:
    """How many bytes there are to read; None for pipes and terminals, where nobody knows."""
    try:
        status = os.fstat(source.fileno())
    except OSError:
        return None
    return status.st_size if stat.S_ISREG(status.st_mode) else None


async def read_chunks(source: BinaryIO) -> AsyncIterator[bytes]:
    """What there is to read, in chunks, as soon as it comes."""
    while chunk := await anyio.to_thread.run_sync(_next_chunk, source):
        yield chunk


def _next_chunk(source: BinaryIO) -> bytes:
    wait_for_input(source)
    return os.read(source.fileno(), CHUNK_BYTES)


def wait_for_input(source: BinaryIO | TextIO) -> None:
    """Wait in a worker thread until there is something to read, or until the waiting task is cancelled.

    A thread that simply reads would keep the process alive after Ctrl-C, until the next line is typed.
    """
    while not select.select([source], [], [], _LOOK_EVERY_S)[0]:
        anyio.from_thread.check_cancelled()
