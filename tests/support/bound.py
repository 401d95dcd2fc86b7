"""Services whose streams are bound to reducers, for tests without HTTP."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

from durafold_server.config import ServiceSettings
from durafold_server.protocol.decide import Appended, Created
from durafold_server.protocol.errors import ActionRefused
from durafold_server.reducers.bindings import load_bindings
from durafold_server.reducers.checkpoints import Folded
from durafold_server.reducers.gate import ReducerGate
from durafold_server.service import StreamService
from durafold_server.store.base import StreamStore
from durafold_server.store.sqlite import SqliteStore
from support.server_requests import JSON, append_request, create_request
from support.server_stores import ManualClock, open_store

__all__ = ["Shop", "receive", "take"]

BINDINGS = ("stock/**=support.stock:stock", "shops/opening=support.stock:opening")


def receive(count: int) -> dict[str, Any]:
    """More has come."""
    return {"type": "receive", "count": count}


def take(count: int = 1) -> dict[str, Any]:
    """Somebody wants some."""
    return {"type": "take", "count": count}


def body(messages: tuple[Any, ...]) -> bytes:
    """An append of several messages."""
    return json.dumps(list(messages)).encode()


class Shop:
    """Services on one kind of store, one after another, with streams that are bound to a stock."""

    def __init__(self, kind: str, directory: Path) -> None:
        self.kind = kind
        self.clock = ManualClock()
        self.service: StreamService
        self.gate: ReducerGate
        self._directory = directory
        self._store: StreamStore | None = None

    async def open(self, *bindings: str, **settings: Any) -> None:
        """A service on what the last one left."""
        await self.aclose()
        if self._store is None or self.kind != "memory":
            self._store = await open_store(self.kind, self._directory, self.clock)
        chosen = ServiceSettings(**settings)
        self.service = StreamService(self._store, chosen, clock=self.clock)
        await self.service.start()
        self.gate = ReducerGate(self.service, load_bindings(bindings or BINDINGS), chosen)

    async def aclose(self) -> None:
        """End the service, if there is one; what is in memory stays."""
        if hasattr(self, "service"):
            await self.service.aclose()

    @property
    def sqlite(self) -> SqliteStore:
        """The store, to make it fail."""
        assert isinstance(self._store, SqliteStore)
        return self._store

    async def create(self, path: str, *messages: Any, **headers: str) -> Created:
        """A stream with these messages."""
        request = create_request(path, body(messages) if messages else b"", content_type=JSON, **headers)
        return await self.service.create(request)

    async def append(self, path: str, *messages: Any, **headers: str) -> Appended:
        """Append these messages."""
        headers = {"content_type": JSON, **headers}
        return await self.service.append(append_request(path, body(messages), **headers))

    async def is_accepted(self, path: str, *messages: Any) -> bool:
        """Whether the reducer accepts them."""
        try:
            return (await self.append(path, *messages)).added_data
        except ActionRefused:
            return False

    async def folded(self, path: str) -> Folded:
        """The state of a stream and how far it reaches."""
        return (await self.gate.state(path))[1]

    async def state(self, path: str) -> Any:
        """The state of a stream."""
        return (await self.folded(path)).confirmed.state

    async def log(self, path: str) -> list[Any]:
        """The messages of a stream, as a reader gets them."""
        stream = await self.service.head(path)
        data, position = b"", stream.start
        while position < stream.tail:
            view = await self.service.view(stream, position)
            data, position = data + view.data, view.end
        return list(json.loads(b"[" + data[:-1] + b"]"))
