"""States at any offset of a stream, for registered reducers.

The page steps back and forth, so states are kept at keyframes, every 256 messages, and a step folds at most
that many. Keyframes are bounded in bytes; the streams looked at longest ago are forgotten first. Reducers are
the operator's code and may be slow: they run in a thread, and one request folds for a few seconds at most.
"""

from __future__ import annotations

import asyncio
import time
from collections import OrderedDict
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any, Final

import msgspec
from pydantic_core import to_json

from durafold.state.json_values import NotJson
from durafold.state.outcomes import Outcome, words_of
from durafold.state.reducer import fold
from durafold.state.replica import Batch, Confirmed, fold_batch
from durafold.wire.envelope import Envelope, from_message
from durafold_server.protocol.errors import InvalidOffset, InvalidRequest
from durafold_server.protocol.json_mode import page_body
from durafold_server.protocol.model import Mode, StreamState
from durafold_server.protocol.requests import ReadRequest
from durafold_server.protocol.responses import PageView
from durafold_server.reducers.registered import Registered
from durafold_server.reducers.sizes import size_of
from durafold_server.service import StreamService, locate

KEYFRAME_INTERVAL: Final = 256
MAX_KEYFRAME_BYTES: Final = 32 * 1024 * 1024
MAX_FOLD_S: Final = 5.0

_messages: Final = msgspec.json.Decoder(list[msgspec.Raw])
_message: Final = msgspec.json.Decoder()


@dataclass(frozen=True, slots=True)
class Keyframe:
    """The fold of a stream up to a position.

    Attributes:
        at: position in the stream's bytes.
        confirmed: state, revision and what was seen.
        size: of the state, in bytes of JSON.
    """

    at: int
    confirmed: Confirmed[Any]
    size: int


@dataclass(slots=True)
class Keyframes:
    """The keyframes of one stream, reducer and initial state, oldest first; never empty."""

    frames: list[Keyframe]

    @property
    def size(self) -> int:
        """Bytes of all states."""
        return sum(frame.size for frame in self.frames)

    def before(self, position: int) -> Keyframe:
        """The last one that lies before a position; the first, if none does."""
        return next((frame for frame in reversed(self.frames) if frame.at < position), self.frames[0])

    def add(self, frame: Keyframe) -> None:
        """Keep one more, if it is further on than all others."""
        if frame.at > self.frames[-1].at:
            self.frames.append(frame)

    def thin_out(self) -> None:
        """Keep every second one."""
        self.frames = self.frames[::2]


@dataclass(frozen=True, slots=True)
class Folded:
    """A state somewhere in a stream.

    Attributes:
        at: position that was reached.
        complete: it is the one asked for; otherwise time was up, and asking again goes on from there.
        confirmed: the fold.
        before: state one message earlier, None at the start.
        last: what became of the last message, None at the start; `duplicate` for a second copy.
        error: why, if it was not applied.
    """

    at: int
    complete: bool
    confirmed: Confirmed[Any]
    before: Any = None
    last: str | None = None
    error: str | None = None


@dataclass(slots=True)
class _Progress:
    """A fold under way; the last message is folded by itself, so that its effect can be shown."""

    at: int
    confirmed: Confirmed[Any]
    deadline: float
    batch: list[Envelope] = field(default_factory=list)
    before: Any = None
    last: str | None = None
    error: str | None = None

    @property
    def is_late(self) -> bool:
        return time.monotonic() > self.deadline


