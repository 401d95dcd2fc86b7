"""Every interleaving of dispatching, sending, losing, sending twice, reading, and resetting.

Three clients share one log. Hypothesis decides who does what next; after every step each client is compared
with a replay of the log that knows nothing of replicas. The state is a list of notes, so that "shown exactly
once" can be counted.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

import hypothesis.strategies as st
from hypothesis import settings
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, rule

from durafold.state.outcomes import Reject
from durafold.state.reducer import Message
from durafold.state.replica import (
    START,
    Batch,
    Confirmed,
    Replica,
    confirm,
    mark,
    new_replica,
    optimistic,
    reject,
    reset,
)
from support.logs import Id, Line

Notes = tuple[str, ...]
CLIENTS = st.integers(0, 2)


def step(state: Notes, message: Message) -> Notes:
    if message.kind == "set":
        return tuple(message.payload)
    if message.kind != "note" or message.payload == "poison":
        raise ValueError("cannot be folded")
    if message.payload in state:
        raise Reject
    return (*state, message.payload)


def replayed(log: list[Line]) -> tuple[Notes, int]:
    """State and revision after a log, by the rules of the documentation and as plainly as possible."""
    state: list[str] = []
    revision = 0
    highest: dict[str, int] = {}
    for message in log:
        if message.id and message.id.n <= highest.get(message.id.client_id, -1):
            continue
        if message.id:
            highest[message.id.client_id] = message.id.n
        if message.if_revision is not None and message.if_revision != revision:
            continue
        if message.kind == "set":
            state, revision = list(message.payload), revision + 1
        elif message.kind == "note" and message.payload not in [*state, "poison"]:
            state, revision = [*state, message.payload], revision + 1
    return tuple(state), revision


@dataclass
class Outgoing:
    """A dispatched action, before and while it is on its way."""

    ticket: int
    note: str
    functional: bool = False
    line: Line | None = None


@dataclass
class Client:
    """A replica with the habits that the engine has."""

    name: str
    replica: Replica[Notes] = field(default_factory=lambda: new_replica(Confirmed(())))
    outbox: list[Outgoing] = field(default_factory=list)
    network: list[Line] = field(default_factory=list)
    verdicts: dict[int, str] = field(default_factory=dict)
    tickets: int = 0
    counter: int = 0

    def dispatch(self, note: str, *, functional: bool) -> None:
        self.tickets += 1
        self.replica = optimistic(self.replica, self.tickets, self._effect(note, functional))
        self.outbox.append(Outgoing(self.tickets, note, functional))

    def _effect(self, note: str, functional: bool) -> Callable[[Notes], Notes]:
        if functional:
            return lambda state: (*state, note)
        return lambda state: step(state, Line("note", note))

    def send(self) -> None:
        """Hand the next action to the network: a functional one alone, with the revision it was run on."""
        waiting = [entry for entry in self.outbox if entry.line is None]
        if not waiting or any(entry.functional and entry.line for entry in self.outbox):
            return
        entry = waiting[0]
        if entry.functional and entry is not self.outbox[0]:
            return
        self.counter += 1
        entry.line = self._line(entry)
        self.replica = mark(self.replica, {entry.ticket: (self.name, self.counter)})
        self.network.append(entry.line)

    def _line(self, entry: Outgoing) -> Line:
        identity = Id(self.name, self.counter)
        if not entry.functional:
            return Line("note", entry.note, identity)
        base = self.replica.confirmed
        return Line("set", (*base.state, entry.note), identity, base.revision)

    def resend(self) -> None:
        """The connection broke: send everything again that has not come back."""
        self.network = [entry.line for entry in self.outbox if entry.line is not None]

    def settle(self, ticket: int, verdict: str) -> None:
        entry = next(entry for entry in self.outbox if entry.ticket == ticket)
        if verdict == "conflict":
            entry.line = None
            return
        assert ticket not in self.verdicts
        self.verdicts[ticket] = verdict
        self.outbox.remove(entry)

    def refuse_first(self) -> None:
        """The server refuses the next action instead of appending it."""
        refused = self.network.pop(0)
        entry = next((entry for entry in self.outbox if entry.line is refused), None)
        if entry is not None:
            self.replica = reject(self.replica, {entry.ticket})
            self.settle(entry.ticket, "refused")

    def start_over(self) -> None:
        """The stream was made anew: functional updates are run again, the others sent under their old ids."""
        self.replica = reset(self.replica, ())
        functional = [entry for entry in self.outbox if entry.functional]
        for entry in functional:
            entry.line = None
        self.replica = mark(self.replica, {entry.ticket: None for entry in functional})
        self.resend()


class Convergence(RuleBasedStateMachine):
    """One log, three clients, and a network that loses answers and repeats requests."""

    @initialize()
    def start(self) -> None:
        self.log: list[Line] = []
        self.life = 0
        self.clients = [Client(name) for name in ("a", "b", "c")]
        self.last: list[tuple[int, int]] = [(0, 0)] * 3
        self.notes = 0

    def offset(self, position: int) -> str:
        return f"{self.life:03}_{position:05}" if position else START

    @rule(client=CLIENTS, functional=st.booleans())
    def dispatch(self, client: int, functional: bool) -> None:
        self.notes += 1
        self.clients[client].dispatch(f"note {self.notes}", functional=functional)

    @rule(client=CLIENTS, note=st.sampled_from(["seat 1", "seat 2", "poison"]))
    def dispatch_what_only_one_can_have(self, client: int, note: str) -> None:
        self.clients[client].dispatch(note, functional=False)

    @rule(client=CLIENTS)
    def send(self, client: int) -> None:
        self.clients[client].send()

    @rule(client=CLIENTS, count=st.integers(1, 3))
    def land(self, client: int, count: int) -> None:
        network = self.clients[client].network
        self.log += network[:count]
        del network[:count]

    @rule(client=CLIENTS, landed=st.integers(0, 3))
    def break_connection(self, client: int, landed: int) -> None:
        """Some requests arrived, their answers did not; the client sends all again."""
        self.log += self.clients[client].network[:landed]
        self.clients[client].resend()

    @rule(client=CLIENTS)
    def refuse(self, client: int) -> None:
        if self.clients[client].network and not self.in_log(self.clients[client].network[0]):
            self.clients[client].refuse_first()

    def in_log(self, line: Line) -> bool:
        return any(other is line for other in self.log)

    @rule(message=st.sampled_from([Line("note", "stranger"), Line("set", ()), Line("patch", 1)]))
    def append_by_another_program(self, message: Line) -> None:
        self.log.append(message)

    @rule(client=CLIENTS, count=st.integers(0, 5))
    def read(self, client: int, count: int) -> None:
        self.deliver(self.clients[client], count)

    @rule(client=CLIENTS, back=st.integers(1, 3))
    def read_a_page_again(self, client: int, back: int) -> None:
        reader = self.clients[client]
        position = max(0, reader.replica.confirmed.position - back)
        if self.offset(position) != reader.replica.confirmed.offset:
            page = Batch(self.log[position:], self.offset(position), self.offset(len(self.log)))
            assert confirm(step, reader.replica, page).replica is reader.replica

    @rule()
    def delete_and_create_the_stream(self) -> None:
        self.log.clear()
        self.life += 1
        self.last = [(0, 0)] * 3
        for client in self.clients:
            client.start_over()

    def deliver(self, client: Client, count: int) -> None:
        position = client.replica.confirmed.position
        messages = self.log[position : position + count]
        before = client.replica
        page = Batch(messages, self.offset(position), self.offset(position + len(messages)))
        confirmation = confirm(step, before, page)
        client.replica = confirmation.replica
        for ticket, settled in confirmation.settled:
            client.settle(ticket, settled.outcome.verdict)
        assert (client.replica.view is before.view) == (client.replica.version == before.version)

    @invariant()
    def confirmed_is_the_replay_of_the_log(self) -> None:
        for client in self.clients:
            confirmed = client.replica.confirmed
            assert (confirmed.state, confirmed.revision) == replayed(self.log[: confirmed.position])

    @invariant()
    def the_view_is_pending_over_confirmed(self) -> None:
        for client in self.clients:
            view = client.replica.confirmed.state
            for entry in client.replica.pending:
                view = entry.effect(view) if entry.shown else view
            assert client.replica.view == view

    @invariant()
    def an_own_action_is_shown_exactly_once_until_its_verdict(self) -> None:
        for client in self.clients:
            assert [entry.ticket for entry in client.replica.pending] == [
                entry.ticket for entry in client.outbox
            ]
            shown = {entry.ticket: entry.shown for entry in client.replica.pending}
            for entry in client.outbox:
                if entry.note != "poison":
                    assert client.replica.view.count(entry.note) == 1
                assert shown[entry.ticket] or entry.note in {"seat 1", "seat 2", "poison"}

    @invariant()
    def what_was_decided_is_not_pending_again(self) -> None:
        for client in self.clients:
            assert not client.verdicts.keys() & {entry.ticket for entry in client.replica.pending}

    @invariant()
    def confirmed_never_goes_back(self) -> None:
        for index, client in enumerate(self.clients):
            now = (client.replica.confirmed.position, client.replica.confirmed.revision)
            assert now >= self.last[index]
            self.last[index] = now

    def teardown(self) -> None:
        """Let everything arrive: all agree, nothing is pending, nothing was lost or doubled."""
        while any(client.outbox for client in self.clients):
            for client in self.clients:
                client.send()
                self.log += client.network
                client.network.clear()
                self.deliver(client, len(self.log))
        for client in self.clients:
            self.deliver(client, len(self.log))
            assert client.replica.view == replayed(self.log)[0]
            assert len(client.verdicts) == client.tickets

    __test__ = False


TestConvergence: Any = Convergence.TestCase
TestConvergence.settings = settings(max_examples=150, stateful_step_count=40, deadline=None)
