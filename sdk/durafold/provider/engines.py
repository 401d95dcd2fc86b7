"""`Engines`: one engine for each key of a provider, as long as somebody uses it."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any, TypeVar

import anyio
from anyio.abc import TaskGroup

from durafold.client import DurableStream
from durafold.engine import Declaration, Engine, EngineOptions, define, snapshots_of
from durafold.hydrate import hydrated_state
from durafold.outbox import Outbox
from durafold.provider.connection import Connections
from durafold.provider.shared import SharedEngine
from durafold.snapshots import SnapshotPolicy

__all__ = ["Engines"]

S = TypeVar("S")


@dataclass(eq=False, slots=True)
class Engines:
    """The engines of a provider: begun with the first handle of a key, ended after the last.

    Attributes:
        base_url: where the server's streams are.
        options: settings that all of them share.
        open_stream: gives the stream of a key.
        snapshots: whether and when snapshots are written beside the streams.
        outbox: where actions are kept until they have come back.
        close_timeout_s: seconds that an engine has to send what was dispatched, after its last handle.
        shared: those in use, by key.
        retired: those that nobody uses, with something left to send.
        connections: how those in use are doing.
    """

    base_url: str
    options: EngineOptions
    open_stream: Callable[[str], DurableStream]
    snapshots: SnapshotPolicy | None
    outbox: Outbox | None
    close_timeout_s: float
    shared: dict[str, SharedEngine[Any]] = field(default_factory=dict)
    retired: set[Engine[Any]] = field(default_factory=set)
    connections: Connections = field(init=False)

    def __post_init__(self) -> None:
        self.connections = Connections(self.shared, self.options.on_error, self.options.clock)

    def all(self) -> list[Engine[Any]]:
        """All that run."""
        return [*(shared.engine for shared in self.shared.values()), *self.retired]

    def use(self, declaration: Declaration[S], tasks: TaskGroup) -> SharedEngine[S]:
        """The engine of a key, for one more user.

        Raises:
            ConfigurationError: the declaration cannot work, or the key is in use with another one.
        """
        key = declaration.key
        shared = self.shared.get(key)
        engine = self._ending(key) if shared is None else shared.engine
        if engine is None:
            engine = self._begun(declaration, tasks)
        else:
            engine.definition.declaration.require_same(declaration)
        if shared is None:
            self.retired.discard(engine)
            shared = self.shared[key] = SharedEngine(engine)
            self.connections.look()
        shared.users += 1
        return shared

    def release(self, shared: SharedEngine[Any], tasks: TaskGroup) -> None:
        """A user has gone: after the last, the engine ends once everything is sent."""
        shared.users -= 1
        if not shared.users:
            del self.shared[shared.engine.definition.key]
            self.retired.add(shared.engine)
            self.connections.look()
            tasks.start_soon(self._retire, shared.engine)

    async def flushed(self) -> None:
        """Wait until the server has durably what was dispatched, or will never have it."""
        for engine in self.all():
            await engine.flushed()

    def stop(self) -> None:
        """End all at once."""
        self.connections.end()
        for engine in self.all():
            engine.stop()

    def _ending(self, key: str) -> Engine[Any] | None:
        """With an outbox, an engine that is about to end goes on: two would be the same client."""
        ending = (engine for engine in self.retired if engine.definition.key == key and self.outbox)
        return next(ending, None)

    def _begun(self, declaration: Declaration[S], tasks: TaskGroup) -> Engine[S]:
        engine = self._new(declaration)
        tasks.start_soon(engine.run, name=f"durafold {declaration.key}")
        self.connections.watch(engine)
        return engine

    def _new(self, declaration: Declaration[S]) -> Engine[S]:
        definition = define(declaration, strict=self.options.strict)
        scope = self.options.cache_scope or ""
        return Engine(
            definition,
            self.open_stream(declaration.key),
            self.options,
            base_url=self.base_url,
            hydrated=hydrated_state(definition),
            outbox=self.outbox.of(self.base_url, scope, declaration.key) if self.outbox else None,
            snapshots=snapshots_of(definition, self.snapshots, self.open_stream),
        )

    async def _retire(self, engine: Engine[Any]) -> None:
        with anyio.move_on_after(self.close_timeout_s):
            await engine.flushed()
        if engine in self.retired:
            engine.stop()
            self.retired.discard(engine)
