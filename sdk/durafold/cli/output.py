"""Everything that commands print: data to standard output, everything else to standard error.

Three forms: for people at a terminal (colours, tables), the same as plain text where the output is no
terminal, and one line of JSON a record with `--json`.
"""

from __future__ import annotations

import os
import select
import sys
import time
from collections.abc import Callable, Generator, Mapping, Sequence
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any, Final

from durafold.cli.exits import CommandFailed
from durafold.cli.formatting import compact, escaped

if TYPE_CHECKING:
    from rich.console import Console
    from rich.progress import Progress, TaskID

__all__ = ["Output", "OutputClosed", "discard_output"]

_SHOW_AFTER_S: Final = 0.5
"""Transfers that take longer than this get a progress bar."""


class OutputClosed(Exception):
    """Nobody reads standard output any more."""


class Output:
    """Where a command prints to.

    Args:
        as_json: print records as lines of JSON.

    Attributes:
        as_json: as given.
        is_terminal: whether people look at standard output right now.
    """

    def __init__(self, *, as_json: bool = False) -> None:
        self.as_json = as_json
        self.is_terminal = not as_json and sys.stdout.isatty()

    # ---- data ----

    def write(self, data: bytes) -> None:
        """Bytes as they are, at once.

        Raises:
            OutputClosed: nobody reads them.
            CommandFailed: they cannot be written, for example because the disk is full.
        """
        with _our_errors():
            sys.stdout.flush()
            _write_all(data)

    def line(self, text: str) -> None:
        """One line of text, as it is.

        Raises:
            OutputClosed: nobody reads it.
        """
        self.write(text.encode("utf-8", "surrogateescape") + b"\n")

    def record(self, value: Mapping[str, Any]) -> None:
        """One line of JSON.

        Raises:
            OutputClosed: nobody reads it.
        """
        self.line(compact(value))

    def result(self, value: Mapping[str, Any], sentence: str) -> None:
        """What a command did: the record with `--json`, else the sentence.

        Raises:
            OutputClosed: nobody reads it.
        """
        if self.as_json:
            self.record(value)
        else:
            self.line(escaped(sentence))

    def table(self, columns: Sequence[str], rows: Sequence[Sequence[str]]) -> None:
        """Rows under a head, at a terminal; elsewhere tabs between the columns and no head, for scripts.

        Raises:
            OutputClosed: nobody reads it.
        """
        if not self.is_terminal:
            for row in rows:
                self.line("\t".join(escaped(cell).replace("\t", " ").replace("\n", " ") for cell in row))
            return
        from rich.table import Table
        from rich.text import Text

        table = Table(box=None, pad_edge=False, header_style="bold")
        for column in columns:
            table.add_column(column, overflow="fold")
        for row in rows:
            table.add_row(*(Text(escaped(cell)) for cell in row))
        self.show(table)

    def json_text(self, text: str) -> None:
        """JSON for people: in colours at a terminal.

        Raises:
            OutputClosed: nobody reads it.
        """
        if not self.is_terminal:
            self.line(text)
            return
        from rich.highlighter import JSONHighlighter

        self.show(JSONHighlighter()(text))

    def styled(self, text: str, style: str) -> None:
        """A line in a colour, at a terminal.

        Raises:
            OutputClosed: nobody reads it.
        """
        if not self.is_terminal:
            self.line(text)
            return
        from rich.text import Text

        self.show(Text(text, style=style))

    def show(self, renderable: Any) -> None:
        """Something that rich can draw.

        Raises:
            OutputClosed: nobody reads it.
        """
        with _our_errors():
            self._console.print(renderable, soft_wrap=True)
            sys.stdout.flush()

    @property
    def _console(self) -> Console:
        from rich.console import Console

        return Console(highlight=False)

    # ---- everything else ----

    def remark(self, text: str) -> None:
        """Something about what goes on, for whoever looks on; scripts do not get it."""
        if sys.stderr.isatty():
            print(escaped(text), file=sys.stderr, flush=True)

    def warn(self, text: str) -> None:
        """Something that scripts should get too."""
        print(f"durafold: {escaped(text)}", file=sys.stderr, flush=True)

    @contextmanager
    def progress(self, what: str, total_bytes: int | None = None) -> Generator[Callable[[int], None]]:
        """A progress bar on standard error, at a terminal only, after half a second.

        Args:
            what: what is going on.
            total_bytes: how much there is, if that is known.

        Returns:
            A function that is told how many more bytes were done.
        """
        if not sys.stderr.isatty():
            yield _ignore
            return
        bar = _Bar(what, total_bytes)
        try:
            yield bar.advance
        finally:
            bar.stop()


@contextmanager
def _our_errors() -> Generator[None]:
    try:
        yield
    except BrokenPipeError as exc:
        raise OutputClosed from exc
    except OSError as exc:
        discard_output()
        raise CommandFailed(f"Cannot write the output ({exc.strerror})") from exc


def _ignore(size_bytes: int) -> None:
    """Where there is no progress bar."""


def _write_all(data: bytes) -> None:
    """Write to standard output, past Python's buffer.

    `sys.stdout.buffer.write` says nothing when the reader of a pipe leaves in the middle of a long write.

    Raises:
        BrokenPipeError: nobody reads it.
    """
    try:
        number = sys.stdout.fileno()
    except OSError:  # something else stands in for it
        sys.stdout.buffer.write(data)
        return
    rest = memoryview(data)
    while rest:
        try:
            rest = rest[os.write(number, rest) :]
        except BlockingIOError:  # another program made the terminal non-blocking
            select.select([], [number], [])


class _Bar:
    """A progress bar that appears late."""

    def __init__(self, what: str, total_bytes: int | None) -> None:
        self._what = what
        self._total_bytes = total_bytes
        self._done_bytes = 0
        self._show_at = time.monotonic() + _SHOW_AFTER_S
        self._bar: tuple[Progress, TaskID] | None = None

    def advance(self, size_bytes: int) -> None:
        self._done_bytes += size_bytes
        if self._bar is None and time.monotonic() >= self._show_at:
            self._bar = self._started()
        if self._bar is not None:
            progress, task = self._bar
            progress.update(task, completed=self._done_bytes)

    def stop(self) -> None:
        if self._bar is not None:
            self._bar[0].stop()

    def _started(self) -> tuple[Progress, TaskID]:
        from rich.console import Console
        from rich.progress import BarColumn, DownloadColumn, Progress, TextColumn, TransferSpeedColumn

        progress = Progress(
            TextColumn("{task.description}"),
            BarColumn(),
            DownloadColumn(),
            TransferSpeedColumn(),
            console=Console(stderr=True),
            transient=True,
        )
        progress.start()
        return progress, progress.add_task(self._what, total=self._total_bytes)


def discard_output() -> None:
    """Send what is still buffered nowhere: the interpreter would complain about it at exit."""
    nowhere = os.open(os.devnull, os.O_WRONLY)
    os.dup2(nowhere, sys.stdout.fileno())
    os.close(nowhere)
