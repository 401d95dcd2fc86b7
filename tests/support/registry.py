"""What the `__registry__` stream tells, folded as the State Protocol says."""

from __future__ import annotations

import json
from collections.abc import Iterable
from typing import Any

from durafold_server.protocol.json_mode import page_body
from durafold_server.service import StreamService

__all__ = ["fold", "messages", "registered"]


def fold(messages: Iterable[dict[str, Any]]) -> dict[str, dict[str, Any]]:
    """The streams that messages leave, by path."""
    streams: dict[str, dict[str, Any]] = {}
    for message in messages:
        assert message["type"] == "stream"
        if message["headers"]["operation"] == "delete":
            streams.pop(message["key"], None)
        else:
            assert message["headers"]["operation"] in ("insert", "update")
            assert message["value"]["path"] == message["key"]
            streams[message["key"]] = message["value"]
    return streams


async def messages(service: StreamService) -> list[dict[str, Any]]:
    """All messages that a service's registry retains, read from its store; none if there is no registry."""
    registry = await service.store.load("__registry__")
    data, position = b"", registry.start if registry is not None else 0
    while registry is not None and position < registry.tail:
        page = await service.store.read(
            registry.id, position, until=registry.tail, max_bytes=1 << 20, framed=True
        )
        assert page.data, f"the registry lacks data at {position} of {registry.tail}"
        data, position = data + page.data, page.end
    decoded: list[dict[str, Any]] = json.loads(page_body(data))
    return decoded


async def registered(service: StreamService) -> dict[str, bool]:
    """Whether each stream is closed, by path, as a service's registry has it."""
    return {path: value.get("closed", False) for path, value in fold(await messages(service)).items()}
