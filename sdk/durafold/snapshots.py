"""Snapshots beside a stream: a new client reads one of them and what came after, however long the history is.

A stream `todos` has two companions for each way to fold it,

    todos/__snapshot__/<first 12 digits of the fingerprint>/a
    todos/__snapshot__/<first 12 digits of the fingerprint>/b

each a JSON stream with one message:

    {"type": "snapshot", "v": 1, "snapshot": {"state": ..., "offset": ..., ...}, "digest": "<64 digits>"}

A writer replaces the older one of the two, so a crash in the middle, or several writers at a time, always
leave a whole one; readers take the newer of those that are whole. The digest is SHA-256 of the stream's name
and the snapshot's JSON text with sorted keys, so that one which was copied from another stream is not taken;
with a secret it is HMAC-SHA256, and those of others are not taken either.

Who may write to the companions decides what new clients see: without a secret, let the server give that right
to those only who may write to the stream itself.
"""

from __future__ import annotations

import json
from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass
from typing import Any, Final, Generic, TypeVar

from durafold.client import DurableStream
from durafold.errors import ConfigurationError, DurafoldError, StreamGone, StreamNotFound
from durafold.signing import digest, is_digest, require_secret
from durafold.state.json_values import NotJson
from durafold.state.models import Model
from durafold.state.snapshot import Snapshot, dump_snapshot, load_snapshot
from durafold.wire.names import JSON_CONTENT_TYPE

__all__ = ["SnapshotPolicy", "SnapshotStore", "companion_keys", "newest_or_none"]

S = TypeVar("S")

_FORM: Final = 1
_FINGERPRINT_DIGITS: Final = 12


@dataclass(frozen=True, slots=True)
class SnapshotPolicy:
    """When a client writes a snapshot beside a stream.

    Attributes:
        every: after so many messages since the last one. A server's retention must keep at least three times
            as many.
        write: False: use snapshots, and leave writing to others.
        jitter_s: a writer waits up to so many seconds first, so that of many clients one does it.
        max_bytes: larger ones are not written (the bundled server takes bodies of up to 4 MiB).
        secret: at least 16 bytes; snapshots are signed with it, and others are not taken.

    Examples:
        >>> async with Provider(url, snapshots=SnapshotPolicy(every=500)) as own:
        ...     await own.server_state(0, "long").increment()
        1
    """

    every: int = 1000
    write: bool = True
    jitter_s: float = 1.0
    max_bytes: int = 4 * 1024 * 1024 - 1024
    secret: bytes | None = None

    def __post_init__(self) -> None:
        if self.every < 1:
            raise ConfigurationError(f"every is a number of messages, not {self.every}")
        if self.secret is not None:
            require_secret(self.secret)


def companion_keys(key: str, fingerprint: str) -> tuple[str, str]:
    """Where the snapshots of a stream are.

    Examples:
        >>> companion_keys("todos", "0123456789abcdef" * 2)
        ('todos/__snapshot__/0123456789ab/a', 'todos/__snapshot__/0123456789ab/b')
    """
    base = f"{key}/__snapshot__/{fingerprint[:_FINGERPRINT_DIGITS]}"
    return f"{base}/a", f"{base}/b"


class SnapshotStore(Generic[S]):
    """The snapshots of one stream.

    Args:
        key: the stream's name.
        fingerprint: of what folds it.
        states: how its state travels.
        policy: when and how snapshots are written.
        open_stream: gives the stream of a key.
    """

    def __init__(
        self,
        key: str,
        fingerprint: str,
        states: Model,
        policy: SnapshotPolicy,
        open_stream: Callable[[str], DurableStream],
    ) -> None:
        self.policy = policy
        self._fingerprint = fingerprint
        self._states = states
        self._purpose = b"durafold snapshot\n" + key.encode() + b"\n"
        self._slots = [open_stream(companion) for companion in companion_keys(key, fingerprint)]

    async def newest(self) -> Snapshot[S] | None:
        """The newest whole snapshot, or None. It costs two small reads.

        Raises:
            DurafoldError: the server does not answer, or refuses.
        """
        found = [snapshot for slot in self._slots if (snapshot := await self._read(slot)) is not None]
        return max(found, key=lambda snapshot: snapshot.offset, default=None)

    async def save(self, snapshot: Snapshot[S]) -> bool:
        """Write a snapshot, unless there is one that is nearly as new; True if it was written.

        Raises:
            DurafoldError: the server does not answer, or refuses.
        """
        message = self._message(snapshot)
        if message is None:
            return False
        present = [(await self._read(slot), slot) for slot in self._slots]
        newest = max((other.position for other, _ in present if other is not None), default=-1)
        offsets = [other.offset for other, _ in present if other is not None]
        if any(offset >= snapshot.offset for offset in offsets):
            return False
        if 0 <= snapshot.position - newest < self.policy.every // 2:
            return False
        _, oldest = min(present, key=lambda pair: pair[0].offset if pair[0] is not None else "")
        await _delete(oldest)
        await oldest.create(content_type=JSON_CONTENT_TYPE, body=message)
        return True

    async def drop(self) -> None:
        """Delete them: their stream was deleted.

        Raises:
            DurafoldError: the server does not answer, or refuses.
        """
        for slot in self._slots:
            await _delete(slot)

    async def _read(self, slot: DurableStream) -> Snapshot[S] | None:
        try:
            messages = await slot.read_json()
        except (StreamNotFound, StreamGone):
            return None
        snapshot = load_snapshot(self._verified(messages[-1]), self._states) if messages else None
        return snapshot if snapshot is not None and snapshot.fingerprint == self._fingerprint else None

    def _message(self, snapshot: Snapshot[S]) -> dict[str, Any] | None:
        """What is written, or None if the state has no faithful JSON form, or a large one."""
        try:
            dumped = dump_snapshot(snapshot, self._states)  # checks that the same comes back
        except NotJson:
            return None
        message = {
            "type": "snapshot",
            "v": _FORM,
            "snapshot": dumped,
            "digest": digest(dumped, self.policy.secret, purpose=self._purpose),
        }
        return message if len(json.dumps(message)) <= self.policy.max_bytes else None

    def _verified(self, message: Any) -> Any:
        if not isinstance(message, dict) or message.get("v") != _FORM:
            return None
        dumped = message.get("snapshot")
        is_ours = is_digest(message.get("digest"), dumped, self.policy.secret, purpose=self._purpose)
        return dumped if is_ours else None


async def _delete(slot: DurableStream) -> None:
    with suppress(StreamNotFound, StreamGone):  # there is none, or somebody was faster
        await slot.delete()


async def newest_or_none(store: SnapshotStore[S], report: Callable[[Exception], None]) -> Snapshot[S] | None:
    """The newest snapshot; if it cannot be had, the stream is read from its start."""
    try:
        return await store.newest()
    except DurafoldError as error:
        report(error)
        return None
