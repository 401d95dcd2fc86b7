"""Whether messages may be appended to a stream, given the folded state before them. Pure, but for reducers.

A message may be appended if every replica would apply it: it is an action that the reducer knows, of the form
that its model asks for, and neither its guard nor the reducer itself refuses it. Two kinds of messages that
replicas pass over are let through, because their senders count on it:

- second copies, by their id: a client that does not know what became of an action sends it again
- a compare-and-set that was overtaken: its sender learns that from its place in the stream, and tries again

A message with an id counts once for the client that the id names, so only that client may write it: the one
whose Producer-Id it is. Otherwise anybody could use up the ids of others, whose actions would then be copies.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Final

import msgspec
from pydantic import ValidationError
from pydantic_core import ErrorDetails

from durafold.state.outcomes import Outcome, words_of
from durafold.state.reducer import fold
from durafold.state.replica import Batch, Confirmed, fold_batch
from durafold.wire.envelope import Envelope, from_message
from durafold_server.protocol.errors import ActionRefused
from durafold_server.protocol.json_mode import page_body
from durafold_server.reducers.registered import Registered

MAX_REASON_CHARS: Final = 500

_values: Final = msgspec.json.Decoder()
_raws: Final = msgspec.json.Decoder(list[msgspec.Raw])
_UNREADABLE: Final = Envelope("unreadable", None)
_FOREIGN: Final = "foreign"
_HINTS: Final = {
    "rejected": "Nothing was appended. Leave this message out, or send it again when the state allows it.",
    "poison": "Nothing was appended. Correct this message so that it fits the reducer's actions.",
    "unknown": "Nothing was appended. If the action is new, give the server the reducer that knows it.",
    _FOREIGN: "Nothing was appended. Send it with the Producer-Id that its id begins with, or without an id.",
}


@dataclass(frozen=True, slots=True)
class Append:
    """What is to be judged.

    Attributes:
        stored: its messages, as they would be stored.
        producer_id: the Producer-Id that it came with, if any.
    """

    stored: bytes
    producer_id: str | None = None


@dataclass(frozen=True, slots=True)
class Judged:
    """What was found out about one append.

    Attributes:
        confirmed: the state after it; the one before it, if it is refused.
        messages: how many it holds.
        refusal: why nothing of it may be appended, if so.
    """

    confirmed: Confirmed[Any]
    messages: int = 0
    refusal: ActionRefused | None = None


def envelopes_of(stored: bytes) -> list[Envelope]:
    """The messages in stored bytes; one with a number that is too large to be read is of no known kind."""
    body = page_body(stored)
    try:
        return [from_message(message) for message in _values.decode(body)]
    except msgspec.DecodeError:
        return [_read(raw) for raw in _raws.decode(body)]


def _read(raw: msgspec.Raw) -> Envelope:
    try:
        return from_message(_values.decode(raw))
    except msgspec.DecodeError:
        return _UNREADABLE


def judge(reducer: Registered, before: Confirmed[Any], append: Append, next_offset: str) -> Judged:
    """Whether all messages of an append may be appended.

    Args:
        reducer: what the stream is bound to.
        before: the fold of everything before the append.
        append: the append.
        next_offset: where the stream would end after it.
    """
    messages = envelopes_of(append.stored)
    foreign = _first_foreign(reducer, messages, append.producer_id)
    if foreign is not None:
        return Judged(before, len(messages), foreign)
    after = fold_batch(reducer.step, before, Batch(messages, before.offset, next_offset)).confirmed
    if after.revision - before.revision == len(messages):
        return Judged(after, len(messages))
    # Something was passed over: rarely so, and then what it was is found by folding once more, one by one.
    refusal = _first_refused(reducer, before, messages)
    return Judged(after, len(messages)) if refusal is None else Judged(before, len(messages), refusal)


def _first_foreign(
    reducer: Registered, messages: Sequence[Envelope], producer_id: str | None
) -> ActionRefused | None:
    for index, message in enumerate(messages):
        if message.id is not None and message.id.client_id != producer_id:
            sender = "a request without Producer-Id" if producer_id is None else f"producer {producer_id!r}"
            reason = f"the id is one of client {message.id.client_id!r}, and it came from {sender}"
            return _refused(reducer, _FOREIGN, reason[:MAX_REASON_CHARS], index, message)
    return None


def _first_refused(
    reducer: Registered, state: Confirmed[Any], messages: Sequence[Envelope]
) -> ActionRefused | None:
    for index, message in enumerate(messages):
        if not _is_copy(state, message):
            _, outcome = fold(reducer.step, state.state, message, state.revision)
            if outcome.verdict in _HINTS:
                return _refused(reducer, outcome.verdict, reason_of(outcome), index, message)
        state = fold_batch(reducer.step, state, Batch([message], state.offset, state.offset)).confirmed
    return None


def _is_copy(state: Confirmed[Any], message: Envelope) -> bool:
    return message.id is not None and message.id.n <= state.seen.get(message.id.client_id, -1)


def _refused(reducer: Registered, verdict: str, reason: str, index: int, message: Envelope) -> ActionRefused:
    return ActionRefused(
        {
            "error": ActionRefused.code,
            "verdict": verdict,
            "reason": reason,
            "message": index,
            "id": str(message.id) if message.id is not None else None,
            "reducer": reducer.name,
            "version": reducer.version,
            "hint": _HINTS[verdict],
        }
    )


def _described(error: ErrorDetails) -> str:
    place = ".".join(map(str, error["loc"]))
    return f"{place}: {error['msg']}" if place else error["msg"]


def reason_of(outcome: Outcome) -> str:
    """Why a message was not applied, in words."""
    error = outcome.error
    text = words_of(error) if error is not None else ""
    if isinstance(error, ValidationError):
        text = "; ".join(_described(one) for one in error.errors(include_url=False, include_input=False))
    elif outcome.verdict == "poison":
        text = f"{type(error).__name__}: {text}"
    text = text.encode(errors="replace").decode()  # it may quote half of an emoji
    return text if len(text) <= MAX_REASON_CHARS else f"{text[:MAX_REASON_CHARS]}…"