class Folder:
    """Folds streams of a service with registered reducers.

    Args:
        service: where the streams are.
        max_keyframe_bytes: what keyframes may take in all, as JSON.
        max_fold_s: how long one request may fold.
    """

    def __init__(
        self,
        service: StreamService,
        *,
        max_keyframe_bytes: int = MAX_KEYFRAME_BYTES,
        max_fold_s: float = MAX_FOLD_S,
    ) -> None:
        self._service = service
        self._max_keyframe_bytes = max_keyframe_bytes
        self._max_fold_s = max_fold_s
        self._kept: OrderedDict[tuple[int, str, bytes], Keyframes] = OrderedDict()
        self._busy = asyncio.Lock()

    async def fold(self, path: str, reducer: Registered, to: str, initial: Any) -> Folded:
        """The state after all messages before an offset.

        Args:
            path: of the stream.
            reducer: to fold with.
            to: offset token, or `now` for the tail.
            initial: JSON of the state to begin with; None for the reducer's own.

        Raises:
            InvalidRequest: the stream is not JSON, or the initial state does not fit the reducer.
            ProtocolError, StoreFailure: as `StreamService.read`.
        """
        stream = await self._service.head(path)
        if stream.mode is not Mode.JSON:
            raise InvalidRequest("Only streams of application/json can be folded.")
        target = locate(stream, to)
        begin = _initial_state(reducer, initial)
        # One fold at a time: they compete for one interpreter anyhow.
        async with self._busy:
            kept = self._keyframes(stream, reducer, begin)
            folded = await self._fold(stream, reducer, kept, target)
            self._forget()
        return folded

    async def _fold(self, stream: StreamState, reducer: Registered, kept: Keyframes, target: int) -> Folded:
        frame = kept.before(target)
        progress = _Progress(frame.at, frame.confirmed, time.monotonic() + self._max_fold_s)
        while progress.at < target:
            view = await self._page(stream, progress.at)
            await asyncio.to_thread(_fold_page, reducer, progress, view, target, kept)
            if progress.is_late:
                break
        if progress.at > target:
            raise InvalidOffset("The offset lies inside a message; use one from Stream-Next-Offset.")
        return Folded(
            progress.at,
            progress.at == target,
            progress.confirmed,
            progress.before,
            progress.last,
            progress.error,
        )

    async def _page(self, stream: StreamState, position: int) -> PageView:
        return await self._service.read(
            ReadRequest(stream.path, stream.offset(position), live=None, cursor=None, if_none_match=None)
        )

    def _keyframes(self, stream: StreamState, reducer: Registered, initial: Any) -> Keyframes:
        key = stream.id, reducer.name, to_json(initial, fallback=repr)
        if key not in self._kept:
            confirmed = Confirmed(initial, offset=stream.offset(stream.start))
            self._kept[key] = Keyframes([Keyframe(stream.start, confirmed, len(key[2]))])
        self._kept.move_to_end(key)
        return self._kept[key]

    @property
    def kept_bytes(self) -> int:
        """What all keyframes take, as JSON."""
        return sum(kept.size for kept in self._kept.values())

    def _forget(self) -> None:
        while self.kept_bytes > self._max_keyframe_bytes:
            if len(self._kept) > 1:
                self._kept.popitem(last=False)
                continue
            only = next(iter(self._kept.values()))
            if len(only.frames) < 3:
                break
            only.thin_out()


def _initial_state(reducer: Registered, initial: Any) -> Any:
    if initial is None:
        return reducer.initial
    try:
        return reducer.states.parse(initial)
    except ValueError as exc:  # pydantic's ValidationError is one
        raise InvalidRequest(f"The initial state does not fit {reducer.name}: {exc}") from exc


def _fold_page(
    reducer: Registered, progress: _Progress, view: PageView, target: int, kept: Keyframes
) -> None:
    """Fold a page's messages up to the target or the deadline; runs in a thread."""
    for raw in _messages.decode(page_body(view.data)):
        progress.at += len(memoryview(raw)) + 1
        message = from_message(_message.decode(raw))
        if progress.at >= target:
            _fold_batch(reducer, progress)
            _fold_last(reducer, progress, message)
            return
        progress.batch.append(message)
        if len(progress.batch) == KEYFRAME_INTERVAL:
            _keep(reducer, progress, kept)
            if progress.is_late:
                return
    _keep(reducer, progress, kept)


def _keep(reducer: Registered, progress: _Progress, kept: Keyframes) -> None:
    _fold_batch(reducer, progress)
    size = size_of(progress.confirmed.state, otherwise=kept.frames[-1].size)
    kept.add(Keyframe(progress.at, progress.confirmed, size))


def _fold_batch(reducer: Registered, progress: _Progress) -> None:
    if progress.batch:
        progress.confirmed = _fold_all(reducer, progress.confirmed, progress.batch)
        progress.batch = []


def _fold_last(reducer: Registered, progress: _Progress, message: Envelope) -> None:
    """Fold the message that the user looks at, and note what became of it."""
    confirmed = progress.confirmed
    progress.before = confirmed.state
    if message.id is not None and message.id.n <= confirmed.seen.get(message.id.client_id, -1):
        progress.last = "duplicate"
    else:
        _, outcome = fold(reducer.step, confirmed.state, message, confirmed.revision)
        progress.last, progress.error = outcome.verdict, _reason(outcome)
    progress.confirmed = _fold_all(reducer, confirmed, [message])


def _fold_all(reducer: Registered, confirmed: Confirmed[Any], messages: Sequence[Envelope]) -> Confirmed[Any]:
    # The batch's offsets only say that it begins where the last one ended.
    return fold_batch(reducer.step, confirmed, Batch(messages, confirmed.offset, confirmed.offset)).confirmed


def _reason(outcome: Outcome) -> str | None:
    if outcome.error is None:
        return None
    if outcome.verdict == "poison":
        return f"{type(outcome.error).__name__}: {words_of(outcome.error)}"
    return words_of(outcome.error)


def dump_state(reducer: Registered, state: Any) -> Any:
    """A state as JSON value.

    Raises:
        InvalidRequest: it has no JSON form.
    """
    try:
        return reducer.states.dump(state)
    except NotJson as exc:
        raise InvalidRequest(f"The state of {reducer.name} cannot be shown: {exc}") from exc
