"""Following a stream, as a pure machine: what happened comes in, what to do next comes out.

    catch-up ──up to date──▶ sse ◀─┐ orderly end
       ▲                      │ └──┘
       │ failure (pause)      ├──refused, or silent too often──▶ long-poll ⟲
       └──────────────────────┴──────────────────────────────────────┘
    any of them ──end of stream──▶ closed          any ──refused for good──▶ failed
    catch-up ──up to date, and nobody waits for more──▶ done

Two rules make the delivered pages exactly the log, whatever the network does:

- The offset moves only together with the delivery of everything before it. Data that came over SSE without
  its control event is dropped with the connection and asked for again.
- Nothing is delivered for an answer whose offset did not move.

No I/O, no clock, no randomness: `advance` makes the next state, `next_action` says what it asks for, and
`reader` does it. Waits are described by how many failures they follow; `backoff` turns that into seconds.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Any, Final, Literal, TypeAlias, assert_never

from durafold.client.replies import content_of_events
from durafold.client.settings import ClientSettings
from durafold.client.values import Page
from durafold.errors import (
    ConfigurationError,
    DurafoldError,
    Forbidden,
    MalformedResponse,
    ServerRefused,
    ServerUnavailable,
    StreamGone,
    TooManyRequests,
    TransportError,
    TransportTimeout,
    Unauthorized,
)
from durafold.wire import names
from durafold.wire.control import ControlEvent
from durafold.wire.offsets import NOW, START, Offset

__all__ = [
    "Action",
    "Answered",
    "Control",
    "Data",
    "Ended",
    "Event",
    "Fail",
    "Failed",
    "Fetch",
    "Finish",
    "Interrupted",
    "LiveChoice",
    "LiveMode",
    "NoEventStream",
    "OpenSse",
    "Opened",
    "Pause",
    "ReadState",
    "ReadStatus",
    "Receive",
    "Rested",
    "advance",
    "check_live",
    "next_action",
    "status",
]

LiveChoice = Literal["auto", "sse", "long-poll"]
"""How to wait for new data. `auto` prefers SSE and changes to long-poll where SSE does not get through; for
`text/*` streams it long-polls from the start, since SSE cannot tell the kinds of line ends apart."""

LiveMode = Literal["auto", "sse", "long-poll", "off"]
"""A `LiveChoice`, or `off`: do not wait, but end at the tail."""


def check_live(live: object, choices: Sequence[str]) -> None:
    """Check how a user wants to wait for new data.

    Raises:
        ConfigurationError: it is none of the choices. `True` and `False`, which other clients take, are none.
    """
    if live not in choices:
        known = ", ".join(map(repr, choices))
        raise ConfigurationError(f"live={live!r} is no way to wait for new data", hint=f"Use one of {known}")


ReadStatus = Literal["connecting", "catching-up", "live", "reconnecting", "done", "closed", "failed"]
"""What a follower is doing, in words for users. `done`: with `live="off"`, it has reached the tail."""

Phase = Literal["catch-up", "long-poll", "sse", "done", "closed", "failed"]

# What servers without SSE answer to `live=sse`. 400 may also be a bad offset: then long-poll is refused too.
_SSE_NOT_OFFERED: Final = frozenset({400, 405, 406, 415, 501})


# ---- what happened ----


@dataclass(frozen=True, slots=True)
class Answered:
    """A GET or long-poll was answered with a page, after so many seconds."""

    page: Page
    elapsed_s: float


@dataclass(frozen=True, slots=True)
class Opened:
    """An SSE connection is open."""


@dataclass(frozen=True, slots=True)
class Data:
    """An SSE data event, decoded from base64 if need be."""

    data: bytes


@dataclass(frozen=True, slots=True)
class Control:
    """An SSE control event."""

    event: ControlEvent


@dataclass(frozen=True, slots=True)
class Ended:
    """The SSE connection ended after so many seconds: in order, or with an error."""

    elapsed_s: float
    error: TransportError | None = None


@dataclass(frozen=True, slots=True)
class Failed:
    """A request failed, or opening an SSE connection did."""

    error: DurafoldError


@dataclass(frozen=True, slots=True)
class NoEventStream:
    """A request for an event stream succeeded, but the answer is none."""

    error: DurafoldError


@dataclass(frozen=True, slots=True)
class Rested:
    """The pause is over."""


@dataclass(frozen=True, slots=True)
class Interrupted:
    """Whoever reads was cancelled in the middle of something; any connection is gone."""


Event: TypeAlias = Answered | Opened | Data | Control | Ended | Failed | NoEventStream | Rested | Interrupted


# ---- what to do next ----


@dataclass(frozen=True, slots=True)
class Fetch:
    """GET a page; with `live`, as a long-poll. `bypass_cache` asks caches on the way not to answer."""

    offset: Offset
    live: bool
    cursor: str | None
    bypass_cache: bool


@dataclass(frozen=True, slots=True)
class OpenSse:
    """Open an SSE connection."""

    offset: Offset
    cursor: str | None


@dataclass(frozen=True, slots=True)
class Receive:
    """Wait for the next event of the open SSE connection."""


@dataclass(frozen=True, slots=True)
class Pause:
    """Wait as `Backoff.delay_s` says for so many failures before this one."""

    attempt: int
    retry_after_s: float | None = None


@dataclass(frozen=True, slots=True)
class Finish:
    """All was delivered, and the stream is closed or nobody waits for more."""


@dataclass(frozen=True, slots=True)
class Fail:
    """Nothing more can be read."""

    error: DurafoldError


Action: TypeAlias = Fetch | OpenSse | Receive | Pause | Finish | Fail


# ---- the state ----


@dataclass(frozen=True, slots=True)
class _Connection:
    """An open SSE connection.

    Attributes:
        held: data events whose control event has not come yet.
        held_bytes: their size.
        spoke: a control event has come.
        moved: the offset has moved.
    """

    held: tuple[bytes, ...] = ()
    held_bytes: int = 0
    spoke: bool = False
    moved: bool = False


@dataclass(frozen=True, slots=True)
class ReadState:
    """Everything that is known about following a stream.

    Attributes:
        offset: everything before it was delivered.
        live: how the user wants to wait for new data.
        phase: what is going on.
        content_type: the stream's, once an answer has named it.
        cursor: the server's last cursor.
        up_to_date: the last answer reached the tail, and the connection has not failed since.
        connection: the open SSE connection.
        pause: a wait that comes before anything else.
        failures: failed attempts since the last progress.
        fruitless_sse: SSE connections in a row that brought nothing.
        no_sse: the server does not offer SSE.
        bypass_cache: the last answer was stale.
        denied: the last answer was 401 or 403; one more attempt with newly made headers is due.
        answered: the server has answered at least once.
        was_live: an SSE connection worked, and nothing has failed since.
        error: what failed last, if nothing has worked since.
    """

    offset: Offset
    live: LiveMode = "auto"
    phase: Phase = "catch-up"
    content_type: str = ""
    cursor: str | None = None
    up_to_date: bool = False
    connection: _Connection | None = None
    pause: Pause | None = None
    failures: int = 0
    fruitless_sse: int = 0
    no_sse: bool = False
    bypass_cache: bool = False
    denied: bool = False
    answered: bool = False
    was_live: bool = False
    error: DurafoldError | None = None


Step: TypeAlias = tuple[ReadState, Page | None]


def status(state: ReadState) -> ReadStatus:
    """The state in one word."""
    if state.phase in ("done", "closed", "failed"):
        return state.phase
    if not state.answered:
        return "connecting"
    if state.error is not None:
        return "reconnecting"
    is_waiting = state.up_to_date and (state.was_live or state.phase == "long-poll")
    return "live" if is_waiting else "catching-up"


def next_action(state: ReadState) -> Action:
    """What the state asks for."""
    if state.phase in ("done", "closed"):
        return Finish()
    if state.phase == "failed":
        assert state.error is not None
        return Fail(state.error)
    if state.pause is not None:
        return state.pause
    if state.phase == "sse":
        return Receive() if state.connection else OpenSse(state.offset, state.cursor)
    is_live = state.phase == "long-poll"
    return Fetch(state.offset, is_live, state.cursor if is_live else None, state.bypass_cache)


def advance(state: ReadState, event: Event, settings: ClientSettings) -> Step:
    """The state after an event, and the page to deliver if the event completed one."""
    match event:
        case Answered(page, elapsed_s):
            return _answered(state, page, elapsed_s, settings)
        case Opened():
            return replace(state, connection=_Connection(), denied=False), None
        case Data(data):
            return _held(state, data, settings), None
        case Control(control):
            return _controlled(state, control, settings)
        case Ended(elapsed_s, error):
            return _ended(state, elapsed_s, error, settings), None
        case Failed(error):
            return _failed(state, error), None
        case NoEventStream(error):
            return _without_sse(state, error), None
        case Rested():
            return replace(state, pause=None), None
        case Interrupted():
            return replace(state, connection=None), None
        case _:
            assert_never(event)


# ---- answers to GET and long-poll ----


def _answered(state: ReadState, page: Page, elapsed_s: float, settings: ClientSettings) -> Step:
    fault = _fault(state, page)
    if fault is not None:
        return _failed(state, fault), None
    if _is_stale(state, page, elapsed_s, settings):
        error = MalformedResponse(
            "An answer brought nothing although there was more to say: a cache may have given an old one",
            offset=state.offset,
        )
        return replace(_retry(state, error), bypass_cache=True), None
    has_waited = state.phase == "long-poll" and elapsed_s >= settings.quick_answer_s
    return _taken(state, page, settings, failures=0 if has_waited else state.failures)


def _is_stale(state: ReadState, page: Page, elapsed_s: float, settings: ClientSettings) -> bool:
    """Whether asking again at once could go on for ever: nothing came, and nothing will have changed."""
    if page.data or page.closed or page.next_offset != state.offset:
        return False
    if state.phase == "long-poll":
        return elapsed_s < settings.quick_answer_s
    return not page.up_to_date


def _fault(state: ReadState, page: Page) -> DurafoldError | None:
    """What is wrong with a page that would break the log: gaps, repetitions, another stream's data."""
    if state.offset in (START, NOW):
        return None
    if page.next_offset < state.offset:  # PROTOCOL §8: offsets sort as strings
        return StreamGone(
            f"The stream's tail {page.next_offset} lies before the offset to read from",
            status=200,
            offset=state.offset,
            hint="It was deleted and created anew: read it again from the start",
        )
    if page.data and page.next_offset == state.offset:
        return MalformedResponse("An answer brought data without moving the offset", offset=state.offset)
    return None


