"""Confirmed state, pending actions, and the view of both: frozen values and pure transitions.

A replica is what one client knows of one stream. *Confirmed* is the fold of the stream's messages up to an
offset, and nothing else. *Pending* are this client's own actions that have not come back from the stream yet.
The *view* is pending folded over confirmed, and what users see.

What always holds:

- Confirmed is the same on all replicas at the same offset, whatever they dispatched and however often parts
  of the stream were sent twice.
- A pending action is in the view exactly once from the moment it is dispatched until its echo is folded
  (`confirm`), unless its effect raises there: then it is left out, and tried again on the next base.
- An action is confirmed by its echo in the stream, never by the server's acknowledgement: a client that drops
  it earlier shows a moment without it.
- `view` is the same object, and `version` the same number, as long as nothing changed in it.
- Nothing optimistic is ever part of confirmed, so nothing optimistic can get into a cache.
"""

from __future__ import annotations

from bisect import bisect_left
from collections.abc import Callable, Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Final, Generic, TypeAlias, TypeVar

from durafold.state.outcomes import APPLIED, CONFLICT, Outcome, Verdict, words_of
from durafold.state.reducer import Message, MessageId, Step, outcome_of

__all__ = [
    "MAX_FAULTS",
    "MAX_SEEN_CLIENTS",
    "START",
    "Batch",
    "Confirmation",
    "Confirmed",
    "Fault",
    "FoldedBatch",
    "Mark",
    "Pending",
    "Replica",
    "Settled",
    "confirm",
    "fold_batch",
    "hydrate",
    "mark",
    "new_replica",
    "optimistic",
    "reject",
    "reset",
]

S = TypeVar("S")

START: Final = "-1"
"""Offset of the beginning of a stream (PROTOCOL §8)."""

MAX_SEEN_CLIENTS: Final = 4096
"""How many clients the de-duplication remembers. All replicas must use the same number.

The client whose last message is furthest back in the log is forgotten first, a rule that uses nothing but the
log. A second copy of an action would slip through only if more than this many other clients wrote between the
two copies; a client of ours prevents that by reading to the tail before it sends anything again.
"""

MAX_FAULTS: Final = 100
"""How many faults are described; further ones are only counted."""

Mark: TypeAlias = tuple[str, int]
"""Identity of an own action in the log: client id and its counter."""


@dataclass(frozen=True, slots=True)
class Fault:
    """A message that was skipped because it could not be folded.

    Attributes:
        position: how many messages of the stream come before it.
        offset: where the page begins in which it was received.
        id: the action's id, `client:17`; None if another program wrote it.
        verdict: `poison` or `unknown`.
        reason: what went wrong, in words.
    """

    position: int
    offset: str
    id: str | None
    verdict: Verdict
    reason: str


@dataclass(frozen=True, slots=True)
class Confirmed(Generic[S]):
    """The fold of a stream up to an offset.

    Attributes:
        state: the folded state.
        revision: how many messages were applied. A compare-and-set names it (`if_revision`), so it must be
            the same on all replicas: whether an applied message left an equal state is not asked, because
            equality of users' types is not ours to trust.
        position: how many messages were read, duplicates included.
        offset: where the next message will be.
        seen: highest counter per client, in the order of their last messages.
        losers: the clients of `seen` whose last message was a compare-and-set that lost: who finds it among
            what was folded elsewhere knows that it did not count.
        faults: the first messages that could not be folded.
        fault_count: how many there were in all.
        partial: some were of an unknown type: a newer client is needed to see everything.
    """

    state: S
    revision: int = 0
    position: int = 0
    offset: str = START
    seen: Mapping[str, int] = field(default_factory=dict)
    losers: frozenset[str] = frozenset()
    faults: tuple[Fault, ...] = ()
    fault_count: int = 0
    partial: bool = False


@dataclass(frozen=True, slots=True)
class Batch:
    """Messages that arrived together.

    Attributes:
        messages: in log order.
        offset: where the first of them is.
        next_offset: where the one after the last will be.
    """

    messages: Sequence[Message]
    offset: str
    next_offset: str


