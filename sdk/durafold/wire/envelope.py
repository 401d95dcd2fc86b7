"""The form of one action in a stream's log.

::

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

from dataclasses import dataclass
from typing import Any, Final

ENVELOPE_VERSION: Final = 1

ACTION: Final = "action"
SET: Final = "set"
OP: Final = "op"
KINDS: Final = frozenset({ACTION, SET, OP})


@dataclass(frozen=True, slots=True)
class ActionId:
    """Identity of an action: `client_id:n`, n strictly increasing per client and stream."""

    client_id: str
    n: int

    def __str__(self) -> str:
        return f"{self.client_id}:{self.n}"


@dataclass(frozen=True, slots=True)
class Envelope:
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


def parse_action_id(text: str) -> ActionId | None:
    """`k3f9:17` → ActionId, or None when it is not of that form."""
    client_id, colon, digits = text.rpartition(":")
    if not colon or not client_id or not digits.isascii() or not digits.isdigit() or len(digits) > 16:
        return None
    return ActionId(client_id, int(digits))


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


def from_message(message: Any) -> Envelope:
    """Read a message of a log; anything that is not one of ours becomes a foreign `action`.

    Never raises: what a stranger appended is data, and the reducer decides about it.
    """
    if isinstance(message, dict) and "payload" in message and isinstance(message.get("type"), str):
        meta = message.get("meta")
        if isinstance(meta, dict) and isinstance(meta.get("id"), str):
            identity = parse_action_id(meta["id"])
            if identity is not None:
                return Envelope(
                    kind=message["type"],
                    payload=message["payload"],
                    id=identity,
                    if_revision=_integer(meta.get("if_revision")),
                    ts_ms=_integer(meta.get("ts")),
                    by=meta["by"] if isinstance(meta.get("by"), str) else None,
                    version=_integer(meta.get("v")) or ENVELOPE_VERSION,
                    seed=meta["seed"] if isinstance(meta.get("seed"), str) else None,
                )
    return Envelope(kind=ACTION, payload=message)


def _integer(value: Any) -> int | None:
    return value if isinstance(value, int) and not isinstance(value, bool) else None