def _taken(state: ReadState, page: Page, settings: ClientSettings, *, failures: int, **changes: Any) -> Step:
    """The state behind a page that is in order, and the page if it tells anything new."""
    moved = page.next_offset != state.offset
    is_news = bool(page.data) or page.closed or (page.up_to_date and not state.up_to_date)
    after = replace(
        state,
        offset=page.next_offset,
        phase=_phase_behind(state, page, settings),
        content_type=page.content_type,
        cursor=page.cursor or state.cursor,
        up_to_date=page.up_to_date,
        failures=0 if moved else failures,
        bypass_cache=False,
        denied=False,
        answered=True,
        error=None,
        **changes,
    )
    return after, page if is_news else None


def _phase_behind(state: ReadState, page: Page, settings: ClientSettings) -> Phase:
    if page.closed:
        return "closed"
    if state.phase != "catch-up" or not page.up_to_date:
        return state.phase
    return _live_phase(state, page.content_type, settings)


def _live_phase(state: ReadState, content_type: str, settings: ClientSettings) -> Phase:
    if state.live == "off":
        return "done"
    if state.live != "auto":
        return state.live
    is_lossy = names.media_type(content_type).startswith("text/")
    gives_up_sse = state.no_sse or state.fruitless_sse >= settings.sse_tries
    return "long-poll" if is_lossy or gives_up_sse else "sse"


