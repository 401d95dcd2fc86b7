"""R14, liveness: clients that lost their server together do not come back together.

The clock is that of `trio.testing`, and the server a function, so that six seconds pass at once.
"""

from __future__ import annotations

import random
from collections import Counter
from collections.abc import AsyncIterator, Iterator
from contextlib import AsyncExitStack
from typing import Any, Final

import anyio
import httpx
import pytest
import trio.testing

from durafold.client import Transport
from durafold.provider import Provider

pytestmark = pytest.mark.anyio

CLIENTS: Final = 200
OUTAGE_S: Final = 6.0

_CONTROL: Final = b'event: control\ndata: {"streamNextOffset":"0001","streamCursor":"1","upToDate":true}\n\n'
_PAGE: Final = {
    "Content-Type": "application/json",
    "Stream-Next-Offset": "0001",
    "Stream-Up-To-Date": "true",
}


@pytest.fixture
def anyio_backend() -> Any:
    """The event loop whose clock jumps to the next moment at which something happens."""
    return "trio", {"clock": trio.testing.MockClock(autojump_threshold=0)}


@pytest.fixture(autouse=True)
def _seeded() -> Iterator[None]:
    """The same jitter in every run, but for the order in which tasks run."""
    before = random.getstate()
    random.seed(20)
    yield
    random.setstate(before)


class Town(httpx.AsyncBaseTransport):
    """A server with one empty stream, that may be away, and notes when it is asked.

    Attributes:
        asked_at: seconds of all requests since it went away.
    """

    def __init__(self) -> None:
        self.is_away = False
        self.breaks = anyio.Event()
        self.asked_at: list[float] = []

    def leave(self) -> None:
        """All connections break, and new ones are refused."""
        self.is_away = True
        self.asked_at.clear()
        self.breaks.set()

    def come_back(self) -> None:
        """New connections are served."""
        self.is_away, self.breaks = False, anyio.Event()

    async def handle_async_request(self, request: httpx.Request) -> httpx.Response:
        self.asked_at.append(anyio.current_time())
        if self.is_away:
            raise httpx.ConnectError("refused", request=request)
        if "live" in request.url.params:
            return httpx.Response(
                200, headers={"Content-Type": "text/event-stream"}, stream=_Events(self.breaks)
            )
        return httpx.Response(200, headers=_PAGE, stream=_Page())


class _Events(httpx.AsyncByteStream):
    """A live connection that breaks when the server goes away."""

    def __init__(self, breaks: anyio.Event) -> None:
        self._breaks = breaks

    async def __aiter__(self) -> AsyncIterator[bytes]:
        yield _CONTROL
        while not self._breaks.is_set():
            with anyio.move_on_after(5):
                await self._breaks.wait()
            yield b": heartbeat\n\n"
        raise httpx.ReadError("the connection broke")


class _Page(httpx.AsyncByteStream):
    """The stream's content: nothing."""

    async def __aiter__(self) -> AsyncIterator[bytes]:
        yield b"[]"


async def test_r14_an_outage_of_six_seconds_makes_no_stampede(capsys: pytest.CaptureFixture[str]) -> None:
    town = Town()
    async with AsyncExitStack() as stack:
        clients = [httpx.AsyncClient(transport=town, trust_env=False) for _ in range(CLIENTS)]
        parties = [
            await stack.enter_async_context(Provider("http://town.test", transport=Transport(client=client)))
            for client in clients
        ]
        counts = [party.server_state(0, "count") for party in parties]
        await until_all(counts, "live")

        town.leave()
        left_at = anyio.current_time()
        await anyio.sleep(OUTAGE_S)
        away = [moment - left_at for moment in town.asked_at]
        town.asked_at.clear()
        town.come_back()
        back_at = anyio.current_time()
        await until_all(counts, "live")
        back = [moment - back_at for moment in town.asked_at]

    late = Counter(int(moment * 10) for moment in away if moment >= 1)
    returns = Counter(int(moment * 10) for moment in back)
    with capsys.disabled():
        print(
            f"\n{CLIENTS} clients, {OUTAGE_S:g} s away: {len(away)} attempts, {len(away) / CLIENTS:.1f} each,"
            f" at most {max(late.values())} in 0.1 s after the first second; then all back in"
            f" {max(back):.1f} s, at most {max(returns.values())} requests in 0.1 s"
        )
    assert len(away) <= 16 * CLIENTS
    assert max(late.values()) <= CLIENTS / 5
    assert max(returns.values()) <= CLIENTS / 4
    assert max(back) <= 12


async def until_all(handles: Any, status: str) -> None:
    """Wait until all have a status."""
    while any(handle.status != status for handle in handles):
        await anyio.sleep(0.05)
