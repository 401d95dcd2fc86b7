"""Snapshots: a folded state together with the place in the stream it belongs to.

Caches hold them, and pages are hydrated from them. A snapshot carries a fingerprint of everything that
decides what the state means; one with another fingerprint is not an error but simply of no use.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any, Generic, TypeVar

from pydantic import ValidationError
from pydantic_core import to_json

from durafold.state.json_values import NotJson
from durafold.state.models import Model
from durafold.state.outcomes import UnknownAction
from durafold.state.reducer import name_of, version_of
from durafold.state.replica import START, Confirmed

__all__ = ["Snapshot", "dump_snapshot", "fingerprint", "load_snapshot", "restore", "take_snapshot"]

S = TypeVar("S")


@dataclass(frozen=True, slots=True)
class Snapshot(Generic[S]):
    """A folded state and its place in a stream.

    Attributes:
        state: the confirmed state; nothing optimistic is in it.
        offset: where the next message will be.
        revision: how many messages were applied.
        position: how many messages were read.
        seen: highest counter per client, in the order of their last messages.
        fingerprint: of the reducer and the types it was folded with.
        losers: the clients of `seen` whose last message was a compare-and-set that lost.
    """

    state: S
    offset: str
    revision: int
    position: int
    seen: Mapping[str, int]
    fingerprint: str
    losers: frozenset[str] = frozenset()


def take_snapshot(confirmed: Confirmed[S], fingerprint: str) -> Snapshot[S] | None:
    """A snapshot of a confirmed state, or None if some messages could not be folded.

    No snapshot is ever taken past a fault: a client with a corrected reducer then reads that part of the
    stream again and heals.
    """
    if confirmed.fault_count:
        return None
    return Snapshot(
        confirmed.state,
        confirmed.offset,
        confirmed.revision,
        confirmed.position,
        confirmed.seen,
        fingerprint,
        confirmed.losers,
    )


def restore(snapshot: Snapshot[S]) -> Confirmed[S]:
    """The confirmed state a snapshot was taken of."""
    return Confirmed(
        snapshot.state,
        snapshot.revision,
        snapshot.position,
        snapshot.offset,
        snapshot.seen,
        snapshot.losers,
    )


def fingerprint(reducer: Callable[..., Any], actions: Model, states: Model, initial: Any) -> str:
    """What must be the same for a snapshot to be used: 32 hexadecimal digits.

    It is made of the reducer's name and declared version, the schemas of actions and states, and the initial
    state. The reducer's source is not part of it, so a harmless edit costs nobody a cold start; raise the
    version with `@reducer(version=...)` when the meaning changes.
    """
    parts = [
        name_of(reducer),
        version_of(reducer),
        actions.schema(),
        states.schema(),
        to_json(initial, fallback=repr).decode(),
    ]
    text = json.dumps(parts, sort_keys=True)
    return hashlib.sha256(text.encode()).hexdigest()[:32]


def dump_snapshot(snapshot: Snapshot[S], states: Model) -> dict[str, Any]:
    """A snapshot as JSON value, to travel to another process.

    Raises:
        NotJson: the state has no JSON form from which it could be made again (a plain dict with keys that are
            no strings, a type that loses something).
    """
    dumped = states.dump(snapshot.state)
    if not _equal(_parse(states, dumped), snapshot.state):
        raise NotJson("the state does not survive the way through JSON; use a model that describes its types")
    return {
        "state": dumped,
        "offset": snapshot.offset,
        "revision": snapshot.revision,
        "position": snapshot.position,
        "seen": [[client_id, n] for client_id, n in snapshot.seen.items()],
        "fingerprint": snapshot.fingerprint,
        **({"losers": sorted(snapshot.losers)} if snapshot.losers else {}),
    }


def load_snapshot(value: Any, states: Model) -> Snapshot[Any] | None:
    """The snapshot in a JSON value made by `dump_snapshot`, or None if it is not one of these types."""
    try:
        snapshot = Snapshot(
            state=states.parse(value["state"]),
            offset=str(value["offset"]),
            revision=int(value["revision"]),
            position=int(value["position"]),
            seen={str(client_id): int(n) for client_id, n in value["seen"]},
            fingerprint=str(value["fingerprint"]),
            losers=frozenset(map(str, value.get("losers", ()))),
        )
    except (AttributeError, KeyError, TypeError, ValueError, ValidationError, UnknownAction):
        return None
    return snapshot if _has_place(snapshot) else None


def _has_place(snapshot: Snapshot[Any]) -> bool:
    """Whether it can be read on from: from `now` messages would be missed, from the start folded twice."""
    return snapshot.offset not in ("", "now") and (snapshot.offset != START or snapshot.position == 0)


def _parse(states: Model, dumped: Any) -> Any:
    try:
        return states.parse(dumped)
    except ValidationError as exc:
        raise NotJson(f"the state cannot be read back from its JSON form: {exc}") from exc


def _equal(left: object, right: object) -> bool:
    return type(left) is type(right) and bool(left == right)
