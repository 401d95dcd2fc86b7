"""Which part of a page is printed, where a reader skips what it has seen and stops after so many. Pure."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from durafold.cli.checkpoint import Place
from durafold.cli.messages import split_array
from durafold.errors import ConfigurationError
from durafold.wire import names

if TYPE_CHECKING:
    from durafold.client import Page

__all__ = ["Part", "Window", "lines_of"]


@dataclass(frozen=True, slots=True)
class Part:
    """What is to be printed of a page.

    Attributes:
        page: the page it is of.
        messages: texts of the messages of a JSON stream; None for other streams.
        data: the bytes of another stream.
        after: the place behind it.
        is_whole: it is the whole page.
    """

    page: Page
    messages: list[str] | None
    data: bytes
    after: Place
    is_whole: bool


@dataclass(slots=True)
class Window:
    """Skips, then lets through until a limit is reached.

    Attributes:
        skip: how much is still to be skipped: messages of a JSON stream, bytes of others.
        limit: how many messages of a JSON stream or lines of a text stream are still let through; None for
            no limit.
    """

    skip: int = 0
    limit: int | None = None

    @property
    def is_full(self) -> bool:
        """Whether nothing more will be let through."""
        return self.limit == 0

    def cut(self, page: Page) -> Part:
        """The part of the next page that is to be printed.

        Raises:
            ConfigurationError: there is a limit, and the stream has neither messages nor lines.
            MalformedResponse: the page is not JSON.
        """
        return self._cut_json(page) if names.is_json(page.content_type) else self._cut_bytes(page)

    def _cut_json(self, page: Page) -> Part:
        messages = split_array(page.data)
        skipped = min(self.skip, len(messages))
        shown = messages[skipped:]
        if self.limit is not None:
            shown = shown[: self.limit]
            self.limit -= len(shown)
        after = self._after(page, skipped, skipped + len(shown), len(messages))
        return Part(page, shown, b"", after, len(shown) == len(messages))

    def _cut_bytes(self, page: Page) -> Part:
        skipped = min(self.skip, len(page.data))
        shown = page.data[skipped:]
        if self.limit is not None:
            shown = self._first_lines(shown, page.content_type)
        after = self._after(page, skipped, skipped + len(shown), len(page.data))
        return Part(page, None, shown, after, len(shown) == len(page.data))

    def _first_lines(self, data: bytes, content_type: str) -> bytes:
        assert self.limit is not None
        lines = lines_of(data, content_type)[: self.limit]
        # A line without its end may go on in the next page, and counts when it ends.
        self.limit -= sum(line.endswith(b"\n") for line in lines)
        return b"".join(lines)

    def _after(self, page: Page, skipped: int, done: int, size: int) -> Place:
        self.skip -= skipped
        return Place(page.offset, done) if done < size else Place(page.next_offset, self.skip)


def lines_of(data: bytes, content_type: str) -> list[bytes]:
    """The lines of a text, with their ends; only line feeds end lines.

    Raises:
        ConfigurationError: it is not a stream of text.
    """
    if not names.is_text(content_type) and content_type != "application/x-ndjson":
        raise ConfigurationError(
            f"-n counts messages or lines, and a stream of {content_type} has neither",
            hint="Read it without -n",
        )
    *complete, rest = data.split(b"\n")
    return [*(line + b"\n" for line in complete), *([rest] if rest else [])]
