"""The form of one action in a stream's log.

    {"type": "action", "payload": {"type": "add", "text": "milk"}, "meta": {"id": "k3f9:17", "v": 1}}
    {"type": "set",    "payload": 5,                 "meta": {"id": "k3f9:18", "v": 1, "if_revision": 4}}
    {"type": "op",     "payload": ["increment", 1],  "meta": {"id": "k3f9:19", "v": 1}}

`meta` holds `id` (client id and its counter), `v` (version of this form), and, if given, `ts`
(milliseconds since 1970 by the sender's clock), `by` (who), `if_revision` (compare-and-set), `seed` (chance
for reducers that ask for it, drawn once at dispatch). A JSON message
without this `meta` was written by somebody else: the whole message is then the action, and its place in the
log its identity.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Any, Final, NamedTuple, overload

ENVELOPE_VERSION: Final = 1

ACTION: Final = "action"
SET: Final = "set"
OP: Final = "op"
_MAX_DIGITS: Final = 16
_USUAL_MEMBERS: Final = 3
"""`id`, `ts` and `v`: most messages have no other meta."""

KINDS: Final = frozenset({ACTION, SET, OP})


# Both are tuples, because a long log makes hundreds of thousands of them: dataclasses took four times longer.


class ActionId(NamedTuple):
    """Identity of an action: `client_id:n`, n strictly increasing per client and stream."""

    client_id: str
    n: int

    def __str__(self) -> str:
        return f"{self.client_id}:{self.n}"


class Envelope(NamedTuple):
    """One message of an action log.

    Attributes:
        kind: `action`, `set`, `op`, or a word from a newer version of this form.
        payload: the action itself, any JSON value.
        id: identity, or None for a message that somebody else wrote.
        if_revision: for `set`: accept only at this revision of the state.
        ts_ms: sender's clock, milliseconds since 1970.
        by: who dispatched it, as the sender says.
        version: version of this form.
        seed: what chance is made of, for reducers that ask for it.
    """

    kind: str
    payload: Any
    id: ActionId | None = None
    if_revision: int | None = None
    ts_ms: int | None = None
    by: str | None = None
    version: int = ENVELOPE_VERSION
    seed: str | None = None


_new: Final = tuple.__new__
"""Makes one of these tuples of a tuple: the class itself takes four times as long."""


def parse_action_id(text: str) -> ActionId | None:
    """`k3f9:17` → ActionId, or None when it is not of that form."""
    client_id, _, digits = text.rpartition(":")
    if not client_id or not digits.isdecimal() or not digits.isascii() or len(digits) > _MAX_DIGITS:
        return None
    return _new(ActionId, (client_id, int(digits)))


def to_message(envelope: Envelope) -> dict[str, Any]:
    """The JSON object to append. A foreign envelope (without id) has no such form: append its payload."""
    meta: dict[str, Any] = {"id": str(envelope.id), "v": envelope.version}
    if envelope.if_revision is not None:
        meta["if_revision"] = envelope.if_revision
    if envelope.ts_ms is not None:
        meta["ts"] = envelope.ts_ms
    if envelope.by is not None:
        meta["by"] = envelope.by
    if envelope.seed is not None:
        meta["seed"] = envelope.seed
    return {"type": envelope.kind, "payload": envelope.payload, "meta": meta}


class Envelopes(Sequence[Envelope]):
    """The envelopes of a page's messages, each made when it is looked at.

    A page has thousands; made all at once, they cost the garbage collector as much as they cost themselves.

    Args:
        messages: the page, as decoded JSON.
    """

    __slots__ = ("_messages",)

    def __init__(self, messages: list[Any]) -> None:
        self._messages = messages

    def __len__(self) -> int:
        return len(self._messages)

    def __iter__(self) -> Iterator[Envelope]:
        return map(from_message, self._messages)

    @overload
    def __getitem__(self, index: int) -> Envelope: ...
    @overload
    def __getitem__(self, index: slice) -> Sequence[Envelope]: ...
    def __getitem__(self, index: int | slice) -> Envelope | Sequence[Envelope]:
        if isinstance(index, slice):
            return Envelopes(self._messages[index])
        return from_message(self._messages[index])


def from_message(message: Any) -> Envelope:
    """Read a message of a log; anything that is not one of ours becomes a foreign `action`.

    Never raises: what a stranger appended is data, and the reducer decides about it.
    """
    if isinstance(message, dict) and "payload" in message:
        kind, meta = message.get("type"), message.get("meta")
        if isinstance(kind, str) and isinstance(meta, dict):
            text = meta.get("id")
            identity = parse_action_id(text) if isinstance(text, str) else None
            if identity is not None:
                return _enveloped(kind, message["payload"], identity, meta)
    return Envelope(ACTION, message)


def _enveloped(kind: str, payload: Any, identity: ActionId, meta: dict[str, Any]) -> Envelope:
    get = meta.get
    ts_ms, version = get("ts"), get("v")
    if type(ts_ms) is not int:
        ts_ms = None
    if type(version) is not int or not version:
        version = ENVELOPE_VERSION
    if len(meta) <= _USUAL_MEMBERS and "ts" in meta and "v" in meta:
        return _new(Envelope, (kind, payload, identity, None, ts_ms, None, version, None))
    if_revision, by, seed = get("if_revision"), get("by"), get("seed")
    return _new(
        Envelope,
        (
            kind,
            payload,
            identity,
            if_revision if type(if_revision) is int else None,
            ts_ms,
            by if isinstance(by, str) else None,
            version,
            seed if isinstance(seed, str) else None,
        ),
    )