# ---- server-sent events ----


def _held(state: ReadState, data: bytes, settings: ClientSettings) -> ReadState:
    connection = state.connection
    assert connection is not None
    held_bytes = connection.held_bytes + len(data)
    if held_bytes > settings.max_event_bytes:
        return _fruitless(
            state, MalformedResponse("Data events came without a control event", offset=state.offset)
        )
    held = (*connection.held, data)
    return replace(state, connection=_Connection(held, held_bytes, connection.spoke, connection.moved))


def _controlled(state: ReadState, control: ControlEvent, settings: ClientSettings) -> Step:
    connection = state.connection
    assert connection is not None
    try:
        data = content_of_events(connection.held, state.content_type, offset=state.offset)
    except MalformedResponse as exc:
        return _fruitless(state, exc), None
    page = Page(
        data=data,
        content_type=state.content_type,
        offset=state.offset,
        next_offset=control.next_offset,
        up_to_date=control.up_to_date,
        closed=control.closed,
        cursor=control.cursor,
    )
    fault = _fault(state, page)
    if fault is not None:
        return _failed(state, fault), None
    moved = connection.moved or control.next_offset != state.offset
    heard = None if control.closed else _Connection(spoke=True, moved=moved)
    return _taken(state, page, settings, failures=state.failures, connection=heard, was_live=True)