@dataclass(frozen=True, slots=True)
class Pending(Generic[S]):
    """An own action that has not come back from the stream.

    Attributes:
        ticket: its number here, in the order of dispatching.
        effect: what it does to a state; it may raise.
        mark: its identity in the log, once it was handed to the network.
        shown: whether its effect is in the view.
    """

    ticket: int
    effect: Callable[[S], S]
    mark: Mark | None = None
    shown: bool = True


@dataclass(frozen=True, slots=True)
class Replica(Generic[S]):
    """What one client knows of one stream; see the module's docstring.

    Attributes:
        confirmed: the fold of the stream.
        pending: own actions on their way, in the order of dispatching.
        view: pending folded over confirmed.
        version: grows by one whenever the view is another object.
    """

    confirmed: Confirmed[S]
    pending: tuple[Pending[S], ...]
    view: S
    version: int = 0


@dataclass(frozen=True, slots=True)
class Settled(Generic[S]):
    """What became of an own action.

    Attributes:
        mark: its identity in the log.
        outcome: its fate. After `conflict` the action is still pending, without mark, to be sent anew.
        state: confirmed state right after it.
    """

    mark: Mark
    outcome: Outcome
    state: S


@dataclass(frozen=True, slots=True)
class Confirmation(Generic[S]):
    """Result of folding a batch into a replica.

    Attributes:
        replica: the new one.
        settled: ticket and fate of own actions that the batch contained, in log order.
        failures: faults of the batch with the exceptions behind them.
    """

    replica: Replica[S]
    settled: tuple[tuple[int, Settled[S]], ...] = ()
    failures: tuple[tuple[Fault, Exception], ...] = ()


@dataclass(frozen=True, slots=True)
class FoldedBatch(Generic[S]):
    """Result of folding a batch into a confirmed state.

    Attributes:
        confirmed: the new one.
        settled: fate of the watched marks that the batch contained, in log order.
        failures: faults of the batch with the exceptions behind them.
        others_changed: a message that is not among the watched ones changed the state.
    """

    confirmed: Confirmed[S]
    settled: tuple[Settled[S], ...] = ()
    failures: tuple[tuple[Fault, Exception], ...] = ()
    others_changed: bool = False


def fold_batch(
    step: Step[S], confirmed: Confirmed[S], batch: Batch, watched: Collection[Mark] = frozenset()
) -> FoldedBatch[S]:
    """Fold a batch into a confirmed state.

    A batch that does not begin where the last one ended is ignored: it was folded already.

    Args:
        step: what a message does to the state.
        confirmed: the fold so far.
        batch: what arrived.
        watched: marks whose fate the caller wants to know.
    """
    if batch.offset != confirmed.offset:
        return FoldedBatch(confirmed)
    state, revision, seen = confirmed.state, confirmed.revision, _Seen(confirmed.seen, confirmed.losers)
    settled: list[Settled[S]] = []
    failures: list[tuple[Fault, Exception]] = []
    others_changed = False
    # For every message of a long log: what `fold` does stands here, to save the call.
    for position, message in enumerate(batch.messages, confirmed.position):
        identity = message.id
        if identity is not None and not seen.is_new(identity):
            continue
        before, outcome = state, CONFLICT
        if message.if_revision is None or message.if_revision == revision:
            try:
                state, outcome = step(before, message), APPLIED
                revision += 1
            except Exception as error:  # noqa: BLE001 - a poison action must not stop the readers
                outcome = outcome_of(error)
                if outcome.verdict != "rejected":
                    failures.append((_fault(message, position, batch.offset, outcome), error))
        elif identity is not None:
            seen.note_loss(identity)
        if watched and (mark := _mark_of(message)) in watched:
            settled.append(Settled(mark, outcome, state))
        elif state is not before:
            others_changed = True
    faults = tuple(fault for fault, _ in failures)
    after = Confirmed(
        state=state,
        revision=revision,
        position=confirmed.position + len(batch.messages),
        offset=batch.next_offset,
        seen=seen.marks,
        losers=seen.losers,
        faults=(*confirmed.faults, *faults)[:MAX_FAULTS],
        fault_count=confirmed.fault_count + len(faults),
        partial=confirmed.partial or any(fault.verdict == "unknown" for fault in faults),
    )
    return FoldedBatch(after, tuple(settled), tuple(failures), others_changed)


