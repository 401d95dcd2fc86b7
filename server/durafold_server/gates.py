"""Who may be asked before an append is accepted: what the service needs of them, and nothing about how."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, Protocol, TypeAlias

from durafold_server.protocol.decide import Appended, Created
from durafold_server.protocol.model import Decision, StreamState
from durafold_server.protocol.requests import AppendRequest, CreateRequest

Check: TypeAlias = Callable[[StreamState | None, Decision[Any]], None]
"""Called within the transaction, with the stream before it and the decision about it. Pure and quick.

Raises `ProtocolError` to refuse what was decided, and `Outdated` to have it all tried again by the caller.
"""


class Gate(Protocol):
    """Is asked before appends to some streams are accepted."""

    def concerns(self, path: str) -> bool:
        """Whether it wants to be asked about a stream."""
        ...

    async def append(self, request: AppendRequest) -> Appended:
        """Carry out an append by `StreamService.append_if`, or refuse it."""
        ...

    async def create(self, request: CreateRequest) -> Created:
        """Carry out a create request by `StreamService.create_if`, or refuse it."""
        ...

    async def may_trim(self, stream: StreamState, position: int) -> bool:
        """Whether the data before a position is not needed."""
        ...

    async def aclose(self) -> None:
        """Finish what was begun; the store is open still."""
        ...
