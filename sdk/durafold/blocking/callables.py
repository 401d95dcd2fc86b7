"""What blocking code passes in, made fit for the event loop: a function there must not make the loop wait."""

from __future__ import annotations

import inspect
from collections.abc import Awaitable, Callable, Iterable, Iterator
from typing import Any, Final, Self

from anyio import to_thread

from durafold.client import dynamic

__all__ = ["Chunks", "Token", "in_threads"]

_END: Final = object()


class Token(dynamic.Token):
    """A credential that is fetched when it is first needed, kept, and fetched anew when a server refuses it.

    As `durafold.client.Token`, but `fetch` runs in a worker thread and may take its time.

    Args:
        fetch: a function that returns the credential. What it raises counts as a failed attempt.
        scheme: word before it in the header's value; empty for none.
    """

    def __init__(self, fetch: Callable[[], str], *, scheme: str = "Bearer") -> None:
        super().__init__(_in_thread(fetch), scheme=scheme)


def in_threads(values: dynamic.Values | None) -> dynamic.Values | None:
    """Headers or parameters whose ordinary functions run in worker threads."""
    if values is None:
        return None
    if callable(values):
        return _in_thread(values)
    return {name: _in_thread(value) if callable(value) else value for name, value in values.items()}


def _in_thread(function: Callable[[], Any]) -> Callable[[], Awaitable[Any]]:
    if isinstance(function, dynamic.Token) or inspect.iscoroutinefunction(function):
        return function

    async def call() -> Any:
        result = await to_thread.run_sync(function)
        return await result if inspect.isawaitable(result) else result

    return call


class Chunks:
    """An ordinary iterable as an asynchronous one; each piece is drawn in a worker thread."""

    def __init__(self, source: Iterable[bytes | str]) -> None:
        self._source: Iterator[bytes | str] = iter(source)

    def __aiter__(self) -> Self:
        return self

    async def __anext__(self) -> bytes | str:
        chunk = await to_thread.run_sync(next, self._source, _END)
        if chunk is _END:
            raise StopAsyncIteration
        assert isinstance(chunk, bytes | str)
        return chunk
