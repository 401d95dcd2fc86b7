"""`crowd`: very many tabs of a Reflex app at once, all of which listen."""

from __future__ import annotations

from collections.abc import AsyncIterator, Callable, Iterable
from contextlib import AsyncExitStack, asynccontextmanager
from typing import Any, Final

import anyio
from websockets.asyncio.client import ClientConnection, connect
from websockets.exceptions import ConnectionClosed

from support.reflex_tab import ReflexTalk

__all__ = ["CrowdTab", "crowd"]

_PATIENCE_S: Final = 120.0


class CrowdTab:
    """A tab in a crowd: what it has heard, and a way to trigger its events."""

    def __init__(self, talk: ReflexTalk, socket: ClientConnection) -> None:
        self.talk = talk
        self._socket = socket
        self._news = anyio.Event()

    async def send(self, handler: str, **payload: Any) -> None:
        """See `ReflexTab.send`."""
        await self._socket.send(self.talk.event(handler, payload))

    async def wait_for(self, condition: Callable[[], bool]) -> None:
        """Wait until what the tab has heard makes the condition hold."""
        with anyio.fail_after(_PATIENCE_S):
            while not condition():
                await self._news.wait()

    async def listen(self) -> None:
        """Hear everything until the socket closes."""
        try:
            async for frame in self._socket:
                if (answer := self.talk.hear(str(frame))) is not None:
                    await self._socket.send(answer)
                self._news.set()
                self._news = anyio.Event()
        except ConnectionClosed:
            return


@asynccontextmanager
async def crowd(talks: Iterable[ReflexTalk]) -> AsyncIterator[list[CrowdTab]]:
    """Open a tab for each, one after the other, and close them all in the end."""
    tabs: list[CrowdTab] = []
    async with anyio.create_task_group() as tasks, AsyncExitStack() as stack:
        for talk in talks:
            socket = await stack.enter_async_context(connect(talk.address, proxy=None))
            await socket.recv()  # Engine.IO's own greeting
            await socket.send(talk.greeting())
            tab = CrowdTab(talk, socket)
            tasks.start_soon(tab.listen)
            await tab.wait_for(lambda talk=talk: talk.is_hydrated)  # type: ignore[misc]
            tabs.append(tab)
        yield tabs
