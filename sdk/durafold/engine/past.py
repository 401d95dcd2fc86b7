"""What a stream was before: all its messages, read anew, and the states between them."""

from __future__ import annotations

from typing import Any, TypeVar

from durafold.client import DurableStream, Offset
from durafold.engine.definition import Definition
from durafold.state.history import History
from durafold.wire.envelope import Envelopes
from durafold.wire.offsets import START

__all__ = ["read_history", "state_at"]

S = TypeVar("S")


async def read_history(stream: DurableStream, definition: Definition[S]) -> History[S]:
    """Read the whole stream, with every state that it has gone through.

    Raises:
        StreamGone: the server no longer keeps the beginning.
        DurafoldError: it does not answer, or refuses.
    """
    messages: list[Any] = []
    offset: Offset = START
    async for page in stream.pages():
        page.require_beginning()
        messages += page.json()
        offset = page.next_offset
    return History(definition.step, definition.initial, Envelopes(messages), offset)


async def state_at(stream: DurableStream, definition: Definition[S], offset: Offset) -> S:
    """The state at an offset of the stream; see `read_history` for what it raises."""
    history = await read_history(stream, definition)
    later = 0
    async for page in stream.pages(offset):
        later += len(page.json()) if page.next_offset <= history.offset else 0
    return history.at(len(history) - later)