def _ended(
    state: ReadState, elapsed_s: float, error: TransportError | None, settings: ClientSettings
) -> ReadState:
    connection = state.connection
    assert connection is not None
    is_fruitful = connection.moved or (connection.spoke and elapsed_s >= settings.stable_after_s)
    if not is_fruitful:
        return _fruitless(state, error or TransportError("An event stream ended as soon as it began"))
    after = replace(state, connection=None, failures=0, fruitless_sse=0)
    # PROTOCOL §5.8: servers end connections about every 60 s; the next one resumes where this one stood.
    return after if error is None else _retry(after, error)


def _fruitless(state: ReadState, error: DurafoldError) -> ReadState:
    return _retry(replace(state, fruitless_sse=state.fruitless_sse + 1), error)


# ---- failures ----


def _failed(state: ReadState, error: DurafoldError) -> ReadState:
    if isinstance(error, TransportError | ServerUnavailable | TooManyRequests):
        # An answer that never begins is what a buffering proxy makes of an event stream.
        is_silent_sse = state.phase == "sse" and isinstance(error, TransportTimeout)
        return _fruitless(state, error) if is_silent_sse else _retry(state, error)
    if isinstance(error, Unauthorized | Forbidden) and not state.denied:
        return replace(state, denied=True, connection=None)
    if state.phase == "sse" and isinstance(error, ServerRefused) and error.status in _SSE_NOT_OFFERED:
        return _without_sse(state, error)
    return replace(state, phase="failed", error=error, connection=None)


def _without_sse(state: ReadState, error: DurafoldError) -> ReadState:
    if state.live == "sse":
        return replace(state, phase="failed", error=error, connection=None)
    return replace(state, no_sse=True, phase="long-poll", connection=None)


def _retry(state: ReadState, error: DurafoldError) -> ReadState:
    """Wait, then go back to reading pages, which is cheap to serve and shows whether the server is there."""
    return replace(
        state,
        phase="catch-up",
        up_to_date=False,
        connection=None,
        pause=Pause(state.failures, getattr(error, "retry_after_s", None)),
        failures=state.failures + 1,
        was_live=False,
        error=error,
    )
