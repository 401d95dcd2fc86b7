"""The `__registry__` stream: what the writes of a decision mean for those who follow which streams there are.

It is an ordinary JSON stream of the State Protocol's change messages, of type `stream`, keyed by path. Its
messages are among the writes of the very decision that they tell of, so it is never ahead of the streams nor
behind. It cannot grow for ever either: `carried_forward` writes what still holds of its oldest messages once
more at the tail, and lets the stream begin behind them. So whoever reads it from its beginning, wherever that
is, has an insert for every living stream, and whoever was reading before that beginning gets 410.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from typing import Any, Final, NamedTuple

import msgspec
from msgspec.structs import replace

from durafold.wire import names
from durafold_server.protocol import lifetimes
from durafold_server.protocol.json_mode import page_body
from durafold_server.protocol.model import (
    AppendData,
    Decide,
    Decision,
    Loaded,
    Mode,
    Payload,
    R,
    RemoveStream,
    SaveStream,
    StreamState,
    Write,
)

PATH: Final = "__registry__"


class Carried(NamedTuple):
    """The registry after some of its messages were carried forward: how many, and their bytes."""

    registry: StreamState
    messages: int
    bytes: int


_Message = dict[str, Any]
_PIECE_BYTES: Final = 128 * 1024


class _Keyed(msgspec.Struct):
    """A message as far as tidying up is concerned."""

    key: str


_keys: Final = msgspec.json.Decoder(list[_Keyed])


def recording(decide: Decide[R]) -> Decide[R]:
    """The same decision, which also appends to the registry what it does. The registry's is the last key."""

    def decide_and_record(found: Sequence[Loaded], now_us: int) -> Decision[R]:
        *others, last = found
        decision = decide(others, now_us)
        registry = last.stream
        if not decision.writes or registry is None or not registry.internal:
            return decision
        messages = list(_changes(decision.writes, others, now_us))
        if not messages:
            return decision
        return Decision([*decision.writes, *_append(registry, messages)], decision.result)

    return decide_and_record


def begun(streams: Iterable[StreamState]) -> Decide[None]:
    """The decision to begin a registry with an insert for each of these streams. Its key is the only one."""

    def decide(found: Sequence[Loaded], now_us: int) -> Decision[None]:
        if found[0].stream is not None:
            return Decision((), None)
        registry = StreamState(
            id=now_us,
            path=PATH,
            content_type=names.JSON_CONTENT_TYPE,
            mode=Mode.JSON,
            used_us=now_us,
            internal=True,
        )
        return Decision(_append(registry, [_insert(stream) for stream in streams]), None)

    return decide


def ended(found: Sequence[Loaded], _now_us: int) -> Decision[StreamState | None]:
    """The decision to remove the registry, if there is one: it is not to be kept any longer."""
    registry = found[0].stream
    if registry is None or not registry.internal:
        return Decision((), None)
    return Decision([RemoveStream(registry)], registry)


def carried_forward(seen: StreamState, end: int) -> Decide[Carried]:
    """The decision to let the registry begin at `end`, with what still holds of the messages before.

    Its keys are the registry's, and the paths that these messages are about.

    Args:
        seen: the registry as it was when they were read; if it begins elsewhere by now, nothing is done.
        end: position after them.
    """

    def decide(found: Sequence[Loaded], _now_us: int) -> Decision[Carried]:
        registry = found[0].stream
        if registry is None or (registry.id, registry.start) != (seen.id, seen.start):
            return Decision((), Carried(seen, 0, 0))
        streams = (loaded.stream for loaded in found[1:])
        messages = [_insert(stream) for stream in streams if stream is not None and not stream.deleted]
        writes = _append(replace(registry, start=end), messages)
        after = next(write.stream for write in writes if isinstance(write, SaveStream))
        return Decision(writes, Carried(after, len(messages), after.tail - registry.tail))

    return decide


def paths_in(data: bytes) -> list[str]:
    """The paths that stored messages are about, each once."""
    return list(dict.fromkeys(message.key for message in _keys.decode(page_body(data))))


def _changes(writes: Iterable[Write], found: Sequence[Loaded], now_us: int) -> Iterator[_Message]:
    """A message for each stream that appears, is closed, or goes."""
    known = {loaded.stream.id: loaded.stream for loaded in found if loaded.stream is not None}
    for write in writes:
        match write:
            case SaveStream(after):
                before = known.get(after.id)
                if before is None:
                    yield _insert(after)
                elif after.deleted and not before.deleted:
                    yield _delete(before, now_us)
                elif after.closed and not before.closed:
                    yield _update(after, now_us)
                known[after.id] = after
            case RemoveStream(stream) if not stream.deleted:  # else it was told when it was soft-deleted
                yield _delete(stream, now_us)
            case _:
                pass


def _insert(stream: StreamState) -> _Message:
    return _message("insert", stream.path, stream.id, value=_value(stream))


def _update(stream: StreamState, now_us: int) -> _Message:
    return _message("update", stream.path, now_us, value=_value(stream))


def _delete(stream: StreamState, now_us: int) -> _Message:
    reason = "expired" if lifetimes.is_expired(stream, now_us) else "deleted"
    return _message("delete", stream.path, now_us, old_value=_value(stream), reason=reason)


def _message(operation: str, path: str, at_us: int, *, reason: str | None = None, **values: Any) -> _Message:
    headers = {"operation": operation, "timestamp": lifetimes.format_rfc3339(at_us)}
    if reason is not None:
        headers["reason"] = reason
    return {"type": "stream", "key": path, **values, "headers": headers}


def _value(stream: StreamState) -> dict[str, object]:
    value: dict[str, object] = {
        "path": stream.path,
        "contentType": stream.content_type,
        "createdAt": stream.id // 1000,
    }
    if stream.fork is not None:
        value["forkedFrom"] = stream.fork.source_path
        value["forkOffset"] = stream.offset(stream.fork.at)
    if stream.closed:
        value["closed"] = True
    return value


def _append(registry: StreamState, messages: Sequence[_Message]) -> list[Write]:
    """The registry with these messages, and the messages, in pieces that are quick to read."""
    position, writes = registry.tail, list[Write]()
    for payload in _payloads(messages):
        writes.append(AppendData(registry.id, position, payload))
        position += len(payload.data)
    return [SaveStream(replace(registry, tail=position)), *writes]


def _payloads(messages: Iterable[_Message]) -> Iterator[Payload]:
    piece: list[bytes] = []
    size = 0
    for message in messages:
        piece.append(msgspec.json.encode(message) + b",")
        size += len(piece[-1])
        if size >= _PIECE_BYTES:
            yield Payload(b"".join(piece), len(piece))
            piece, size = [], 0
    if piece:
        yield Payload(b"".join(piece), len(piece))