class _Seen:
    """Highest counter per client while a batch is folded; what it began with stays as it was.

    Attributes:
        marks: the counters, in the order of the clients' last messages.
        losers: the clients whose last message was a compare-and-set that lost.
    """

    __slots__ = ("_copied", "_latest", "losers", "marks")

    def __init__(self, marks: Mapping[str, int], losers: frozenset[str]) -> None:
        self.marks = marks
        self.losers = losers
        self._copied: dict[str, int] | None = None
        self._latest: str | None = None

    def is_new(self, identity: MessageId) -> bool:
        """Note a message's identity; False if it is a second copy."""
        client_id, n = identity.client_id, identity.n
        if n <= self.marks.get(client_id, -1):
            return False
        copied = self._copied
        if copied is None:
            self.marks = self._copied = copied = dict(self.marks)
        if client_id != self._latest:
            copied.pop(client_id, None)
            self._latest = client_id
        copied[client_id] = n
        if self.losers:
            self.losers -= {client_id}
        if len(copied) > MAX_SEEN_CLIENTS:
            forgotten = next(iter(copied))
            del copied[forgotten]
            self.losers -= {forgotten}
        return True

    def note_loss(self, identity: MessageId) -> None:
        """The message that was noted last is a compare-and-set that lost."""
        self.losers |= {identity.client_id}


def _mark_of(message: Message) -> Mark:
    return (message.id.client_id, message.id.n) if message.id is not None else ("", -1)


def _fault(message: Message, position: int, offset: str, outcome: Outcome) -> Fault:
    identity = f"{message.id.client_id}:{message.id.n}" if message.id is not None else None
    error = outcome.error
    words = words_of(error) if error is not None else ""
    reason = words if outcome.verdict == "unknown" else f"{type(error).__name__}: {words}"
    return Fault(position, offset, identity, outcome.verdict, reason)


def new_replica(confirmed: Confirmed[S]) -> Replica[S]:
    """A replica without pending actions."""
    return Replica(confirmed, (), confirmed.state)


def optimistic(replica: Replica[S], ticket: int, effect: Callable[[S], S]) -> Replica[S]:
    """Show an action before anything is sent.

    Args:
        replica: as it is now.
        ticket: number of the action, larger than all before.
        effect: what it does to a state. If it raises, the action is pending without being shown: only its
            place in the log decides whether it is refused.
    """
    view, shown = _apply(effect, replica.view)
    return _with_view(
        replica, replica.confirmed, (*replica.pending, Pending(ticket, effect, None, shown)), view
    )


def mark(replica: Replica[S], marks: Mapping[int, Mark | None]) -> Replica[S]:
    """Note under which identity actions are handed to the network, by ticket.

    None: the identity is forgotten, because the action will be sent under a new one.
    """
    return Replica(replica.confirmed, _marked(replica.pending, marks), replica.view, replica.version)


def confirm(step: Step[S], replica: Replica[S], batch: Batch) -> Confirmation[S]:
    """Fold a batch: own actions in it are confirmed, the other pending ones are put on the new base.

    All messages are folded into confirmed in log order, then what is left of pending is run once.
    """
    own = {entry.mark: entry for entry in replica.pending if entry.mark is not None}
    folded = fold_batch(step, replica.confirmed, batch, own.keys())
    if folded.confirmed is replica.confirmed:
        return Confirmation(replica)
    done = {own[settled.mark].ticket for settled in folded.settled if settled.outcome is not CONFLICT}
    lost = {own[settled.mark].ticket: None for settled in folded.settled if settled.outcome is CONFLICT}
    left = _marked(tuple(entry for entry in replica.pending if entry.ticket not in done), lost)
    return Confirmation(
        _rebase(replica, folded.confirmed, left, same=_went_as_shown(replica, folded)),
        tuple((own[settled.mark].ticket, settled) for settled in folded.settled),
        folded.failures,
    )


