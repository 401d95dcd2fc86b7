"""The machine behind `Follower`: single decisions, and the log that comes out of arbitrary histories."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any, TypeVar

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from durafold.client.read_state import (
    Answered,
    Control,
    Data,
    Ended,
    Event,
    Fail,
    Failed,
    Fetch,
    Finish,
    Interrupted,
    NoEventStream,
    Opened,
    OpenSse,
    Pause,
    ReadState,
    Receive,
    Rested,
    advance,
    next_action,
    status,
)
from durafold.client.settings import ClientSettings
from durafold.client.values import Page
from durafold.errors import (
    BadRequest,
    DurafoldError,
    Forbidden,
    MalformedResponse,
    ServerRefused,
    ServerUnavailable,
    StreamGone,
    StreamNotFound,
    TooManyRequests,
    TransportError,
    TransportTimeout,
    Unauthorized,
)
from durafold.wire.control import ControlEvent
from durafold.wire.offsets import START, Offset

SETTINGS = ClientSettings(max_event_bytes=100)
BROKEN = TransportError("broken")
T = TypeVar("T")


def at(n: int) -> Offset:
    return Offset(f"{n:04}")


def page(start: Offset, end: Offset, data: bytes = b"", **flags: Any) -> Page:
    return Page(data, "application/json", start, end, **flags)


def run(state: ReadState, *events: Event) -> tuple[ReadState, list[Page]]:
    pages = []
    for event in events:
        state, delivered = advance(state, event, SETTINGS)
        pages += [delivered] if delivered else []
    return state, pages


def after(*events: Event, state: ReadState | None = None) -> ReadState:
    return run(state or ReadState(START), *events)[0]


def caught_up(**options: Any) -> ReadState:
    """A state that has read everything up to 0002."""
    return after(
        Answered(page(START, at(2), b"[0,1]", up_to_date=True), 0.01), state=ReadState(START, **options)
    )


def listening() -> ReadState:
    """The same, with an SSE connection on which the server has said that there is nothing more."""
    return after(Opened(), Control(ControlEvent(at(2), up_to_date=True)), state=caught_up())


# ---- catching up ----


def test_reading_starts_with_a_plain_get() -> None:
    assert next_action(ReadState(START)) == Fetch(START, live=False, cursor=None, bypass_cache=False)
    assert status(ReadState(START)) == "connecting"


def test_pages_are_fetched_until_one_is_up_to_date() -> None:
    state, pages = run(ReadState(START), Answered(page(START, at(1), b"[0]"), 0.01))

    assert [delivered.json() for delivered in pages] == [[0]]
    assert next_action(state) == Fetch(at(1), live=False, cursor=None, bypass_cache=False)
    assert status(state) == "catching-up"


def test_an_up_to_date_page_leads_to_an_event_stream_at_its_offset() -> None:
    assert next_action(caught_up()) == OpenSse(at(2), cursor=None)


def test_reaching_the_tail_of_an_empty_stream_is_delivered_as_an_empty_page() -> None:
    _, pages = run(ReadState(START), Answered(page(START, at(0), up_to_date=True), 0.01))

    assert [(delivered.data, delivered.up_to_date) for delivered in pages] == [(b"", True)]


def test_the_end_of_the_stream_finishes() -> None:
    state, pages = run(ReadState(START), Answered(page(START, at(1), b"[0]", closed=True), 0.01))

    assert pages[0].closed
    assert next_action(state) == Finish()
    assert status(state) == "closed"


def test_an_old_answer_from_a_cache_is_not_asked_for_again_at_once() -> None:
    state, pages = run(ReadState(at(5)), Answered(page(at(5), at(5)), 0.01))

    assert pages == []
    assert next_action(state) == Pause(0)
    assert next_action(after(Rested(), state=state)) == Fetch(
        at(5), live=False, cursor=None, bypass_cache=True
    )


def test_data_without_a_new_offset_is_not_delivered() -> None:
    state, pages = run(ReadState(at(5)), Answered(page(at(5), at(5), b"[0]", up_to_date=True), 0.01))

    assert pages == []
    assert isinstance(next_action(state), Pause)


def test_a_tail_before_the_offset_means_that_the_stream_was_created_anew() -> None:
    state = after(Answered(page(at(5), at(1), up_to_date=True), 0.01), state=ReadState(at(5)))

    action = next_action(state)
    assert isinstance(action, Fail)
    assert isinstance(action.error, StreamGone)


# ---- events ----


def test_data_is_delivered_with_its_control_event_and_not_before() -> None:
    state, pages = run(listening(), Data(b"[2]"))
    assert pages == []
    assert state.offset == at(2)

    state, pages = run(state, Control(ControlEvent(at(3), up_to_date=True)))
    assert [delivered.json() for delivered in pages] == [[2]]
    assert state.offset == at(3)


def test_several_data_events_before_one_control_event_make_one_page() -> None:
    _, pages = run(listening(), Data(b"[2]"), Data(b"[3,4]"), Control(ControlEvent(at(5))))

    assert [delivered.json() for delivered in pages] == [[2, 3, 4]]


def test_a_repeated_control_event_changes_nothing() -> None:
    state = listening()

    assert run(state, Control(ControlEvent(at(2), up_to_date=True))) == (state, [])


def test_data_without_its_control_event_is_asked_for_again() -> None:
    state, pages = run(listening(), Data(b"[2]"), Ended(60))

    assert pages == []
    assert next_action(state) == OpenSse(at(2), cursor=None)
    assert run(state, Opened(), Data(b"[2]"), Control(ControlEvent(at(3))))[1][0].json() == [2]


def test_the_last_cursor_is_echoed() -> None:
    state = after(Control(ControlEvent(at(2), cursor="17", up_to_date=True)), Ended(60), state=listening())

    assert next_action(state) == OpenSse(at(2), cursor="17")


def test_an_orderly_end_after_a_minute_is_followed_by_the_next_connection_at_once() -> None:
    state = after(Ended(60), state=listening())

    assert next_action(state) == OpenSse(at(2), cursor=None)
    assert status(state) == "live"


def test_a_cut_connection_is_followed_by_a_pause_and_a_get() -> None:
    state = after(Ended(60, BROKEN), state=listening())

    assert status(state) == "reconnecting"
    assert next_action(state) == Pause(0)
    assert next_action(after(Rested(), state=state)) == Fetch(
        at(2), live=False, cursor=None, bypass_cache=False
    )


def test_connections_that_end_at_once_do_not_loop_hot() -> None:
    state = listening()
    for attempt in range(SETTINGS.sse_tries - 1):
        state = after(Ended(0.01), state=state)
        assert next_action(state) == Pause(attempt)
        state = after(Rested(), Answered(page(at(2), at(2), up_to_date=True), 0.01), Opened(), state=state)


def test_an_event_stream_that_stays_silent_is_given_up_for_long_poll() -> None:
    state = caught_up()
    for _ in range(SETTINGS.sse_tries):
        state = after(Opened(), Ended(15, TransportTimeout("silent")), Rested(), state=state)
        state = after(Answered(page(at(2), at(2), up_to_date=True), 0.01), state=state)

    assert next_action(state) == Fetch(at(2), live=True, cursor=None, bypass_cache=False)


def test_an_event_stream_whose_headers_never_come_is_given_up_too() -> None:
    state = caught_up()
    for _ in range(SETTINGS.sse_tries):
        state = after(Failed(TransportTimeout("silent")), Rested(), state=state)
        state = after(Answered(page(at(2), at(2), up_to_date=True), 0.01), state=state)

    assert next_action(state) == Fetch(at(2), live=True, cursor=None, bypass_cache=False)


def test_a_server_that_cannot_be_reached_does_not_speak_against_event_streams() -> None:
    state = caught_up()
    for _ in range(10 * SETTINGS.sse_tries):
        state = after(
            Failed(BROKEN), Rested(), Answered(page(at(2), at(2), up_to_date=True), 0.01), state=state
        )

    assert next_action(state) == OpenSse(at(2), cursor=None)


@pytest.mark.parametrize("code", [400, 405, 406, 415, 501])
def test_a_refused_event_stream_leads_to_long_poll(code: int) -> None:
    refusal = BadRequest("no", status=code)

    assert next_action(after(Failed(refusal), state=caught_up())) == Fetch(at(2), True, None, False)
    assert next_action(after(Failed(refusal), state=caught_up(live="sse"))) == Fail(refusal)


def test_an_answer_that_is_no_event_stream_leads_to_long_poll() -> None:
    error = MalformedResponse("this is HTML")

    assert next_action(after(NoEventStream(error), state=caught_up())) == Fetch(at(2), True, None, False)
    assert next_action(after(NoEventStream(error), state=caught_up(live="sse"))) == Fail(error)


def test_text_streams_are_long_polled_because_events_cannot_keep_their_line_ends() -> None:
    text = Page(b"a\r\n", "text/plain; charset=utf-8", START, at(3), up_to_date=True)

    assert next_action(after(Answered(text, 0.01))) == Fetch(
        at(3), live=True, cursor=None, bypass_cache=False
    )
    assert next_action(after(Answered(text, 0.01), state=ReadState(START, "sse"))) == OpenSse(at(3), None)


def test_data_events_that_no_control_event_ends_are_not_collected_for_ever() -> None:
    state = after(Data(b"x" * 60), Data(b"x" * 60), state=listening())

    assert state.connection is None
    assert isinstance(next_action(state), Pause)


def test_a_damaged_json_event_is_not_delivered() -> None:
    state, pages = run(listening(), Data(b'[{"a":'), Control(ControlEvent(at(3))))

    assert pages == []
    assert isinstance(state.error, MalformedResponse)
    assert isinstance(next_action(state), Pause)


def test_being_cancelled_drops_the_connection_and_nothing_else() -> None:
    state = after(Data(b"[2]"), Interrupted(), state=listening())

    assert next_action(state) == OpenSse(at(2), cursor=None)
    assert status(state) == "live"


# ---- long-poll ----


def test_an_empty_long_poll_that_waited_is_repeated_at_once_with_its_cursor() -> None:
    state = after(
        Answered(page(at(2), at(2), up_to_date=True, cursor="9"), 30), state=caught_up(live="long-poll")
    )

    assert next_action(state) == Fetch(at(2), live=True, cursor="9", bypass_cache=False)
    assert status(state) == "live"


def test_an_empty_long_poll_that_did_not_wait_is_a_stale_answer() -> None:
    state = after(Answered(page(at(2), at(2), up_to_date=True), 0.01), state=caught_up(live="long-poll"))

    assert next_action(state) == Pause(0)


def test_long_polls_that_do_not_wait_do_not_loop_hot_by_way_of_successful_gets() -> None:
    state = caught_up(live="long-poll")
    stale = page(at(2), at(2), up_to_date=True)
    for attempt in range(5):
        state = after(Answered(stale, 0.01), state=state)
        assert next_action(state) == Pause(attempt)
        state = after(Rested(), Answered(stale, 0.01), state=state)


# ---- failures ----


@pytest.mark.parametrize(
    "error",
    [BROKEN, TransportTimeout("late"), MalformedResponse("odd"), ServerUnavailable("down", status=500)],
)
def test_failures_that_may_pass_are_never_raised(error: DurafoldError) -> None:
    state = ReadState(START)
    for attempt in range(100):
        state = after(Failed(error), state=state)
        assert next_action(state) == Pause(attempt)
        state = after(Rested(), state=state)

    assert state.error is error


def test_a_retry_after_is_passed_on() -> None:
    error = TooManyRequests("slower", retry_after_s=7)

    assert next_action(after(Failed(error))) == Pause(0, 7)


def test_the_pauses_start_anew_after_progress() -> None:
    state = after(
        Failed(BROKEN), Rested(), Failed(BROKEN), Rested(), Answered(page(START, at(1), b"[0]"), 0.01)
    )

    assert next_action(after(Failed(BROKEN), state=state)) == Pause(0)


@pytest.mark.parametrize("kind", [Unauthorized, Forbidden])
def test_refused_credentials_are_tried_once_more_and_then_raised(kind: type[ServerRefused]) -> None:
    refusal = kind("who are you", status=401)
    state = after(Failed(refusal))
    assert isinstance(next_action(state), Fetch)

    assert next_action(after(Failed(refusal), state=state)) == Fail(refusal)


def test_new_credentials_get_their_own_second_chance() -> None:
    refusal = Unauthorized("expired", status=401)
    state = after(Failed(refusal), Answered(page(START, at(1), b"[0]"), 0.01), Failed(refusal))

    assert isinstance(next_action(state), Fetch)


@pytest.mark.parametrize("kind", [StreamNotFound, StreamGone, BadRequest, ServerRefused])
def test_other_refusals_are_final(kind: type[ServerRefused]) -> None:
    refusal = kind("no", status=404)

    assert next_action(after(Failed(refusal))) == Fail(refusal)
    assert status(after(Failed(refusal))) == "failed"


# ---- arbitrary histories ----


@dataclass
class World:
    """A server with a log of `tail` numbers, and a network that `draw` makes as bad as it likes.

    After `faults` faults everything works, so that every history ends.
    """

    draw: Any
    total: int
    faults: int
    may_refuse_sse: bool
    tail: int = 0
    sent: int = 0  # what the SSE connection has carried
    controlled: int | None = None  # where its last control event was

    def choose(self, good: Event, bad: list[Event]) -> Event:
        index = self.draw(st.integers(0, 3 * len(bad))) if self.faults else len(bad)
        if index >= len(bad):
            return good
        self.faults -= 1
        return bad[index]

    def grow(self) -> None:
        """Somebody appends, or not; while a reader waits it is sure to happen in the end."""
        self.tail = min(self.total, self.tail + self.draw(st.integers(0 if self.faults else 1, 1)))

    def messages(self, first: int, end: int) -> bytes:
        return b"[" + b",".join(b"%d" % n for n in range(first, end)) + b"]" if end > first else b""

    def position(self, offset: Offset) -> int:
        return 0 if offset == START else int(offset)

    def fetched(self, fetch: Fetch) -> Event:
        first = self.position(fetch.offset)
        if fetch.live:
            self.grow()
        end = self.draw(st.integers(min(first + 1, self.tail), self.tail))
        answer = Answered(
            page(
                fetch.offset,
                at(end),
                self.messages(first, end),
                up_to_date=end == self.tail,
                closed=end == self.total,
            ),
            elapsed_s=30,
        )
        stale = Answered(page(fetch.offset, fetch.offset, up_to_date=fetch.live), 0.01)
        failures: list[Event] = [Failed(BROKEN), Failed(ServerUnavailable("", status=503)), Interrupted()]
        staleness: list[Event] = [stale] * (fetch.offset != START)
        return self.choose(answer, failures + staleness)

    def opened(self, opening: OpenSse) -> Event:
        self.sent, self.controlled = self.position(opening.offset), None
        failures: list[Event] = [Failed(BROKEN), Failed(TransportTimeout("")), Interrupted()]
        refusals: list[Event] = [NoEventStream(BROKEN)] * self.may_refuse_sse
        return self.choose(Opened(), failures + refusals)

    def received(self) -> Event:
        self.grow()
        cuts: list[Event] = [Ended(60), Ended(0.01), Ended(60, BROKEN), Ended(0.01, BROKEN), Interrupted()]
        control = Control(
            ControlEvent(at(self.sent), up_to_date=self.sent == self.tail, closed=self.sent == self.total)
        )
        if self.sent < self.tail and (self.controlled == self.sent or self.draw(st.booleans())):
            end = self.draw(st.integers(self.sent + 1, self.tail))
            event = self.choose(Data(self.messages(self.sent, end)), cuts)
            self.sent = end if isinstance(event, Data) else self.sent
            return event
        self.controlled = self.sent
        return self.choose(control, cuts)

    def react(self, state: ReadState) -> Event:
        match next_action(state):
            case Fetch() as fetch:
                return self.fetched(fetch)
            case OpenSse() as opening:
                return self.opened(opening)
            case Receive():
                return self.received()
            case Pause():
                return Rested()
            case action:
                raise AssertionError(f"the machine stopped with {action}")


@dataclass
class Delivered:
    """What a reader has seen, checked page by page."""

    numbers: list[int] = field(default_factory=list)
    offset: Offset = START

    def add(self, page: Page) -> None:
        assert page.offset == self.offset
        self.numbers += page.json()
        self.offset = page.next_offset


@settings(max_examples=400)
@given(st.data(), st.integers(3, 9), st.integers(0, 5), st.sampled_from(["auto", "sse", "long-poll"]))
def test_whatever_breaks_the_delivered_messages_are_exactly_the_log(
    data: st.DataObject, total: int, faults: int, live: Any
) -> None:
    world = World(data.draw, total, faults, may_refuse_sse=live != "sse")
    state = ReadState(START, live)
    delivered = Delivered()

    while next_action(state) != Finish():
        state, page = advance(state, world.react(state), SETTINGS)
        if page is not None:
            delivered.add(page)

    assert delivered.numbers == list(range(total))
    assert delivered.offset == at(total)
