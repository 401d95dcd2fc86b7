"""Shared state in plain Python: the handles of a blocking provider."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from pathlib import Path
from queue import Queue
from typing import Any

import pytest

from durafold import Reject, atom, derived, reducer, reducer_atom, select
from durafold.blocking import (
    ClientSettings,
    DispatchContext,
    DurableStream,
    Forward,
    Provider,
    batch,
    use_connection,
)
from durafold.client import Backoff
from durafold.computed import Get
from durafold.errors import (
    ActionRejected,
    ConfigurationError,
    InvalidAction,
    ProviderClosed,
    StreamConflict,
)
from durafold.testing import FakeClock, LocalServer, ServerProcess
from support.todos import Add, Todos, todo_reducer

IMPATIENT = ClientSettings(backoff=Backoff(first_s=0.01, max_s=0.05))


def put_back(before: list[str], action: dict[str, str]) -> dict[str, str]:
    return {"type": "remove", "text": action["text"]}


@reducer(inverse=put_back)
def texts(state: list[str], action: dict[str, str]) -> list[str]:
    if action["text"] == "spam":
        raise Reject("no spam")
    kept = [text for text in state if text != action["text"]]
    return [*kept, action["text"]] if action["type"] == "add" else kept


def add(text: str) -> dict[str, str]:
    return {"type": "add", "text": text}


def test_a_change_is_seen_at_once_and_confirmed_by_waiting(party: Provider, key: str) -> None:
    counter = party.server_state(0, key)

    dispatch = counter.set(5)
    shown = counter.value
    confirmed = dispatch.wait()

    assert (shown, confirmed, counter.confirmed, dispatch.stage) == (5, 5, 5, "confirmed")
    assert counter.set(lambda n: n + 1).wait(timeout_s=60) == 6
    assert (counter.pending, counter.faults, counter.error) == (0, (), None)


def test_operations_are_those_of_the_asynchronous_handle(party: Provider, key: str) -> None:
    poll = party.server_state({"yes": 0, "who": []}, key)

    poll.increment(path="yes")
    poll.append("Ann", path="who")
    poll.put("open", True).sent.wait(timeout_s=60)
    state = poll.toggle(path="open").wait()

    assert state == {"yes": 1, "who": ["Ann"], "open": False}


def test_what_another_client_wrote_arrives(party: Provider, other: Provider, key: str) -> None:
    mine, yours = party.server_state(0, key), other.server_state(0, key)
    mine.increment(7).wait()

    yours.wait_for(mine.offset, timeout_s=60)

    assert (yours.value, yours.status, yours.ready(timeout_s=60).value) == (7, "live", 7)


def test_actions_go_through_the_reducer_and_a_refusal_is_raised_where_it_is_waited_for(
    party: Provider, key: str
) -> None:
    items = party.server_reducer(texts, [], key)
    refused = items.dispatch(add("spam"))

    with pytest.raises(ActionRejected, match="no spam"):
        refused.wait()

    assert items.dispatch(add("milk")).wait() == ["milk"]
    assert (refused.stage, type(refused.error)) == ("failed", ActionRejected)


def test_what_cannot_be_sent_is_refused_at_the_caller(party: Provider, key: str) -> None:
    todos = party.server_reducer(todo_reducer, Todos(), key)
    number = party.server_state(0.0, f"{key}/number")

    with pytest.raises(InvalidAction):
        todos.dispatch({"type": "unheard of"})  # type: ignore[arg-type]  # pyright: ignore[reportArgumentType]
    with pytest.raises(InvalidAction):
        number.set(float("nan"))


def test_a_failure_that_nobody_waits_for_goes_to_on_error(server: ServerProcess, key: str) -> None:
    errors: list[Exception] = []
    with Provider(server.url, on_error=errors.append) as party:
        party.server_reducer(texts, [], key).dispatch(add("spam"))
        party.flush(timeout_s=60)
        party.server_reducer(texts, [], key).dispatch(add("milk")).wait()

    assert [type(error) for error in errors] == [ActionRejected]


def test_own_actions_are_undone_and_done_again(party: Provider, key: str) -> None:
    items = party.server_reducer(texts, [], key)
    with items.undo_group():
        items.dispatch(add("a"))
        items.dispatch(add("b"))
    items.dispatch(add("c"))

    items.undo()
    items.undo()
    undone, could = items.value, (items.can_undo, items.can_redo)
    again = items.redo()

    assert (undone, could) == ([], (False, True))
    assert again is not None
    assert again.wait() == ["a", "b"]
    assert party.server_state(0, f"{key}/other").undo() is None


def test_the_past_can_be_read(party: Provider, key: str) -> None:
    counter = party.server_state(0, key)
    counter.set(1).wait()
    then = counter.offset
    counter.set(2).wait()

    history = counter.history()

    assert [entry.after for entry in history] == [1, 2]
    assert (counter.at(then), history.at(1)) == (1, 1)


def test_a_fork_goes_on_by_itself(party: Provider, key: str) -> None:
    counter = party.server_state(0, key)
    counter.set(1).wait()

    what_if = party.fork(counter, f"{key}-what-if")
    what_if.ready(timeout_s=60).increment(10).wait()

    assert (what_if.value, counter.value) == (11, 1)
    with pytest.raises(StreamConflict):
        party.fork(counter, party.server_state([], f"{key}-there").ready().key)


def test_declarations_serve_plain_python_as_they_are(party: Provider, key: str) -> None:
    count = atom(key, 2)
    todos = reducer_atom(f"{key}/todos", todo_reducer, Todos())

    @derived
    def doubled(get: Get) -> int:
        return 2 * get(count)

    @derived(initial=0)
    async def tripled(get: Get) -> int:
        return 3 * get(count)

    values = [party.open(one) for one in (doubled, tripled, select(todos, lambda state: state.texts))]
    party.open(count).set(5).wait()
    party.open(todos).dispatch(Add(text="milk")).wait()

    assert [value.ready(timeout_s=60).value for value in values] == [10, 15, ["milk"]]
    assert (values[0].status, values[0].offset) == ("live", party.open(count).offset)
    assert values[1].version > 0


def test_changes_are_a_plain_iterator(party: Provider, other: Provider, key: str) -> None:
    mine, yours = party.server_state(0, key), other.server_state(0, key)
    changes: Iterator[int] = iter(mine.ready(timeout_s=60))

    first = next(changes)
    yours.set(5).wait()

    assert (first, next(changes)) == (0, 5)


def test_a_change_can_be_waited_for_for_a_while(party: Provider, key: str) -> None:
    counter = party.server_state(0, key).ready(timeout_s=60)
    changes = counter.changes()
    first = changes.wait()

    with pytest.raises(TimeoutError, match="Not within 0"):
        changes.wait(timeout_s=0)
    counter.set(1)

    assert (first, changes.wait(timeout_s=60)) == (0, 1)


def test_changes_end_when_the_provider_does(server: ServerProcess, key: str) -> None:
    with Provider(server.url) as party:
        changes = party.server_state(0, key).changes()

    assert list(changes) == [0]


def test_of_a_batch_everybody_is_told_once_behind_it(party: Provider, key: str) -> None:
    left, right = party.server_state(0, f"{key}/left"), party.server_state(0, f"{key}/right")
    atoms = atom(left.key, 0), atom(right.key, 0)
    both = derived(lambda get: (get(atoms[0]), get(atoms[1])))
    told: Queue[tuple[int, int]] = Queue()
    total = party.open(both)
    total.subscribe(lambda: told.put(total.value))
    left.set(10).wait()
    right.set(20).wait()
    run_callbacks(party, key)  # no notice of before is on its way any more
    while not told.empty():
        told.get()

    with batch():
        left.set(1)
        right.set(2).wait()  # the server has it before the block ends
        inside = (left.value, right.value)
        left.set(3)

    assert (inside, told.get(timeout=60)) == ((1, 2), (3, 2))


def run_callbacks(party: Provider, key: str) -> None:
    """Wait until all callbacks that are due have run: they come in order."""
    last, has_run = party.server_state(0, f"{key}/last"), threading.Event()
    last.subscribe(has_run.set)
    last.set(1)
    assert has_run.wait(60)


def test_what_is_opened_in_a_batch_can_be_waited_for_there(party: Provider, key: str) -> None:
    with batch():
        counter = party.server_state(0, key).ready(timeout_s=30)

    assert counter.status == "live"


def test_what_a_thread_batches_does_not_hold_up_others(party: Provider, key: str) -> None:
    mine, yours = party.server_state(0, f"{key}/mine"), party.server_state(0, f"{key}/yours")
    told: Queue[int] = Queue()
    yours.subscribe(lambda: told.put(yours.value))

    with batch():
        mine.set(1)
        thread = threading.Thread(target=lambda: yours.set(5))
        thread.start()
        thread.join()
        seen = told.get(timeout=60)

    assert seen == 5


def test_middleware_of_asynchronous_code_serves_plain_python(server: ServerProcess, key: str) -> None:
    def at_most_9(context: DispatchContext, action: Any, forward: Forward) -> Any:
        if context.kind == "set" and action > 9:
            raise Reject("9 is the most")
        return forward(action)

    with Provider(server.url, middleware=[at_most_9]) as party:
        counter = party.server_state(0, key)
        with pytest.raises(ActionRejected, match="9 is the most"):
            counter.set(10)

        assert (counter.value, counter.set(9).wait()) == (0, 9)


def test_the_connection_is_a_reading_of_all_streams(local_server: LocalServer, key: str) -> None:
    with Provider(local_server.url, transport=local_server.transport("ann"), settings=IMPATIENT) as party:
        party.server_state(0, key).ready(timeout_s=60)
        connections = party.connection.changes()
        first, used = next(connections).status, use_connection().status
        local_server.cut_off("ann")
        lost = next(present for present in connections if present.status == "reconnecting")
        local_server.reconnect("ann")
        back = next(present for present in connections if present.status == "live")

    assert (first, used, lost.key, back.reason) == ("live", "live", key, None)


def test_presence_shows_who_else_is_here(party: Provider, other: Provider, key: str) -> None:
    mine, yours = (provider.presence(key, str) for provider in (party, other))
    arrivals = yours.ready(timeout_s=60).changes()
    mine.ready(timeout_s=60).set("Ann")

    seen = next(people for people in arrivals if people)
    me = mine.me
    mine.close()
    left = next(people for people in arrivals if not people)

    assert (list(seen.values()), me, dict(left)) == (["Ann"], "Ann", {})
    assert list(yours.others) == []


def test_closing_the_last_handle_ends_its_stream_and_the_next_one_begins_anew(
    party: Provider, key: str
) -> None:
    counter = party.server_state(0, key)
    counter.set(1).wait()
    counter.close()
    counter.close()

    again = party.server_state(0, key).ready(timeout_s=60)

    assert again.value == 1


def test_a_stream_of_the_client_and_a_state_are_the_same_stream(
    party: Provider, server: ServerProcess, key: str
) -> None:
    party.server_state(0, key).set(5).wait()

    with DurableStream(f"{server.url}/{key}") as stream:
        (message,) = stream.read_json()

    assert (message["type"], message["payload"]) == ("set", 5)


def test_a_provider_is_opened_once_and_says_so(server: ServerProcess, key: str) -> None:
    party = Provider(server.url)
    with pytest.raises(ConfigurationError, match="not open") as refusal:
        party.server_state(0, key)
    with party:
        counter = party.server_state(0, key)
    party.close()

    assert "async" not in str(refusal.value)
    with pytest.raises(ProviderClosed):
        counter.set(1)
    with pytest.raises(ConfigurationError, match="only once"):
        party.start()


def test_leaving_waits_until_the_server_has_everything(server: ServerProcess, key: str) -> None:
    with Provider(server.url) as party:
        party.server_state(0, key).increment(3)

    with Provider(server.url) as party:
        assert party.server_state(0, key).ready(timeout_s=60).value == 3


def test_what_did_not_reach_the_server_fails_when_the_provider_is_left(key: str) -> None:
    with Provider("http://127.0.0.1:9", close_timeout_s=0) as party:
        lost = party.server_state(0, key).set(1)

    with pytest.raises(ProviderClosed, match="before the action was sent"):
        lost.wait()


def test_an_outbox_keeps_what_did_not_reach_the_server(
    local_server: LocalServer, key: str, tmp_path: Path
) -> None:
    outbox = tmp_path / "outbox.db"
    local_server.cut_off("ann")
    with Provider(
        local_server.url, transport=local_server.transport("ann"), outbox=outbox, close_timeout_s=0
    ) as party:
        party.server_state(0, key).increment(3)

    with Provider(local_server.url, transport=local_server.transport("ben"), outbox=outbox) as party:
        counter = party.server_state(0, key)
        party.flush(timeout_s=60)

        assert counter.ready(timeout_s=60).value == 3


def test_a_wait_may_end_before_the_action_is_confirmed_and_takes_nothing_back(
    local_server: LocalServer, key: str
) -> None:
    local_server.cut_off("ann")
    with Provider(local_server.url, transport=local_server.transport("ann")) as party:
        dispatch = party.server_state(0, key).set(1)
        with pytest.raises(TimeoutError):
            dispatch.wait(timeout_s=0)
        with pytest.raises(TimeoutError):
            party.flush(timeout_s=0)
        local_server.reconnect("ann")

        assert dispatch.wait(timeout_s=60) == 1


def test_arguments_reach_the_asynchronous_provider(server: ServerProcess, key: str) -> None:
    clock = FakeClock(1_000.0)
    with Provider(server.url, client_id="kitchen", by="Ann", clock=clock) as party:
        counter = party.server_state(0, key)
        counter.set(1).wait()
        (entry,) = counter.history()

    assert (party.client_id.startswith("kitchen-"), entry.ts_ms) == (True, 1_000_000)
    assert counter.client_id.startswith(party.client_id)