def reject(replica: Replica[S], tickets: Collection[int]) -> Replica[S]:
    """Take actions back that will never be in the stream: refused by the server, or given up."""
    gone = [entry for entry in replica.pending if entry.ticket in tickets]
    left = tuple(entry for entry in replica.pending if entry.ticket not in tickets)
    if not any(entry.shown for entry in gone):
        return replace(replica, pending=left)
    return _rebase(replica, replica.confirmed, left)


def reset(replica: Replica[S], initial: S) -> Replica[S]:
    """Begin again at the start of a stream that was deleted and made anew; pending actions are kept."""
    return _rebase(replica, Confirmed(initial), replica.pending)


def hydrate(replica: Replica[S], confirmed: Confirmed[S]) -> Replica[S]:
    """Take over a state that was folded elsewhere, if it is further along (offsets sort as strings, §8)."""
    if confirmed.offset <= replica.confirmed.offset:
        return replica
    return _rebase(replica, confirmed, replica.pending)


def _rebase(
    replica: Replica[S], confirmed: Confirmed[S], pending: Iterable[Pending[S]], *, same: bool = False
) -> Replica[S]:
    """Run pending over a new base.

    Args:
        replica: as it was.
        confirmed: the new base.
        pending: what is still on its way.
        same: the view cannot have changed, if reducers are pure; the old object is kept if it is equal.
    """
    view, entries = confirmed.state, []
    for entry in pending:
        view, shown = _apply(entry.effect, view)
        entries.append(entry if shown is entry.shown else replace(entry, shown=shown))
    if same and _equal(view, replica.view):
        view = replica.view
    return _with_view(replica, confirmed, tuple(entries), view)


def _with_view(
    replica: Replica[S], confirmed: Confirmed[S], pending: tuple[Pending[S], ...], view: S
) -> Replica[S]:
    if view is replica.view or _is_same_scalar(view, replica.view):
        return Replica(confirmed, pending, replica.view, replica.version)
    return Replica(confirmed, pending, view, replica.version + 1)


_SCALARS: Final = frozenset({bool, int, float, str, type(None)})


def _is_same_scalar(left: object, right: object) -> bool:
    if type(left) is not type(right) or type(left) not in _SCALARS or left != right:
        return False
    return bool(left) or repr(left) == repr(right)  # 0.0 equals -0.0


def _apply(effect: Callable[[S], S], state: S) -> tuple[S, bool]:
    try:
        return effect(state), True
    except Exception:  # noqa: BLE001 - an action that cannot be shown must not take the view with it
        return state, False


def _marked(pending: tuple[Pending[S], ...], marks: Mapping[int, Mark | None]) -> tuple[Pending[S], ...]:
    if not marks:
        return pending
    entries = list(pending)
    for ticket, given in marks.items():
        # Tickets grow, so looking for one does not grow with what is pending: a burst marks one at a time.
        index = bisect_left(entries, ticket, key=_ticket_of)
        if index < len(entries) and entries[index].ticket == ticket:
            entry = entries[index]
            entries[index] = Pending(ticket, entry.effect, given, entry.shown)
    return tuple(entries)


def _ticket_of(entry: Pending[S]) -> int:
    return entry.ticket


def _went_as_shown(replica: Replica[S], folded: FoldedBatch[S]) -> bool:
    """Whether the batch did only what the view showed already: own actions, in their order, as predicted."""
    return not folded.others_changed and all(
        entry.mark == settled.mark and entry.shown is (settled.outcome is APPLIED)
        for entry, settled in zip(replica.pending, folded.settled, strict=False)
    )


def _equal(left: object, right: object) -> bool:
    try:
        return bool(left == right)
    except Exception:  # noqa: BLE001 - users' types may refuse to be compared
        return False
